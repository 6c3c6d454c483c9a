//! Where the results of a run are written.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::options::Options;

/// Longest name of a folder without its digest: a file name has at most 255 bytes.
const MAX_NAME_BYTES: usize = 100;
/// Hexadecimal digits of the digest in a longer name.
const DIGEST_DIGITS: usize = 8;

/// A folder for one run, in the folder `chaos` of cargo's target folder.
pub struct Results {
    pub folder: PathBuf,
}

impl Results {
    /// Removes the results of an earlier run with the same arguments.
    pub fn clear(options: &Options) -> Result<Self> {
        // The program is in its folder `release`, with CARGO_TARGET_DIR, too.
        let program = std::env::current_exe()?;
        let target = program.ancestors().nth(2).context("a target folder")?;
        let folder = target.join("chaos").join(folder_name(&options.args));
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} was not removed", folder.display()))
            }
            _ => Ok(Self { folder }),
        }
    }

    /// Writes the JSON file; returns its path.
    pub fn write(&self, result: &Value) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.folder)?;
        let path = self.folder.join("result.json");
        std::fs::write(&path, serde_json::to_string_pretty(result)?)?;
        Ok(path)
    }

    /// Copies the logs in a folder; returns their number.
    pub fn keep_logs(&self, from: &Path) -> Result<usize> {
        let mut count = 0;
        for entry in std::fs::read_dir(from)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "log") {
                let name = path.file_name().context("a file")?;
                std::fs::copy(&path, self.folder.join(name))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// A short form of the arguments that is a file name.
fn folder_name(args: &str) -> String {
    if args.is_empty() {
        return "default".to_owned();
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "=,.-".contains(character);
    let mut name: String =
        args.chars().map(|character| if is_plain(character) { character } else { '_' }).collect();
    if name.len() > MAX_NAME_BYTES {
        let digest = hex::encode(Sha256::digest(args.as_bytes()));
        name.truncate(MAX_NAME_BYTES);
        name.push('-');
        name.extend(digest.chars().take(DIGEST_DIGITS));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_are_distinct_and_valid() {
        assert_eq!(folder_name(""), "default");
        assert_eq!(folder_name("seed=7 only=kill-worker"), "seed=7_only=kill-worker");
        assert_eq!(folder_name("clips=../a"), "clips=.._a");
        let long = "x".repeat(300);
        let (one, other) = (folder_name(&long), folder_name(&format!("{long}y")));
        assert!(one != other && one.len() == MAX_NAME_BYTES + 1 + DIGEST_DIGITS);
    }
}
