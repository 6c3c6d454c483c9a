//! The secrets: given, or made and kept in the data folder.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::sections::{Config, SecretSources};

/// Where the secrets come from.
pub struct Secrets {
    sources: SecretSources,
    /// The data folder's `secrets`; none where secrets must be given.
    folder: Option<PathBuf>,
}

impl Secrets {
    /// Secrets may be made in the data folder only where every database is this machine's own; else they
    /// must be given.
    pub fn of(config: &Config, data_dir: &Path) -> Self {
        let databases =
            [&config.auth.database_url, &config.upload.database_url, &config.transcode.database_url];
        let local = databases.iter().all(|url| url.is_empty() || url.starts_with("sqlite:"));
        Self { sources: config.secrets.clone(), folder: local.then(|| data_dir.join("secrets")) }
    }

    /// The key that roles know one another by.
    pub fn mesh_key(&self) -> anyhow::Result<String> {
        self.take("mesh_key", &self.sources.mesh_key, &self.sources.mesh_key_file, random)
    }

    /// The key that signs playback addresses.
    pub fn playback_key(&self) -> anyhow::Result<String> {
        self.take("playback_key", &self.sources.playback_key, &self.sources.playback_key_file, random)
    }

    /// The key that signs access tokens, PEM.
    pub fn signing_key(&self) -> anyhow::Result<String> {
        self.take("signing_key", "", &self.sources.signing_key_file, reelmill_auth::generate_signing_key)
    }

    /// The embedded object server's secret key.
    pub fn object_server_key(&self) -> anyhow::Result<String> {
        self.take("object_server_key", "", "", random)
    }

    fn take(&self, name: &str, value: &str, file: &str, make: fn() -> String) -> anyhow::Result<String> {
        if !value.is_empty() {
            return Ok(value.to_owned());
        }
        if !file.is_empty() {
            let text = fs::read_to_string(file).with_context(|| format!("secrets.{name}_file: {file}"))?;
            return Ok(text.trim().to_owned());
        }
        let Some(folder) = &self.folder else {
            bail!("secrets.{name} must be given: generated secrets are for the embedded mode only");
        };
        keep(folder, name, make).with_context(|| format!("{}: cannot keep secrets here", folder.display()))
    }
}

/// Reads a kept secret, or makes it. Two processes that start at once end with the same one.
fn keep(folder: &Path, name: &str, make: fn() -> String) -> std::io::Result<String> {
    let path = folder.join(name);
    if let Ok(kept) = fs::read_to_string(&path) {
        return Ok(kept.trim().to_owned());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = folder.join(format!("{name}.{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(make().as_bytes())?;
    file.sync_all()?;
    // A link, unlike a rename, never replaces what another process kept meanwhile.
    let linked = fs::hard_link(&fresh, &path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(&path).map(|kept| kept.trim().to_owned()),
    }
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_made_secret_is_kept_private_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = keep(&folder.path().join("secrets"), "mesh_key", random).unwrap();
        assert!(first.len() >= 32);
        let path = folder.path().join("secrets/mesh_key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(keep(&folder.path().join("secrets"), "mesh_key", random).unwrap(), first);
        assert_eq!(fs::read_dir(folder.path().join("secrets")).unwrap().count(), 1);
    }
}
