//! Landlock: which files, which ports, whose signals.

use crate::program::interpreter;
use crate::{Confinement, JailError};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use std::io;
use std::path::{Path, PathBuf};

/// The oldest that confines TCP.
const REQUIRED: ABI = ABI::V4;
/// The newest that this was written for: what it adds is refused, too, where the kernel has it.
const NEWEST: ABI = ABI::V10;

/// Below these are the libraries that ffmpeg is linked with.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];
/// Package stores in which a program's libraries lie beside it, each in a folder of its own. Readable by
/// everyone by design.
const STORES: [&str; 2] = ["/nix/store", "/gnu/store"];
/// What loaders, C libraries, libnuma, libgcrypt and encoders ask about the machine and themselves.
const FACTS: [&str; 16] = [
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
const NULL: &str = "/dev/null";

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const EXECUTE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | Execute});
const READ_WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});
/// No links, devices, sockets or pipes: ffmpeg makes none.
const OWN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});
/// Rights that a file can have; a rule on a file must not name others.
const OF_A_FILE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Execute | Truncate});

/// Everything a process may reach. Nothing by default.
#[derive(Default)]
pub(super) struct Reach {
    files: Vec<(PathFd, BitFlags<AccessFs>)>,
    connect: Option<u16>,
}

/// What Landlock confines here.
#[derive(Default)]
pub(super) struct Enforced {
    pub files: bool,
    pub ports: bool,
}

impl Reach {
    fn add(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), JailError> {
        let failed = |source| JailError::File { path: path.to_owned(), source };
        let access = if path.metadata().map_err(failed)?.is_dir() { access } else { access & OF_A_FILE };
        let opened = PathFd::new(path).map_err(|error| failed(io::Error::other(error)))?;
        self.files.push((opened, access));
        Ok(())
    }

    /// What this system may not have.
    fn add_if_there(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), JailError> {
        if path.exists() { self.add(path, access) } else { Ok(()) }
    }
}

/// Opens what a program needs and what `confinement` gives it.
pub(super) fn reach(confinement: &Confinement, program: &Path) -> Result<Reach, JailError> {
    let mut reach = Reach { files: Vec::new(), connect: confinement.connect };
    reach.add(program, EXECUTE)?;
    if let Some(loader) = interpreter(program)? {
        reach.add(&loader, EXECUTE)?;
    }
    for path in LIBRARIES.into_iter().chain(FACTS) {
        reach.add_if_there(Path::new(path), READ)?;
    }
    for path in beside(program) {
        reach.add_if_there(&path, READ)?;
    }
    reach.add_if_there(Path::new(NULL), READ_WRITE)?;
    for path in &confinement.read {
        reach.add(path, READ)?;
    }
    if let Some(scratch) = &confinement.write {
        reach.add(scratch, OWN)?;
    }
    Ok(reach)
}

/// Where a program that was not installed by the system has its libraries: `PREFIX/lib` for
/// `PREFIX/bin/ffmpeg`, or its package store. Not its own folder, which may be someone's home.
fn beside(program: &Path) -> Vec<PathBuf> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let mut paths = Vec::new();
    for path in [program, &real] {
        let folder = path.parent().filter(|folder| folder.ends_with("bin"));
        paths.extend(folder.and_then(Path::parent).map(|prefix| prefix.join("lib")));
    }
    paths.extend(STORES.iter().map(PathBuf::from).filter(|store| real.starts_with(store)));
    paths
}

/// Takes everything but `reach` from this thread and whatever it starts.
pub(super) fn restrict(reach: &Reach, required: bool) -> Result<Enforced, JailError> {
    enforce(reach, required).map_err(|error| JailError::refused("Landlock", error))
}

fn enforce(reach: &Reach, required: bool) -> Result<Enforced, RulesetError> {
    let mut ruleset = Ruleset::default();
    if required {
        ruleset = ruleset
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(REQUIRED))?
            .handle_access(AccessNet::from_all(REQUIRED))?
            .set_compatibility(CompatLevel::BestEffort);
    }
    let mut created = ruleset
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (path, access) in &reach.files {
        created = created.add_rule(PathBeneath::new(path, *access))?;
    }
    if let Some(port) = reach.connect {
        created = created.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(match created.restrict_self()?.landlock {
        LandlockStatus::Available { effective_abi, .. } => {
            Enforced { files: effective_abi >= ABI::V1, ports: effective_abi >= REQUIRED }
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => Enforced::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::beside;
    use std::path::{Path, PathBuf};

    #[test]
    fn libraries_beside_a_program_are_readable_and_its_own_folder_is_not() {
        let beside = |program: &str| beside(Path::new(program));
        assert!(beside("/opt/ffmpeg/bin/ffmpeg").iter().all(|path| path == Path::new("/opt/ffmpeg/lib")));
        assert!(!beside("/opt/ffmpeg/bin/ffmpeg").is_empty());
        assert_eq!(beside("/home/someone/ffmpeg"), Vec::<PathBuf>::new());
        assert!(beside("/nix/store/1-ffmpeg/bin/ffmpeg").contains(&"/nix/store".into()));
        assert!(!beside("/nix/other/bin/ffmpeg").contains(&"/nix/store".into()));
    }
}
