//! The reasons that the client itself reports, as opposed to those that the server sends.

use std::fmt;

use crate::exit_code::{FAILED, REJECTED, UNREACHABLE, USAGE};

/// Defines [`ClientReason`] from one table of variant, stable name and exit code.
macro_rules! client_reasons {
    ($($(#[$doc:meta])+ $variant:ident, $name:literal, $exit_code:expr;)+) => {
        /// Stable reason of an error that the client detects by itself. Scripts depend on the names and
        /// the exit codes: docs/ERRORS.md lists both.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ClientReason {
            $($(#[$doc])+ $variant,)+
        }

        impl ClientReason {
            /// Every reason, in the order of docs/ERRORS.md.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable name, as printed in brackets at the end of the error line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Exit code of a command that fails for this reason.
            pub const fn exit_code(self) -> u8 {
                match self {
                    $(Self::$variant => $exit_code,)+
                }
            }
        }
    };
}

client_reasons! {
    /// The profile folder has no credentials for this server.
    NotSignedIn, "NOT_SIGNED_IN", REJECTED;
    /// The video is not playable yet, or not READY for a download.
    VideoNotReady, "VIDEO_NOT_READY", REJECTED;
    /// The video has no job that could be cancelled or retried.
    VideoWithoutJob, "VIDEO_WITHOUT_JOB", REJECTED;
    /// A prompt is needed and there is no terminal.
    NotInteractive, "NOT_INTERACTIVE", USAGE;
    /// The terminal could not be read or written.
    PromptFailed, "PROMPT_FAILED", USAGE;
    /// No e-mail address was given.
    EmailMissing, "EMAIL_MISSING", USAGE;
    /// The password is empty.
    PasswordEmpty, "PASSWORD_EMPTY", USAGE;
    /// The password file is not a single line of UTF-8.
    PasswordFileInvalid, "PASSWORD_FILE_INVALID", USAGE;
    /// The two typed passwords differ.
    PasswordsDiffer, "PASSWORDS_DIFFER", USAGE;
    /// The user did not confirm.
    NotConfirmed, "NOT_CONFIRMED", FAILED;
    /// No profile folder was given and the home folder is unknown.
    ProfileUnknown, "PROFILE_UNKNOWN", USAGE;
    /// The profile folder, or a file in it, can't be created, read or written.
    ProfileUnusable, "PROFILE_UNUSABLE", USAGE;
    /// A file of the profile folder has invalid content.
    ProfileUnreadable, "PROFILE_UNREADABLE", USAGE;
    /// A file of the profile folder can't be serialized.
    ProfileUnwritable, "PROFILE_UNWRITABLE", FAILED;
    /// There is no such file.
    FileNotFound, "FILE_NOT_FOUND", USAGE;
    /// The file can't be read.
    FileUnreadable, "FILE_UNREADABLE", USAGE;
    /// The file can't be written.
    FileUnwritable, "FILE_UNWRITABLE", USAGE;
    /// The file has no bytes.
    FileEmpty, "FILE_EMPTY", REJECTED;
    /// A file was expected and the path is a folder.
    FileIsFolder, "FILE_IS_FOLDER", USAGE;
    /// The file changed during its upload.
    FileChanged, "FILE_CHANGED", FAILED;
    /// The disk is full.
    DiskFull, "DISK_FULL", FAILED;
    /// The server's address is not a URL of scheme, host and port.
    ServerAddressInvalid, "SERVER_ADDRESS_INVALID", USAGE;
    /// The server or the object store is unreachable.
    ServerUnreachable, "SERVER_UNREACHABLE", UNREACHABLE;
    /// The object store rejected a part.
    PartRefused, "PART_REFUSED", REJECTED;
    /// The download address rejected the request.
    DownloadRefused, "DOWNLOAD_REFUSED", REJECTED;
    /// The video has no such rendition.
    RenditionNotFound, "RENDITION_NOT_FOUND", REJECTED;
    /// The server's response violates the contract.
    AnswerInvalid, "ANSWER_INVALID", FAILED;
    /// Standard output can't be written.
    OutputFailed, "OUTPUT_FAILED", FAILED;
    /// The HTTP client could not be initialized.
    HttpClientFailed, "HTTP_CLIENT_FAILED", FAILED;
}

impl fmt::Display for ClientReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    #[test]
    fn exit_codes_of_all_reasons_equal_the_documented_ones() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ERRORS.md");
        let page = fs::read_to_string(page).unwrap();
        let (_, table) = page.split_once("## The client's own").unwrap();
        let table = table.split("\n## ").next().unwrap();
        let row = |line: &str| {
            let (reason, cells) = line.strip_prefix("| `")?.split_once("` |")?;
            let exit_code: u8 = cells.split('|').next()?.trim().parse().unwrap();
            Some((reason.to_owned(), exit_code))
        };
        let documented: Vec<_> = table.lines().filter_map(row).collect();
        let unique: BTreeMap<_, _> = documented.iter().cloned().collect();
        assert_eq!(unique.len(), documented.len(), "a reason is documented twice");
        let defined: BTreeMap<_, _> =
            ClientReason::ALL.iter().map(|reason| (reason.to_string(), reason.exit_code())).collect();
        assert_eq!(defined.len(), ClientReason::ALL.len(), "two variants have the same name");
        assert_eq!(unique, defined);
    }

    fn source_files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { source_files(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn every_reason_is_reported_somewhere_in_the_sources() {
        let sources: String = source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
            .iter()
            .filter(|path| !path.ends_with("reason.rs"))
            .map(|path| fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap().to_owned())
            .collect();
        let is_used = |reason: &&ClientReason| {
            let name = format!("ClientReason::{reason:?}");
            let follows = |text: &str| text.starts_with(|c: char| c.is_ascii_alphanumeric());
            sources.split(&name).skip(1).any(|rest| !follows(rest))
        };
        let unused: Vec<_> = ClientReason::ALL.iter().filter(|reason| !is_used(reason)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
