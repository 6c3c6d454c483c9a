//! The unfinished uploads, saved in the profile folder so that the same command resumes them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use reelmill_proto::transcode::TranscodeOptions;
use serde::{Deserialize, Serialize};

use super::source::FileFingerprint;
use crate::{error::ClientError, profile_dir::ProfileDir};

const FILE_NAME: &str = "uploads.json";
/// The oldest entries beyond this number are removed; the server expires unfinished uploads by itself.
const MAX_ENTRIES: usize = 200;

#[derive(Default, Serialize, Deserialize)]
struct Content {
    uploads: Vec<Entry>,
}

/// One unfinished upload.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    server: String,
    user: String,
    file: FileFingerprint,
    /// The requested TranscodeOptions, Protobuf in base64; empty if there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    options: String,
    /// `request_id` of the call that creates the session.
    request_id: String,
    /// Its name; empty until the response to that call.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    upload: String,
}

/// An upload that an earlier run began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// The session was requested with this `request_id`, but the response is unknown.
    Requested(String),
    /// The session `uploads/ID` was created.
    Created(String),
}

/// The unfinished uploads of one user at one server with the same encoding options.
pub struct ResumeFile {
    profile_dir: ProfileDir,
    server: String,
    user: String,
    options: String,
}

impl ResumeFile {
    /// The entries for a server, a user and encoding options. Other options need another upload.
    pub fn new(
        profile_dir: ProfileDir,
        server: &str,
        user: &str,
        options: Option<&TranscodeOptions>,
    ) -> Self {
        let options = options.map(|options| BASE64_STANDARD.encode(options.encode_to_vec()));
        Self {
            profile_dir,
            server: server.to_owned(),
            user: user.to_owned(),
            options: options.unwrap_or_default(),
        }
    }

    /// The unfinished upload of this file.
    pub fn find(&self, file: &FileFingerprint) -> Result<Option<Unfinished>, ClientError> {
        let content: Content = self.profile_dir.read(FILE_NAME)?;
        let entry = content.uploads.into_iter().rfind(|entry| self.matches(entry, file));
        Ok(entry.map(|entry| match entry.upload.as_str() {
            "" => Unfinished::Requested(entry.request_id),
            _ => Unfinished::Created(entry.upload),
        }))
    }

    /// Adds an upload of the file, before its session is created and again when its name is known; replaces an earlier one.
    pub async fn add(
        &self,
        file: &FileFingerprint,
        request_id: &str,
        upload: &str,
    ) -> Result<(), ClientError> {
        let entry = Entry {
            server: self.server.clone(),
            user: self.user.clone(),
            file: file.clone(),
            options: self.options.clone(),
            request_id: request_id.to_owned(),
            upload: upload.to_owned(),
        };
        self.replace(file, Some(entry)).await
    }

    /// Removes the upload of the file.
    pub async fn remove(&self, file: &FileFingerprint) -> Result<(), ClientError> {
        self.replace(file, None).await
    }

    async fn replace(&self, file: &FileFingerprint, entry: Option<Entry>) -> Result<(), ClientError> {
        let locked = self.profile_dir.lock(FILE_NAME).await?;
        let mut content: Content = locked.read()?;
        content.uploads.retain(|entry| !self.matches(entry, file));
        content.uploads.extend(entry);
        let excess = content.uploads.len().saturating_sub(MAX_ENTRIES);
        content.uploads.drain(..excess);
        locked.write(&content)
    }

    fn matches(&self, entry: &Entry, file: &FileFingerprint) -> bool {
        entry.server == self.server
            && entry.user == self.user
            && entry.file == *file
            && entry.options == self.options
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ClientOptions;

    fn fingerprint(size: u64) -> FileFingerprint {
        FileFingerprint { path: "/a.mp4".into(), size, modified_seconds: 1, modified_nanos: 2, inode: 3 }
    }

    fn created(upload: &str) -> Option<Unfinished> {
        Some(Unfinished::Created(upload.to_owned()))
    }

    fn profile_dir(temp: &tempfile::TempDir) -> ProfileDir {
        let profile_dir = Some(temp.path().to_owned());
        let options = ClientOptions { server: String::new(), profile_dir, json: false };
        ProfileDir::from_options(&options).unwrap()
    }

    #[tokio::test]
    async fn find_returns_the_upload_of_the_same_file_user_server_and_options() {
        let temp = tempfile::tempdir().unwrap();
        let profile_dir = profile_dir(&temp);
        let resume_file = ResumeFile::new(profile_dir.clone(), "http://one", "users/a", None);
        resume_file.add(&fingerprint(1), "r1", "uploads/1").await.unwrap();
        resume_file.add(&fingerprint(2), "r2", "uploads/2").await.unwrap();
        assert_eq!(resume_file.find(&fingerprint(1)).unwrap(), created("uploads/1"));
        assert_eq!(resume_file.find(&fingerprint(3)).unwrap(), None);
        let small = TranscodeOptions { rungs: vec![480], ..TranscodeOptions::default() };
        for other in [
            ResumeFile::new(profile_dir.clone(), "http://two", "users/a", None),
            ResumeFile::new(profile_dir.clone(), "http://one", "users/a", Some(&small)),
            ResumeFile::new(profile_dir, "http://one", "users/b", None),
        ] {
            assert_eq!(other.find(&fingerprint(1)).unwrap(), None);
        }
    }

    #[tokio::test]
    async fn add_same_file_replaces_the_earlier_upload() {
        let temp = tempfile::tempdir().unwrap();
        let resume_file = ResumeFile::new(profile_dir(&temp), "http://one", "users/a", None);
        resume_file.add(&fingerprint(1), "r1", "uploads/1").await.unwrap();
        resume_file.add(&fingerprint(1), "r3", "uploads/3").await.unwrap();
        assert_eq!(resume_file.find(&fingerprint(1)).unwrap(), created("uploads/3"));
    }

    #[tokio::test]
    async fn remove_keeps_the_uploads_of_other_files() {
        let temp = tempfile::tempdir().unwrap();
        let resume_file = ResumeFile::new(profile_dir(&temp), "http://one", "users/a", None);
        resume_file.add(&fingerprint(1), "r1", "uploads/1").await.unwrap();
        resume_file.add(&fingerprint(2), "r2", "uploads/2").await.unwrap();
        resume_file.remove(&fingerprint(1)).await.unwrap();
        assert_eq!(resume_file.find(&fingerprint(1)).unwrap(), None);
        assert_eq!(resume_file.find(&fingerprint(2)).unwrap(), created("uploads/2"));
    }

    #[tokio::test]
    async fn find_returns_the_request_of_a_session_without_a_name() {
        let temp = tempfile::tempdir().unwrap();
        let resume_file = ResumeFile::new(profile_dir(&temp), "http://one", "users/a", None);
        resume_file.add(&fingerprint(1), "r1", "").await.unwrap();
        let found = resume_file.find(&fingerprint(1)).unwrap();
        assert_eq!(found, Some(Unfinished::Requested("r1".to_owned())));
    }
}
