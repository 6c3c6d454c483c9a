//! Secrets: configured, or generated and stored in the data folder.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::sections::{Config, SecretSources};

/// The shortest secret that cannot be guessed: a random one has 256 bits in 43 characters.
const MIN_CHARACTERS: usize = 32;
/// What others than the owner and the group may do with a file.
const FOR_OTHERS: u32 = 0o007;

/// Source of the secrets.
pub struct Secrets {
    sources: SecretSources,
    /// `secrets` in the data folder. `None` if secrets must be configured.
    generated: Option<PathBuf>,
}

impl Secrets {
    /// Secrets may be generated in the data folder only if every database is a local file.
    pub fn of(config: &Config, data_dir: &Path) -> Self {
        let databases =
            [&config.auth.database_url, &config.upload.database_url, &config.transcode.database_url];
        let local = databases.iter().all(|url| url.is_empty() || url.starts_with("sqlite:"));
        Self { sources: config.secrets.clone(), generated: local.then(|| data_dir.join("secrets")) }
    }

    /// The key by which roles authenticate each other.
    pub fn mesh_key(&self) -> anyhow::Result<String> {
        self.get("mesh_key", &self.sources.mesh_key, &self.sources.mesh_key_file, random)
    }

    /// The same, but an error instead of a generated key: for a command that talks to running roles.
    pub fn stored_mesh_key(&self) -> anyhow::Result<String> {
        let is_configured = !self.sources.mesh_key.is_empty() || !self.sources.mesh_key_file.is_empty();
        if let Some(folder) = self.generated.as_ref().filter(|_| !is_configured)
            && !folder.join("mesh_key").exists()
        {
            bail!(
                "there is no mesh key in {}: name the configuration with --config FILE, or the data folder with \
                 --data-dir DIR",
                folder.display()
            );
        }
        self.mesh_key()
    }

    /// The key that signs playback URLs.
    pub fn playback_key(&self) -> anyhow::Result<String> {
        self.get("playback_key", &self.sources.playback_key, &self.sources.playback_key_file, random)
    }

    /// The private key that signs access tokens, PEM.
    pub fn signing_key(&self) -> anyhow::Result<String> {
        self.get("signing_key", "", &self.sources.signing_key_file, reelmill_auth::generate_signing_key)
    }

    /// The embedded object server's secret key.
    pub fn object_server_key(&self) -> anyhow::Result<String> {
        self.get("object_server_key", "", "", random)
    }

    fn get(&self, name: &str, value: &str, file: &str, generate: fn() -> String) -> anyhow::Result<String> {
        if !value.is_empty() {
            return long_enough(value.to_owned()).with_context(|| format!("secrets.{name}"));
        }
        if !file.is_empty() {
            return read(Path::new(file)).with_context(|| format!("secrets.{name}_file: {file}"));
        }
        let Some(folder) = &self.generated else {
            bail!("secrets.{name} is required: secrets are generated in embedded mode only");
        };
        load_or_generate(folder, name, generate)
            .with_context(|| format!("{}: cannot store secrets here", folder.display()))?;
        let path = folder.join(name);
        read(&path).with_context(|| path.display().to_string())
    }
}

/// Reads a secret that only its owner, or its owner's group, can read.
fn read(path: &Path) -> anyhow::Result<String> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & FOR_OTHERS != 0 {
        bail!("other users can read or change this secret (mode {:o}): chmod o-rwx", mode & 0o777);
    }
    long_enough(fs::read_to_string(path)?.trim().to_owned())
}

fn long_enough(secret: String) -> anyhow::Result<String> {
    if secret.chars().count() < MIN_CHARACTERS {
        bail!("a secret has at least {MIN_CHARACTERS} characters: `openssl rand -base64 32` makes one");
    }
    Ok(secret)
}

/// Reads a stored secret, or generates and stores it. Processes that start concurrently get the same one.
fn load_or_generate(folder: &Path, name: &str, generate: fn() -> String) -> std::io::Result<String> {
    let path = folder.join(name);
    if let Ok(stored) = fs::read_to_string(&path) {
        return Ok(stored.trim().to_owned());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = folder.join(format!("{name}.{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(generate().as_bytes())?;
    file.sync_all()?;
    // Unlike a rename, a link never replaces a secret that another process has stored.
    let linked = fs::hard_link(&fresh, &path);
    fs::remove_file(&fresh)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(&path).map(|stored| stored.trim().to_owned()),
    }
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_that_is_short_or_readable_by_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, format!("{}\n", random())).unwrap();
        for (mode, is_accepted) in [(0o600, true), (0o440, true), (0o644, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), is_accepted, "{mode:o}");
        }
        fs::write(&path, "0123456789012345678901234567890\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read(&path).is_err() && read(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn load_or_generate_stores_a_private_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_generate(&folder.path().join("secrets"), "mesh_key", random).unwrap();
        assert!(first.len() >= 32);
        let path = folder.path().join("secrets/mesh_key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load_or_generate(&folder.path().join("secrets"), "mesh_key", random).unwrap(), first);
        assert_eq!(fs::read_dir(folder.path().join("secrets")).unwrap().count(), 1);
    }
}
