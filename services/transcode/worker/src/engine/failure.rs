//! Failures that are not the source's fault. The cause is logged; the message for users is general.

use std::fmt::Display;

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
    Failure::new(FailureKind::SourceUnreadable, "The uploaded file could not be read. The task is retried.")
}

/// An output cannot be put or recorded.
pub(crate) fn object_store_unavailable(error: &SinkError) -> Failure {
    tracing::warn!(%error, "an output could not be put or recorded");
    Failure::new(
        FailureKind::ObjectStoreUnavailable,
        "The object store did not accept the outputs. The task is retried.",
    )
}
