//! Which uploads are unfinished, kept in the profile so that the same command goes on where it was
//! interrupted.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use reelmill_proto::transcode::TranscodeOptions;
use serde::{Deserialize, Serialize};

use super::source::Stamp;
use crate::{ClientError, profile::Profile};

const FILE: &str = "uploads.json";
/// The server gives unfinished uploads up by itself; the oldest notes are dropped beyond this.
const MOST: usize = 200;

#[derive(Default, Serialize, Deserialize)]
struct Content {
    uploads: Vec<Unfinished>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unfinished {
    server: String,
    user: String,
    file: Stamp,
    /// How it shall be encoded, as an encoded TranscodeOptions in base64; empty where nothing was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    options: String,
    upload: String,
}

/// The unfinished uploads of one user at one server, to be encoded in one way.
pub struct Memory {
    profile: Profile,
    server: String,
    user: String,
    options: String,
}

impl Memory {
    /// What the profile remembers of a user at a server. An upload that was begun with other options is another.
    pub fn new(profile: Profile, server: &str, user: &str, options: Option<&TranscodeOptions>) -> Self {
        let options = options.map(|options| BASE64_STANDARD.encode(options.encode_to_vec()));
        Self {
            profile,
            server: server.to_owned(),
            user: user.to_owned(),
            options: options.unwrap_or_default(),
        }
    }

    /// The unfinished upload of exactly this file.
    pub fn recall(&self, file: &Stamp) -> Result<Option<String>, ClientError> {
        let content: Content = self.profile.read(FILE)?;
        Ok(content.uploads.into_iter().rfind(|note| self.is_of(note, file)).map(|note| note.upload))
    }

    /// Notes that an upload of the file has begun.
    pub async fn note(&self, file: &Stamp, upload: &str) -> Result<(), ClientError> {
        let note = Unfinished {
            server: self.server.clone(),
            user: self.user.clone(),
            file: file.clone(),
            options: self.options.clone(),
            upload: upload.to_owned(),
        };
        self.change(file, Some(note)).await
    }

    /// Forgets the file's upload: it is finished, or of no use.
    pub async fn forget(&self, file: &Stamp) -> Result<(), ClientError> {
        self.change(file, None).await
    }

    async fn change(&self, file: &Stamp, note: Option<Unfinished>) -> Result<(), ClientError> {
        let locked = self.profile.lock(FILE).await?;
        let mut content: Content = locked.read()?;
        content.uploads.retain(|note| !self.is_of(note, file));
        content.uploads.extend(note);
        let excess = content.uploads.len().saturating_sub(MOST);
        content.uploads.drain(..excess);
        locked.write(&content)
    }

    fn is_of(&self, note: &Unfinished, file: &Stamp) -> bool {
        note.server == self.server
            && note.user == self.user
            && note.file == *file
            && note.options == self.options
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::ClientOptions;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        options: ClientOptions,
    }

    fn stamp(size: u64) -> Stamp {
        Stamp { path: "/a.mp4".into(), size, modified_seconds: 1, modified_nanos: 2, inode: 3 }
    }

    #[tokio::test]
    async fn an_upload_is_recalled_for_the_same_file_user_and_server_only() {
        let temp = tempfile::tempdir().unwrap();
        let options = Cli::parse_from(["x", "--profile-dir", temp.path().to_str().unwrap()]).options;
        let profile = Profile::of(&options).unwrap();
        let memory = Memory::new(profile.clone(), "http://one", "users/a", None);
        let small = TranscodeOptions { rungs: vec![480], ..TranscodeOptions::default() };
        memory.note(&stamp(1), "uploads/1").await.unwrap();
        memory.note(&stamp(2), "uploads/2").await.unwrap();
        assert_eq!(memory.recall(&stamp(1)).unwrap().as_deref(), Some("uploads/1"));
        assert_eq!(memory.recall(&stamp(3)).unwrap(), None);
        for other in [
            Memory::new(profile.clone(), "http://two", "users/a", None),
            Memory::new(profile.clone(), "http://one", "users/a", Some(&small)),
            Memory::new(profile, "http://one", "users/b", None),
        ] {
            assert_eq!(other.recall(&stamp(1)).unwrap(), None);
        }
        memory.note(&stamp(1), "uploads/3").await.unwrap();
        assert_eq!(memory.recall(&stamp(1)).unwrap().as_deref(), Some("uploads/3"));
        memory.forget(&stamp(1)).await.unwrap();
        assert_eq!(memory.recall(&stamp(1)).unwrap(), None);
        assert_eq!(memory.recall(&stamp(2)).unwrap().as_deref(), Some("uploads/2"));
    }
}
