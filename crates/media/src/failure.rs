//! Why a video cannot be encoded, or what is wrong with one that plays: a kind, and a sentence for the user.

use std::fmt;

/// What went wrong. Callers map each kind to a stable reason of their API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The file is not a video container.
    FileNotVideo,
    /// The file ends before its contents do.
    FileTruncated,
    /// The file has neither a video nor an audio stream.
    NoVideoStream,
    /// The video has more pixels than [`crate::probe::MAX_PIXELS`].
    VideoTooLarge,
    /// The file has no programme of the requested number.
    ProgramNotFound,
    /// No decoder for the video's codec.
    CodecUnsupported,
    /// The decoder returned no usable frame.
    DecodeFailed,
    /// The source could not be read from the object store.
    SourceUnreadable,
    /// Outputs could not be written to the object store.
    ObjectStoreUnavailable,
    /// The dispatcher did not answer a call.
    DispatcherUnavailable,
    /// The worker's host has no disk space or memory left.
    HostResourcesExhausted,
    /// The encoder, or the worker that runs it, crashed.
    EncoderCrashed,
    /// The encoder made no progress.
    EncoderStalled,
    /// The worker was stopped before the task was completed.
    WorkerStopped,
    /// The file needs more time, memory or disk space than one task may use.
    LimitExceeded,
    /// Warning: an audio or subtitle track was left out.
    TrackSkipped,
    /// Warning: another recording that follows in the same file was left out.
    RecordingSkipped,
    /// Warning: nothing is recorded for a time, or the clock of the file jumps.
    TimeGap,
    /// Warning: some of the text of a subtitle track was left out or cannot be read.
    SubtitlesIncomplete,
    /// Warning: parts of the video could not be decoded; the frame before is repeated there.
    PartlyDamaged,
    /// Warning: the colours cannot be converted and look wrong.
    ColoursWrong,
    /// Warning: a rendition is too large for one MP4 file. It still plays.
    DownloadTooLarge,
    /// Warning: a rendition could not be joined into one MP4 file. It still plays.
    DownloadFailed,
}

/// What causes a failure. Decides whether and when a task is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// A backend or a resource of the host.
    Dependency,
    /// The worker, which cannot or must not run tasks now.
    Worker,
    /// The encoder, which crashed or stalled on this file on a host that can encode.
    Encoder,
    /// The file.
    File,
}

impl FailureKind {
    /// Every kind, in the order of documentation.
    pub const ALL: [Self; 23] = [
        Self::FileNotVideo,
        Self::FileTruncated,
        Self::NoVideoStream,
        Self::ProgramNotFound,
        Self::VideoTooLarge,
        Self::CodecUnsupported,
        Self::DecodeFailed,
        Self::SourceUnreadable,
        Self::ObjectStoreUnavailable,
        Self::DispatcherUnavailable,
        Self::HostResourcesExhausted,
        Self::EncoderCrashed,
        Self::EncoderStalled,
        Self::WorkerStopped,
        Self::LimitExceeded,
        Self::TrackSkipped,
        Self::RecordingSkipped,
        Self::TimeGap,
        Self::SubtitlesIncomplete,
        Self::PartlyDamaged,
        Self::ColoursWrong,
        Self::DownloadTooLarge,
        Self::DownloadFailed,
    ];

    /// What causes failures of this kind.
    pub const fn cause(self) -> FailureCause {
        match self {
            Self::SourceUnreadable
            | Self::ObjectStoreUnavailable
            | Self::DispatcherUnavailable
            | Self::HostResourcesExhausted => FailureCause::Dependency,
            Self::WorkerStopped => FailureCause::Worker,
            Self::EncoderCrashed | Self::EncoderStalled => FailureCause::Encoder,
            Self::FileNotVideo
            | Self::FileTruncated
            | Self::NoVideoStream
            | Self::ProgramNotFound
            | Self::VideoTooLarge
            | Self::CodecUnsupported
            | Self::DecodeFailed
            | Self::LimitExceeded
            | Self::TrackSkipped
            | Self::RecordingSkipped
            | Self::TimeGap
            | Self::SubtitlesIncomplete
            | Self::PartlyDamaged
            | Self::ColoursWrong
            | Self::DownloadTooLarge
            | Self::DownloadFailed => FailureCause::File,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileNotVideo => "not a video file",
            Self::FileTruncated => "truncated file",
            Self::NoVideoStream => "no video stream",
            Self::ProgramNotFound => "no such programme",
            Self::VideoTooLarge => "video too large",
            Self::CodecUnsupported => "unsupported codec",
            Self::DecodeFailed => "decoding failed",
            Self::SourceUnreadable => "unreadable source",
            Self::ObjectStoreUnavailable => "object store unavailable",
            Self::DispatcherUnavailable => "dispatcher unavailable",
            Self::HostResourcesExhausted => "host resources exhausted",
            Self::EncoderCrashed => "encoder crashed",
            Self::EncoderStalled => "encoder stalled",
            Self::WorkerStopped => "worker stopped",
            Self::LimitExceeded => "limit exceeded",
            Self::TrackSkipped => "track skipped",
            Self::RecordingSkipped => "recording skipped",
            Self::TimeGap => "gap in time",
            Self::SubtitlesIncomplete => "subtitles incomplete",
            Self::PartlyDamaged => "partly damaged",
            Self::ColoursWrong => "wrong colours",
            Self::DownloadTooLarge => "download too large",
            Self::DownloadFailed => "download failed",
        })
    }
}

/// A kind, and a sentence for the user: what is wrong and what to do. For a video that still plays it is a warning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// For the user.
    pub message: String,
}

impl Failure {
    /// A failure of `kind`, explained by `message`.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::FailureKind;
    use std::collections::HashSet;

    #[test]
    fn display_of_every_kind_is_unique() {
        let names: HashSet<_> = FailureKind::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), FailureKind::ALL.len());
    }
}
