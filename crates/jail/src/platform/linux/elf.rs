//! The part of ELF (64 bit, little endian) that names a program's dynamic linker.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
};

use crate::error::JailError;

/// "\x7fELF", 64 bit, little endian.
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
/// Type of the program header that names the interpreter.
const PT_INTERP: u32 = 3;
const MAX_NAME_BYTES: u64 = 4096;
const NOT_A_PROGRAM: &str =
    "is not a 64-bit ELF program (a script needs a shell, which cannot run in the jail)";

/// The dynamic linker that the kernel loads for the program at `path`, or `None` if the program is
/// linked statically.
pub(super) fn interpreter(path: &Path) -> Result<Option<PathBuf>, JailError> {
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
        return Err(bad("its program headers have an unsupported size"));
    }
    for index in 0..u64::from(count) {
        let mut entry = [0; PROGRAM_HEADER_BYTES];
        let start = offset.saturating_add(index * u64::from(size));
        file.read_exact_at(&mut entry, start).map_err(failed)?;
        if u32_at(&entry, 0) == PT_INTERP {
            let (start, bytes) = (u64_at(&entry, 8), u64_at(&entry, 32));
            if !(2..=MAX_NAME_BYTES).contains(&bytes) {
                return Err(bad("the name of its interpreter is empty or too long"));
            }
            let mut name = vec![0; usize::try_from(bytes).unwrap_or(0)];
            file.read_exact_at(&mut name, start).map_err(failed)?;
            name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
            return Ok(Some(OsString::from_vec(name).into()));
        }
    }
    Ok(None)
}

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
    use std::{env, fs};

    use super::interpreter;
    use crate::error::JailError;

    #[test]
    fn interpreter_of_dynamic_program_returns_loader() {
        let itself = env::current_exe().expect("known");
        let loader = interpreter(&itself).expect("parsed").expect("linked dynamically");
        assert!(loader.is_file() && loader.to_string_lossy().contains("ld"), "{loader:?}");
    }

    #[test]
    fn interpreter_of_script_or_truncated_program_returns_error() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("file");
        let program = fs::read(env::current_exe().expect("known")).expect("read");
        let truncated_in_headers = &program[..80];
        for bytes in [&b"#!/bin/sh\nexec ffmpeg\n"[..], b"", truncated_in_headers] {
            fs::write(&file, bytes).expect("written");
            let error = interpreter(&file).expect_err("not a program");
            assert!(matches!(error, JailError::Program { .. } | JailError::File { .. }), "{error}");
        }
    }
}
