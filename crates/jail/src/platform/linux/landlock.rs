//! Landlock rules: files, TCP ports and signals.

use std::{
    io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

use crate::{confinement::Confinement, error::JailError};

/// The oldest ABI that restricts TCP ports.
const REQUIRED_ABI: ABI = ABI::V4;
/// The newest ABI this was written for. What it restricts beyond the required one is restricted where
/// the kernel supports it.
const NEWEST_ABI: ABI = ABI::V10;

/// The system's folders of shared libraries.
const LIBRARY_DIRS: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// Package managers' folders in which every package, program or library, has a folder of its own.
/// World-readable by design.
const PACKAGE_DIRS: [&str; 2] = ["/nix/store", "/gnu/store"];
/// What loaders, C libraries, libnuma, libgcrypt and encoders read about the machine and their process.
const SYSTEM_INFO_PATHS: [&str; 16] = [
    "/etc/ld.so.cache",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/filesystems",
    "/proc/sys/crypto/fips_enabled",
    "/proc/self/auxv",
    "/proc/self/maps",
    "/proc/self/stat",
    "/proc/self/status",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
];
const DEV_NULL: &str = "/dev/null";

const READ_ACCESS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const EXECUTE_ACCESS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | Execute});
const READ_WRITE_ACCESS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});
/// Access to the writable folder. No symbolic links, devices, sockets or pipes: ffmpeg creates none.
const SCRATCH_ACCESS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});
/// The rights that apply to a file. Landlock rejects a rule that gives a file any other right.
const FILE_RIGHTS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Execute | Truncate});

/// Everything a process may access. Nothing by default.
#[derive(Default)]
pub(super) struct AccessRules {
    files: Vec<(PathFd, BitFlags<AccessFs>)>,
    connect: Option<u16>,
}

/// What the kernel's Landlock restricts.
#[derive(Default)]
pub(super) struct Enforced {
    pub files: bool,
    pub ports: bool,
}

impl AccessRules {
    fn add(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), JailError> {
        let failed = |source| JailError::File { path: path.to_owned(), source };
        let access = if path.metadata().map_err(failed)?.is_dir() { access } else { access & FILE_RIGHTS };
        let opened = PathFd::new(path).map_err(|error| failed(io::Error::other(error)))?;
        self.files.push((opened, access));
        Ok(())
    }

    /// Adds a path that not every system has.
    fn add_if_exists(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), JailError> {
        if path.exists() { self.add(path, access) } else { Ok(()) }
    }
}

/// The access that `program`, loaded by `interpreter`, needs, and the access that `confinement` gives it.
pub(super) fn rules(
    confinement: &Confinement,
    program: &Path,
    interpreter: Option<&Path>,
) -> Result<AccessRules, JailError> {
    let mut rules = AccessRules { files: Vec::new(), connect: confinement.connect };
    rules.add(program, EXECUTE_ACCESS)?;
    if let Some(interpreter) = interpreter {
        rules.add(interpreter, EXECUTE_ACCESS)?;
    }
    for path in LIBRARY_DIRS.into_iter().chain(SYSTEM_INFO_PATHS) {
        rules.add_if_exists(Path::new(path), READ_ACCESS)?;
    }
    for path in private_library_dirs(program) {
        rules.add_if_exists(&path, READ_ACCESS)?;
    }
    rules.add_if_exists(Path::new(DEV_NULL), READ_WRITE_ACCESS)?;
    for path in &confinement.read {
        rules.add(path, READ_ACCESS)?;
    }
    if let Some(scratch) = &confinement.write {
        rules.add(scratch, SCRATCH_ACCESS)?;
    }
    Ok(rules)
}

/// The library folders of a program that is not from the system's packages: `PREFIX/lib` for
/// `PREFIX/bin/ffmpeg`, or its package manager's folder. Not the program's own folder, which may be
/// a home directory.
fn private_library_dirs(program: &Path) -> Vec<PathBuf> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let mut paths = Vec::new();
    for path in [program, &real] {
        let folder = path.parent().filter(|folder| folder.ends_with("bin"));
        paths.extend(folder.and_then(Path::parent).map(|prefix| prefix.join("lib")));
    }
    paths.extend(PACKAGE_DIRS.iter().map(PathBuf::from).filter(|folder| real.starts_with(folder)));
    paths
}

/// Restricts the calling thread, and what it starts, to `rules`.
pub(super) fn restrict(rules: &AccessRules, required: bool) -> Result<Enforced, JailError> {
    enforce(rules, required).map_err(|error| JailError::step_failed("Landlock", error))
}

fn enforce(rules: &AccessRules, required: bool) -> Result<Enforced, RulesetError> {
    let mut ruleset = Ruleset::default();
    if required {
        ruleset = ruleset
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(REQUIRED_ABI))?
            .handle_access(AccessNet::from_all(REQUIRED_ABI))?
            .set_compatibility(CompatLevel::BestEffort);
    }
    let mut created = ruleset
        .handle_access(AccessFs::from_all(NEWEST_ABI))?
        .handle_access(AccessNet::from_all(NEWEST_ABI))?
        .scope(Scope::from_all(NEWEST_ABI))?
        .create()?;
    for (path, access) in &rules.files {
        created = created.add_rule(PathBeneath::new(path, *access))?;
    }
    if let Some(port) = rules.connect {
        created = created.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(match created.restrict_self()?.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            Enforced { files: effective_abi >= ABI::V1, ports: effective_abi >= REQUIRED_ABI }
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => Enforced::default(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::private_library_dirs;

    fn dirs(program: &str) -> Vec<PathBuf> {
        private_library_dirs(Path::new(program))
    }

    #[test]
    fn private_library_dirs_of_program_in_bin_returns_lib() {
        assert!(dirs("/opt/ffmpeg/bin/ffmpeg").iter().all(|path| path == Path::new("/opt/ffmpeg/lib")));
        assert!(!dirs("/opt/ffmpeg/bin/ffmpeg").is_empty());
    }

    #[test]
    fn private_library_dirs_of_program_in_home_returns_nothing() {
        assert_eq!(dirs("/home/someone/ffmpeg"), Vec::<PathBuf>::new());
    }

    #[test]
    fn private_library_dirs_of_nix_program_contains_nix_store() {
        assert!(dirs("/nix/store/1-ffmpeg/bin/ffmpeg").contains(&"/nix/store".into()));
        assert!(!dirs("/nix/other/bin/ffmpeg").contains(&"/nix/store".into()));
    }
}
