//! Cache of what ffmpeg derives from its arguments and inputs: generated clips and reference measurements. Entries stay
//! in the target folder, so that later tests and runs reuse them.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Full output of `ffmpeg -version`: another build may derive other bytes from the same arguments.
static FFMPEG_BUILD: LazyLock<String> = LazyLock::new(|| {
    let output = Command::new("ffmpeg").arg("-version").output().expect("ffmpeg");
    String::from_utf8_lossy(&output.stdout).into_owned()
});

/// Hash of everything that an entry depends on.
pub struct CacheKey(Sha256);

impl CacheKey {
    /// Key that depends on the ffmpeg build only.
    pub fn new() -> Self {
        Self(Sha256::new()).with(FFMPEG_BUILD.as_bytes())
    }

    /// Adds a value.
    pub fn with(mut self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        // The length separates values, so that moving a byte from one to the next gives another key.
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(value);
        self
    }

    /// Adds the content of a file.
    pub fn with_file(self, file: &Path) -> Self {
        self.with(std::fs::read(file).expect("file"))
    }

    /// Path of the entry in the cache folder `kind`, which is created. The entry may not exist yet.
    pub fn path(self, kind: &str, extension: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(kind);
        std::fs::create_dir_all(&folder).expect("folder");
        let name: String = self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        folder.join(name).with_extension(extension)
    }
}

/// Creates the entry `path`, unless it exists, by a function that writes a file at the path it is given. A concurrent
/// reader sees either no entry or a complete one.
pub fn fill(path: &Path, write: impl FnOnce(&Path)) {
    if path.exists() {
        return;
    }
    let folder = path.parent().expect("parent");
    let temporary = tempfile::tempdir_in(folder).expect("folder");
    // Same name: ffmpeg chooses the container by the extension.
    let file = temporary.path().join(path.file_name().expect("name"));
    write(&file);
    std::fs::rename(file, path).expect("rename");
}
