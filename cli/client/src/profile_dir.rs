//! The profile folder, where the client keeps credentials and unfinished uploads; private to its owner.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{args::ClientOptions, error::ClientError, reason::ClientReason};

/// The profile folder (mode 0700) of JSON files (mode 0600), which are replaced atomically.
#[derive(Debug, Clone)]
pub struct ProfileDir {
    dir: PathBuf,
}

/// One file of the profile folder, locked against other processes of this program until dropped.
pub struct LockedFile {
    path: PathBuf,
    _lock: File,
}

impl ProfileDir {
    /// The folder named by the options, or the default one. It is created by the first write.
    pub fn from_options(options: &ClientOptions) -> Result<Self, ClientError> {
        let given = options.profile_dir.clone();
        let dir = match given {
            Some(dir) => dir,
            None => default_dir(std::env::var_os("XDG_CONFIG_HOME").map(Into::into), std::env::home_dir())
                .ok_or_else(|| {
                    ClientError::local(
                        ClientReason::ProfileUnknown,
                        "the home folder is unknown: set --profile-dir or REELMILL_PROFILE_DIR",
                    )
                })?,
        };
        Ok(Self { dir })
    }

    /// Locks one file for reading and writing; waits while another process has it locked.
    pub async fn lock(&self, name: &str) -> Result<LockedFile, ClientError> {
        create_private_dir(&self.dir).map_err(|error| unusable(&self.dir, &error))?;
        let lock_path = self.dir.join(format!("{name}.lock"));
        let lock = private_file().create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(|error| unusable(&lock_path, &error))?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| unusable(&lock_path, &error))?;
        Ok(LockedFile { path: self.dir.join(name), _lock: lock })
    }

    /// Reads one file without locking it; the default value if there is none.
    pub fn read<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, ClientError> {
        read(&self.dir.join(name))
    }
}

impl LockedFile {
    /// Reads the file; the default value if there is none.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T, ClientError> {
        read(&self.path)
    }

    /// Replaces the file atomically: after a crash it has either the old content or the new.
    pub fn write<T: Serialize>(&self, content: &T) -> Result<(), ClientError> {
        let json = serde_json::to_vec_pretty(content)
            .map_err(|error| ClientError::local(ClientReason::ProfileUnwritable, error.to_string()))?;
        replace(&self.path, &json).map_err(|error| unusable(&self.path, &error))
    }
}

/// `reelmill` in `$XDG_CONFIG_HOME` if that is an absolute path, as the XDG specification requires, or in
/// `~/.config`.
fn default_dir(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let base = xdg.filter(|dir| dir.is_absolute()).or_else(|| Some(home?.join(".config")))?;
    Some(base.join("reelmill"))
}

fn unusable(path: &Path, error: &io::Error) -> ClientError {
    let reason = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ClientReason::DiskFull,
        _ => ClientReason::ProfileUnusable,
    };
    ClientError::local(reason, format!("{}: {error}", path.display()))
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T, ClientError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(unusable(path, &error)),
    };
    // Another program, or copying the file, may have made it readable for other users.
    let mode = fs::metadata(path).map_err(|error| unusable(path, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(|error| unusable(path, &error))?;
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("{}: {error}; correct the file or delete it", path.display());
        ClientError::local(ClientReason::ProfileUnreadable, message)
    })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let temporary = path.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
    let written = private_file().create_new(true).open(&temporary).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Content = BTreeMap<String, String>;

    fn profile(dir: &Path) -> ProfileDir {
        ProfileDir { dir: dir.join("deep/profile") }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn write_creates_folder_and_file_private_to_their_owner() {
        let temp = tempfile::tempdir().unwrap();
        let profile = profile(temp.path());
        profile.lock("c.json").await.unwrap().write(&Content::new()).unwrap();
        assert_eq!(mode(&profile.dir), 0o700);
        assert_eq!(mode(&profile.dir.join("c.json")), 0o600);
    }

    #[tokio::test]
    async fn read_file_readable_by_others_makes_it_private_again() {
        let temp = tempfile::tempdir().unwrap();
        let profile = profile(temp.path());
        let file = profile.lock("c.json").await.unwrap();
        file.write(&Content::from([("a".into(), "b".into())])).unwrap();
        fs::set_permissions(profile.dir.join("c.json"), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(profile.read::<Content>("c.json").unwrap()["a"], "b");
        assert_eq!(mode(&profile.dir.join("c.json")), 0o600, "permissions are restored");
    }

    #[tokio::test]
    async fn write_failed_rename_keeps_the_old_content_and_no_temporary_file() {
        let temp = tempfile::tempdir().unwrap();
        let profile = profile(temp.path());
        let file = profile.lock("c.json").await.unwrap();
        // The rename fails, since the target is a folder that is not empty.
        fs::create_dir_all(profile.dir.join("c.json/x")).unwrap();
        assert_eq!(file.write(&Content::new()).unwrap_err().exit_code(), 2);
        let mut names: Vec<_> =
            fs::read_dir(&profile.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["c.json", "c.json.lock"]);
    }

    #[tokio::test]
    async fn read_invalid_json_returns_error_and_keeps_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let profile = profile(temp.path());
        fs::create_dir_all(&profile.dir).unwrap();
        fs::write(profile.dir.join("c.json"), "{ broken").unwrap();
        let error = profile.read::<Content>("c.json").unwrap_err();
        assert!(error.to_string().contains("c.json") && error.exit_code() == 2, "{error}");
        assert_eq!(fs::read_to_string(profile.dir.join("c.json")).unwrap(), "{ broken");
    }

    #[tokio::test]
    async fn lock_locked_file_waits_until_it_is_released() {
        let temp = tempfile::tempdir().unwrap();
        let profile = profile(temp.path());
        let first = profile.lock("c.json").await.unwrap();
        let second = tokio::spawn({
            let profile = profile.clone();
            async move { profile.lock("c.json").await.unwrap().read::<Content>().unwrap() }
        });
        first.write(&Content::from([("who".into(), "first".into())])).unwrap();
        assert!(!second.is_finished());
        drop(first);
        assert_eq!(second.await.unwrap()["who"], "first");
    }

    #[test]
    fn default_dir_follows_the_xdg_specification() {
        let home = Some(PathBuf::from("/home/a"));
        assert_eq!(default_dir(Some("/x".into()), home.clone()).unwrap(), Path::new("/x/reelmill"));
        assert_eq!(
            default_dir(Some("relative".into()), home.clone()).unwrap(),
            Path::new("/home/a/.config/reelmill")
        );
        assert_eq!(default_dir(None, home).unwrap(), Path::new("/home/a/.config/reelmill"));
        assert!(default_dir(None, None).is_none());
    }
}
