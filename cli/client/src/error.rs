//! The error type of the client commands.

use std::{io, path::Path};

use tonic::Code;

use crate::{exit_code, reason::ClientReason};

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// Detected by the client itself; the reason determines the exit code.
    #[error("{message} ({reason})")]
    Local {
        /// Stable reason.
        reason: ClientReason,
        /// What happened and what to do, for people.
        message: String,
    },
    /// No connection to the server or the object store: exit code 3.
    #[error("can't reach {server}: {cause} ({})", ClientReason::ServerUnreachable)]
    Unreachable {
        /// Address or description of the peer.
        server: String,
        /// Message of the network error.
        cause: String,
    },
    /// The server rejected a call: exit code 4.
    #[error("{message} ({reason})")]
    Rejected {
        /// gRPC status code.
        code: Code,
        /// Stable reason, as the server sent it.
        reason: String,
        /// The server's message, for people.
        message: String,
    },
    /// The server had an internal error, or the video could not be encoded: exit code 1.
    #[error("{message} ({reason})")]
    Failed {
        /// Stable reason, as the server sent it.
        reason: String,
        /// The server's message, for people.
        message: String,
    },
    /// The user pressed Ctrl-C: exit code 130.
    #[error("{0}")]
    Interrupted(String),
}

impl ClientError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Local { reason, .. } => reason.exit_code(),
            Self::Unreachable { .. } => ClientReason::ServerUnreachable.exit_code(),
            Self::Rejected { .. } => exit_code::REJECTED,
            Self::Failed { .. } => exit_code::FAILED,
            Self::Interrupted(_) => exit_code::INTERRUPTED,
        }
    }

    pub(crate) fn local(reason: ClientReason, message: impl Into<String>) -> Self {
        Self::Local { reason, message: message.into() }
    }

    /// A local file that can't be read.
    pub(crate) fn unreadable_file(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ClientReason::DiskFull,
            io::ErrorKind::NotFound => ClientReason::FileNotFound,
            _ => ClientReason::FileUnreadable,
        };
        Self::local(reason, format!("{}: {error}", path.display()))
    }

    /// A local file that can't be written.
    pub(crate) fn unwritable_file(path: &Path, error: &io::Error) -> Self {
        let reason = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ClientReason::DiskFull,
            _ => ClientReason::FileUnwritable,
        };
        Self::local(reason, format!("{}: {error}", path.display()))
    }

    /// Whether a file changed during its upload.
    pub(crate) fn is_file_changed(&self) -> bool {
        matches!(self, Self::Local { reason: ClientReason::FileChanged, .. })
    }

    /// Whether the caller has no valid credentials for the server.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Rejected { code: Code::Unauthenticated, .. }) || self.is_not_signed_in()
    }

    /// Whether the profile folder has no credentials for the server.
    pub(crate) fn is_not_signed_in(&self) -> bool {
        matches!(self, Self::Local { reason: ClientReason::NotSignedIn, .. })
    }

    /// Whether the server responded NOT_FOUND.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Rejected { code: Code::NotFound, .. })
    }
}

/// Message of the innermost cause of an error.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_file_full_disk_is_failure_and_other_errors_are_usage() {
        let exit_code =
            |kind: io::ErrorKind| ClientError::unreadable_file(Path::new("f"), &kind.into()).exit_code();
        assert_eq!(exit_code(io::ErrorKind::StorageFull), 1);
        assert_eq!(exit_code(io::ErrorKind::NotFound), 2);
        assert_eq!(exit_code(io::ErrorKind::PermissionDenied), 2);
    }

    #[test]
    fn unreachable_error_ends_with_its_reason_and_exit_code() {
        let error = ClientError::Unreachable { server: String::new(), cause: String::new() };
        assert!(error.to_string().ends_with("(SERVER_UNREACHABLE)"));
        assert_eq!(error.exit_code(), 3);
    }
}
