//! What can go wrong, and the exit code that says so.

use std::{error::Error as _, io, path::Path};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::text;

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The caller asked for what can't be done here: exit code 2.
    #[error("{message} ({reason})")]
    Usage {
        /// Stable reason.
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
    /// Nobody answers at the server's address: exit code 3.
    #[error("can't reach {server}: {cause} (SERVER_UNREACHABLE)")]
    Unreachable {
        /// Address.
        server: String,
        /// What the network said.
        cause: String,
    },
    /// The server said no: exit code 4.
    #[error("{message} ({reason})")]
    Refused {
        /// The status code.
        code: Code,
        /// Stable reason, as the server gave it.
        reason: String,
        /// A sentence for people.
        message: String,
    },
    /// The job failed, or work here did: exit code 1.
    #[error("{message} ({reason})")]
    Failed {
        /// Stable reason.
        reason: String,
        /// A sentence for people.
        message: String,
    },
    /// Ctrl-C: exit code 130, as shells have it.
    #[error("{0}")]
    Interrupted(String),
}

impl ClientError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::Usage { .. } => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused { .. } => 4,
            Self::Interrupted(_) => 130,
        }
    }

    pub(crate) fn usage(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Usage { reason, message: message.into() }
    }

    pub(crate) fn failed(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), message: message.into() }
    }

    pub(crate) fn refused(code: Code, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused { code, reason: reason.into(), message: message.into() }
    }

    /// A local file that can't be read.
    pub(crate) fn local_file(path: &Path, error: &io::Error) -> Self {
        let message = format!("{}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::failed("DISK_FULL", message),
            io::ErrorKind::NotFound => Self::usage("FILE_NOT_FOUND", message),
            _ => Self::usage("FILE_UNREADABLE", message),
        }
    }

    /// A local file that can't be written.
    pub(crate) fn local_write(path: &Path, error: &io::Error) -> Self {
        match Self::local_file(path, error) {
            Self::Usage { message, .. } => Self::Usage { reason: "FILE_UNWRITABLE", message },
            failed => failed,
        }
    }

    /// Whether the server says that it does not know the caller (any more).
    pub(crate) fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused { code: Code::Unauthenticated, .. })
    }

    /// Whether the profile holds no credentials for the server.
    pub(crate) fn is_not_signed_in(&self) -> bool {
        matches!(self, Self::Refused { reason, .. } if reason == "NOT_SIGNED_IN")
    }

    /// Whether the server says that there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: Code::NotFound, .. })
    }

    /// What a status means to the person at the terminal.
    pub(crate) fn of_status(server: &str, status: &Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason);
        if broke_on_its_way(status) {
            return Self::Unreachable { server: server.to_owned(), cause: root_cause_of(status) };
        }
        let code = status.code();
        let mut message = text::harmless(status.message());
        if let Some(id) = status.metadata().get("x-request-id").and_then(|id| id.to_str().ok())
            && matches!(code, Code::Internal | Code::Unknown | Code::DataLoss)
        {
            message = format!("{message} [request id {}]", text::harmless(id));
        }
        let reason = reason.map_or_else(|| name_of(code).to_owned(), |reason| text::harmless(&reason));
        match code {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Self::Unreachable { server: server.to_owned(), cause: format!("{message} ({reason})") }
            }
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Ok => Self::failed(reason, message),
            code => Self::refused(code, reason, message),
        }
    }
}

/// Whether a status was made on this side because the connection could not be made or broke,
/// rather than sent by the server.
pub(crate) fn broke_on_its_way(status: &Status) -> bool {
    status.details().is_empty() && (status.source().is_some() || status.code() == Code::Unavailable)
}

/// A status says its message where nothing lies behind it, not its whole self.
fn root_cause_of(status: &Status) -> String {
    status.source().map_or_else(|| status.message().to_owned(), root_cause)
}

fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What a failed transfer's innermost cause says.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
    };

    use tonic_types::ErrorDetails;

    use super::*;

    fn rich(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, "reelmill", std::collections::HashMap::new());
        Status::with_error_details(code, "no", details)
    }

    #[test]
    fn refusals_end_with_4_and_tell_the_servers_reason() {
        for code in [
            Code::Unauthenticated,
            Code::NotFound,
            Code::InvalidArgument,
            Code::FailedPrecondition,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::Unimplemented,
        ] {
            let error = ClientError::of_status("http://h", &rich(code, "SOME_REASON"));
            assert_eq!(error.exit_code(), 4, "{code:?}");
            assert_eq!(error.to_string(), "no (SOME_REASON)");
        }
    }

    #[test]
    fn a_server_that_is_away_ends_with_3_and_one_that_is_broken_with_1() {
        assert_eq!(ClientError::of_status("http://h", &Status::unavailable("tcp")).exit_code(), 3);
        assert_eq!(ClientError::of_status("http://h", &rich(Code::Unavailable, "STORE_AWAY")).exit_code(), 3);
        let error = ClientError::of_status("http://h", &rich(Code::Internal, "INTERNAL"));
        assert_eq!(error.exit_code(), 1);
    }

    #[test]
    fn a_full_disk_is_a_failure_and_a_missing_file_is_usage() {
        let at = |kind: io::ErrorKind| ClientError::local_file(Path::new("f"), &kind.into()).exit_code();
        assert_eq!(at(io::ErrorKind::StorageFull), 1);
        assert_eq!(at(io::ErrorKind::NotFound), 2);
        assert_eq!(at(io::ErrorKind::PermissionDenied), 2);
    }

    type ExitCodes = BTreeMap<String, BTreeSet<u8>>;

    /// The reasons that stand as literals in a constructor of an error, tests left out.
    fn reasons_in(folder: &Path, into: &mut ExitCodes) {
        let usage = ClientError::usage("R", "").exit_code();
        let constructors = [
            ("usage(", usage),
            ("Usage { reason:", usage),
            ("failed(", ClientError::failed("R", "").exit_code()),
            ("refused(", ClientError::refused(Code::NotFound, "R", "").exit_code()),
        ];
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                reasons_in(&path, into);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (constructor, exit_code) in constructors {
                for arguments in code.split(constructor).skip(1) {
                    let mut pieces = arguments.split('"');
                    // Nothing but a status code stands before the reason.
                    let before = pieces.next().unwrap();
                    if before.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || ":,".contains(c)) {
                        into.entry(pieces.next().unwrap().to_owned()).or_default().insert(exit_code);
                    }
                }
            }
        }
    }

    #[test]
    fn the_exit_codes_of_the_clients_own_reasons_are_documented() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = fs::read_to_string(root.join("../../docs/ERRORS.md")).unwrap();
        let (_, table) = page.split_once("## The client's own").unwrap();
        let table = table.split("\n## ").next().unwrap();
        let row = |line: &str| {
            let (reason, cells) = line.strip_prefix("| `")?.split_once("` |")?;
            let exit_code = cells.split('|').next()?.trim().parse().unwrap();
            Some((reason.to_owned(), BTreeSet::from([exit_code])))
        };
        let documented: ExitCodes = table.lines().filter_map(row).collect();

        let away = ClientError::Unreachable { server: String::new(), cause: String::new() };
        assert!(away.to_string().ends_with("(SERVER_UNREACHABLE)"));
        let mut used = ExitCodes::from([("SERVER_UNREACHABLE".to_owned(), [away.exit_code()].into())]);
        reasons_in(&root.join("src"), &mut used);
        assert_eq!(documented, used);
    }

    #[test]
    fn what_a_server_says_can_not_drive_the_terminal() {
        let error = ClientError::of_status("http://h", &Status::not_found("\x1b[2Jgone"));
        assert!(!error.to_string().contains('\x1b'));
    }
}
