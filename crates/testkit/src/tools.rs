//! Finding the programs that `make test` installs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A program of the Python environment that holds the tests' servers: the folder `REELMILL_TOOLS`, else
/// `.tools/bin` in the workspace.
pub(crate) fn python_tool(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("REELMILL_TOOLS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin"),
    };
    present(folder.join(name))
}

/// A program on `PATH`, or where Debian puts programs that only root is meant to call.
pub(crate) fn system_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    match folders.map(|folder| folder.join(name)).find(|program| program.is_file()) {
        Some(program) => Ok(program),
        None => bail!("`{name}` is not installed; run `make test`, which installs it"),
    }
}

/// A program of the newest Postgres. Debian keeps each version's in a folder of its own, off `PATH`.
pub(crate) fn postgres_program(name: &str) -> Result<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else {
        return system_program(name);
    };
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok())
        .max()
        .context("no Postgres in /usr/lib/postgresql; run `make test`, which installs it")?;
    present(Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin").join(name))
}

fn present(program: PathBuf) -> Result<PathBuf> {
    if program.is_file() {
        return Ok(program);
    }
    bail!("{} is not installed; run `make test`, which installs it", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_says_how_to_install_it() {
        let error = present(PathBuf::from("/nowhere/weed")).expect_err("nothing there").to_string();
        assert!(error.contains("/nowhere/weed") && error.contains("make test"), "{error}");
        let error = system_program("no-such-program-of-anyone").expect_err("nothing there").to_string();
        assert!(error.contains("no-such-program-of-anyone") && error.contains("make test"), "{error}");
    }
}
