//! Failures that are not caused by the contents of the source. The cause is logged; the message for users is general.

use std::{fmt::Display, io};

use reelmill_media::{Failure, FailureKind};

use crate::engine::{output::sink::SinkError, source::fetch::SourceError};

/// An internal error of the worker, which the caller has logged.
pub(crate) fn worker_failed() -> Failure {
    Failure::new(FailureKind::EncoderCrashed, "The worker failed. The task is retried.")
}

/// An internal error of the worker.
pub(crate) fn crashed(error: &dyn Display) -> Failure {
    tracing::warn!(%error, "the encoder failed");
    worker_failed()
}

/// The source cannot be read.
pub(crate) fn source_unreadable(error: &SourceError) -> Failure {
    tracing::warn!(%error, "the source cannot be read");
    Failure::new(FailureKind::SourceUnreadable, format!("The uploaded file cannot be read: {}.", error.0))
}

/// The host has no disk space or memory left.
pub(crate) fn host_exhausted(error: &dyn Display) -> Failure {
    tracing::warn!(%error, "the host's disk or memory is exhausted");
    Failure::new(FailureKind::HostResourcesExhausted, format!("The worker's host has no {error} left."))
}

/// An error of the scratch folder.
pub(crate) fn scratch_failed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => host_exhausted(&"disk space"),
        io::ErrorKind::OutOfMemory => host_exhausted(&"memory"),
        _ => crashed(error),
    }
}

/// An output cannot be put or recorded.
pub(crate) fn output_failed(error: &SinkError) -> Failure {
    tracing::warn!(%error, "an output could not be put or recorded");
    match error.kind {
        FailureKind::ObjectStoreUnavailable => {
            Failure::new(error.kind, "The object store does not accept the outputs.")
        }
        FailureKind::DispatcherUnavailable => dispatcher_unavailable(),
        _ => worker_failed(),
    }
}

/// The dispatcher does not answer a call.
pub(crate) fn dispatcher_unavailable() -> Failure {
    Failure::new(FailureKind::DispatcherUnavailable, "The transcode service does not answer.")
}
