//! Which file a program is, and which file loads it.

use crate::JailError;
use rustix::fs::{Access, access};
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where programs are when PATH does not say.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The program's file: an absolute path itself, or the first on PATH. Relative folders on PATH do not
/// count, since the process stands in a folder into which hostile files are written.
pub(crate) fn find(program: &OsStr) -> Result<PathBuf, JailError> {
    let not_found = || JailError::NotFound(program.to_owned());
    let name = Path::new(program);
    if name.is_absolute() {
        return if is_program(name) { Ok(name.to_owned()) } else { Err(not_found()) };
    }
    if name.components().count() != 1 || name.file_name() != Some(program) {
        return Err(not_found());
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    env::split_paths(&folders)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
        .ok_or_else(not_found)
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(target_os = "linux")]
pub(crate) use elf::interpreter;

/// As much of ELF (64 bit, little endian) as names the loader.
#[cfg(target_os = "linux")]
mod elf {
    use crate::JailError;
    use std::ffi::OsString;
    use std::fs::File;
    use std::io;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};

    /// "\x7fELF", 64 bit, little endian.
    const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
    const HEADER_BYTES: usize = 64;
    const PROGRAM_HEADER_BYTES: usize = 56;
    /// The type of the program header that names the interpreter.
    const PT_INTERP: u32 = 3;
    const MAX_NAME_BYTES: u64 = 4096;

    /// The file that the kernel loads to load `path`: the dynamic linker, none if it is linked statically.
    pub(crate) fn interpreter(path: &Path) -> Result<Option<PathBuf>, JailError> {
        let bad = |reason| JailError::Program { path: path.to_owned(), reason };
        let failed = |source| JailError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut header = [0; HEADER_BYTES];
        match file.read_exact_at(&mut header, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(bad(NOT_A_PROGRAM)),
            Err(error) => return Err(failed(error)),
        }
        if header[..MAGIC.len()] != MAGIC {
            return Err(bad(NOT_A_PROGRAM));
        }
        let (offset, size, count) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
        if usize::from(size) != PROGRAM_HEADER_BYTES {
            return Err(bad("its program headers have an unknown size"));
        }
        for index in 0..u64::from(count) {
            let mut entry = [0; PROGRAM_HEADER_BYTES];
            let at = offset.saturating_add(index * u64::from(size));
            file.read_exact_at(&mut entry, at).map_err(failed)?;
            if u32_at(&entry, 0) == PT_INTERP {
                let (at, bytes) = (u64_at(&entry, 8), u64_at(&entry, 32));
                if !(2..=MAX_NAME_BYTES).contains(&bytes) {
                    return Err(bad("its interpreter has no fit name"));
                }
                let mut name = vec![0; usize::try_from(bytes).unwrap_or(0)];
                file.read_exact_at(&mut name, at).map_err(failed)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                return Ok(Some(OsString::from_vec(name).into()));
            }
        }
        Ok(None)
    }

    const NOT_A_PROGRAM: &str =
        "is not a 64-bit ELF program (a script needs a shell, which the jail has not)";

    fn u16_at(bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes([bytes[at], bytes[at + 1]])
    }

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
    }

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
    }

    #[cfg(test)]
    mod tests {
        use super::interpreter;
        use crate::JailError;
        use std::fs;

        #[test]
        fn a_program_names_its_loader_and_a_script_has_none() {
            let itself = std::env::current_exe().expect("known");
            let loader = interpreter(&itself).expect("read").expect("linked dynamically");
            assert!(loader.is_file() && loader.to_string_lossy().contains("ld"), "{loader:?}");

            let folder = tempfile::tempdir().expect("folder");
            let file = folder.path().join("file");
            let whole = fs::read(&itself).expect("read");
            // A script, nothing, and a program cut inside its headers.
            for bytes in [&b"#!/bin/sh\nexec ffmpeg\n"[..], b"", &whole[..80]] {
                fs::write(&file, bytes).expect("written");
                let error = interpreter(&file).expect_err("refused");
                assert!(matches!(error, JailError::Program { .. } | JailError::File { .. }), "{error}");
            }
        }
    }
}
