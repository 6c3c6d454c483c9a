//! Finding the file of a program.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use crate::error::JailError;

/// The search path if PATH is not set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The program's file: `program` itself if it is an absolute path, else the first match on PATH.
/// Relative folders on PATH are ignored: the working directory may contain hostile files.
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
