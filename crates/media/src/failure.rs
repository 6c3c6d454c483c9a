//! Why a video cannot be made: stable reasons, each with a sentence a person can act on.

use std::fmt;

/// A stable reason. Listed in `docs/ERRORS.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The file is not a video container.
    FileNotVideo,
    /// The file ends before its contents do.
    FileTruncated,
    /// There is no picture in the file.
    NoVideoStream,
    /// The picture has more pixels than are decoded.
    VideoTooLarge,
    /// No decoder for the video's codec.
    CodecUnsupported,
    /// The decoder found nothing usable.
    DecodeFailed,
    /// The source could not be read from the store.
    SourceUnreadable,
    /// Outputs could not be put in the store.
    StoreUnavailable,
    /// The encoder, or the worker around it, died.
    EncoderCrashed,
    /// The encoder made no progress.
    EncoderStalled,
    /// The worker was told to stop before the task was done.
    WorkerStopped,
    /// The file asks for more time, memory or disk than one task may take.
    LimitExceeded,
    /// As a warning: a sound or text track was left out.
    TrackSkipped,
    /// As a warning: parts of the video could not be decoded; what is missing shows the frame before.
    PartlyDamaged,
    /// As a warning: the picture's colours can't be converted, and look wrong.
    ColoursWrong,
    /// As a warning: a rendition is too large for one MP4 file; it plays all the same.
    DownloadTooLarge,
    /// As a warning: a rendition could not be joined into one MP4 file; it plays all the same.
    DownloadFailed,
}

impl Reason {
    /// Every reason, in the order of documentation.
    pub const ALL: [Self; 17] = [
        Self::FileNotVideo,
        Self::FileTruncated,
        Self::NoVideoStream,
        Self::VideoTooLarge,
        Self::CodecUnsupported,
        Self::DecodeFailed,
        Self::SourceUnreadable,
        Self::StoreUnavailable,
        Self::EncoderCrashed,
        Self::EncoderStalled,
        Self::WorkerStopped,
        Self::LimitExceeded,
        Self::TrackSkipped,
        Self::PartlyDamaged,
        Self::ColoursWrong,
        Self::DownloadTooLarge,
        Self::DownloadFailed,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FileNotVideo => "FILE_NOT_VIDEO",
            Self::FileTruncated => "FILE_TRUNCATED",
            Self::NoVideoStream => "NO_VIDEO_STREAM",
            Self::VideoTooLarge => "VIDEO_TOO_LARGE",
            Self::CodecUnsupported => "CODEC_UNSUPPORTED",
            Self::DecodeFailed => "DECODE_FAILED",
            Self::SourceUnreadable => "SOURCE_UNREADABLE",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
            Self::EncoderCrashed => "ENCODER_CRASHED",
            Self::EncoderStalled => "ENCODER_STALLED",
            Self::WorkerStopped => "WORKER_STOPPED",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::TrackSkipped => "TRACK_SKIPPED",
            Self::PartlyDamaged => "PARTLY_DAMAGED",
            Self::ColoursWrong => "COLOURS_WRONG",
            Self::DownloadTooLarge => "DOWNLOAD_TOO_LARGE",
            Self::DownloadFailed => "DOWNLOAD_FAILED",
        }
    }

    /// Whether another attempt may succeed, because the fault was not the file's.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::SourceUnreadable
                | Self::StoreUnavailable
                | Self::EncoderCrashed
                | Self::EncoderStalled
                | Self::WorkerStopped
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason and a sentence for people: what is wrong and what to do. Of a video that plays all the same it is a
/// warning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// The stable reason.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure for `reason`, explained by `message`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
    }
}
