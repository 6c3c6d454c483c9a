//! Finds the programs that `make test` installs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A program of the Python environment with the tests' servers: the folder `REELMILL_TOOLS`, by default
/// `.tools/bin` in the workspace.
pub(crate) fn python_tool(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("REELMILL_TOOLS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin"),
    };
    require_installed(folder.join(name))
}

/// A program on `PATH`, or in the folders where Debian installs system daemons.
pub(crate) fn system_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    match folders.map(|folder| folder.join(name)).find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => bail!("`{name}` is not installed; run `make test`, which installs it"),
    }
}

/// A program of the newest Postgres. Debian installs each version in its own folder, not on `PATH`.
pub(crate) fn postgres_program(name: &str) -> Result<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else {
        return system_program(name);
    };
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok())
        .max()
        .context("no Postgres in /usr/lib/postgresql; run `make test`, which installs it")?;
    require_installed(Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin").join(name))
}

fn require_installed(program: PathBuf) -> Result<PathBuf> {
    if program.is_file() {
        return Ok(program);
    }
    bail!("{} is not installed; run `make test`, which installs it", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_names_program_and_make_test(error: &anyhow::Error, program: &str) {
        let error = error.to_string();
        assert!(error.contains(program) && error.contains("make test"), "{error}");
    }

    #[test]
    fn require_installed_of_missing_file_says_how_to_install_it() {
        let error = require_installed(PathBuf::from("/nowhere/weed")).expect_err("missing");
        assert_names_program_and_make_test(&error, "/nowhere/weed");
    }

    #[test]
    fn system_program_of_missing_program_says_how_to_install_it() {
        let error = system_program("reelmill-no-such-program").expect_err("missing");
        assert_names_program_and_make_test(&error, "reelmill-no-such-program");
    }
}
