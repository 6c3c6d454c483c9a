//! From how a program ended to a reason that a person can act on.

use super::process::Ended;
use reelmill_media::sniff::Kind;
use reelmill_media::{Failure, Reason};
use std::os::unix::process::ExitStatusExt;

/// Shares of the playing time that may be missing before a file counts as cut short.
const MISSING_SHARE: f64 = 0.05;
/// The same in seconds, where the demuxer did not complain.
const MISSING_SECONDS: f64 = 1.0;
/// ffmpeg's exit codes when a signal asked it to end, and when several did: the CPU limit, or somebody
/// who stops this machine's programs.
const ENDED_BY_SIGNAL: [i32; 2] = [255, 123];

/// Why ffprobe could not describe a file that looks like `kind`.
pub(super) fn probe(ended: &Ended, kind: Kind) -> Failure {
    if let Some(failure) = killed(ended) {
        return failure;
    }
    let tail = ended.tail.as_str();
    if tail.contains("moov atom not found") {
        return truncated();
    }
    if kind == Kind::Unknown || tail.contains("whitelist") {
        return Failure::new(
            Reason::FileNotVideo,
            "The file is not a video in a format that is read (MP4, MOV, MKV, WebM, TS, AVI and the like).",
        );
    }
    Failure::new(Reason::FileTruncated, "The file is damaged or incomplete. Upload the whole file again.")
}

/// What an encoding came to.
pub(super) struct Encoded<'a> {
    pub ended: &'a Ended,
    /// Frames of the first rung.
    pub frames: u64,
    /// Seconds of the longest track.
    pub covered: f64,
    /// Seconds that the container promised.
    pub expected: Option<f64>,
}

/// Why an encoding is no good, if it is not.
pub(super) fn encoding(encoded: &Encoded<'_>) -> Result<(), Failure> {
    let tail = encoded.ended.tail.as_str();
    if let Some(failure) = killed(encoded.ended) {
        return Err(failure);
    }
    let code = encoded.ended.status.code();
    if tail.contains("Cannot allocate memory") {
        return Err(limit());
    }
    if code.is_some_and(|code| ENDED_BY_SIGNAL.contains(&code)) {
        return Err(Failure::new(Reason::EncoderCrashed, "The encoder was stopped. It is tried again."));
    }
    if tail.contains("No space left on device") {
        return Err(Failure::new(Reason::EncoderCrashed, "The worker's disk is full."));
    }
    if encoded.frames == 0 {
        return Err(nothing_decoded(tail));
    }
    let missing = encoded.expected.map_or(0.0, |expected| expected - encoded.covered);
    let share = missing / encoded.expected.unwrap_or(1.0).max(0.001);
    if share > MISSING_SHARE && (missing > MISSING_SECONDS || says_truncated(tail)) {
        return Err(truncated());
    }
    if code != Some(0) {
        return Err(Failure::new(
            Reason::DecodeFailed,
            "The video is damaged: most of it cannot be decoded. Export it again.",
        ));
    }
    Ok(())
}

fn nothing_decoded(tail: &str) -> Failure {
    if tail.contains("moov atom not found") || says_truncated(tail) {
        return truncated();
    }
    if tail.contains("Decoder (codec") || tail.contains("Decoding requested, but no decoder found") {
        return Failure::new(
            Reason::CodecUnsupported,
            "The video's codec is not supported. Convert it to H.264, say.",
        );
    }
    Failure::new(Reason::DecodeFailed, "No frame of the video can be decoded: it is damaged or encrypted.")
}

fn says_truncated(tail: &str) -> bool {
    ["partial file", "File ended prematurely", "Truncating packet", "Packet corrupt", "truncated"]
        .iter()
        .any(|hint| tail.contains(hint))
}

/// Ended by a limit, or by a signal that this worker did not send.
fn killed(ended: &Ended) -> Option<Failure> {
    const XCPU: i32 = 24;
    const XFSZ: i32 = 25;
    if ended.out_of_cpu {
        return Some(limit());
    }
    match ended.status.signal()? {
        XCPU | XFSZ => Some(limit()),
        signal => Some(Failure::new(
            Reason::EncoderCrashed,
            format!("The decoder or encoder died (signal {signal}). It is tried again."),
        )),
    }
}

pub(super) fn limit() -> Failure {
    Failure::new(
        Reason::LimitExceeded,
        "The file needs more computing time or memory than one video may take. Export it again, smaller.",
    )
}

fn truncated() -> Failure {
    Failure::new(
        Reason::FileTruncated,
        "The file ends before the video does. Upload the whole file again, or export it again.",
    )
}

#[cfg(test)]
mod tests {
    use super::{Encoded, encoding, probe};
    use crate::engine::process::Ended;
    use reelmill_media::Reason;
    use reelmill_media::sniff::Kind;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ended(raw: i32, tail: &str) -> Ended {
        Ended { status: ExitStatus::from_raw(raw), tail: tail.into(), out_of_cpu: false }
    }

    fn reason(raw: i32, tail: &str, frames: u64, covered: f64) -> Option<Reason> {
        let ended = ended(raw, tail);
        let encoded = Encoded { ended: &ended, frames, covered, expected: Some(100.0) };
        encoding(&encoded).err().map(|failure| failure.reason)
    }

    #[test]
    fn endings_of_an_encoding() {
        assert_eq!(reason(0, "some noise", 10, 96.0), None);
        assert_eq!(reason(0, "", 10, 90.0), Some(Reason::FileTruncated));
        assert_eq!(reason(0, "", 0, 0.0), Some(Reason::DecodeFailed));
        assert_eq!(reason(0, "x: partial file", 0, 0.0), Some(Reason::FileTruncated));
        assert_eq!(reason(256, "Decoder (codec vvc) not found", 0, 0.0), Some(Reason::CodecUnsupported));
        assert_eq!(reason(69 << 8, "", 10, 100.0), Some(Reason::DecodeFailed));
        for stopped in [255 << 8, 123 << 8, 9, 11, 15] {
            assert_eq!(reason(stopped, "", 10, 100.0), Some(Reason::EncoderCrashed), "{stopped}");
        }
    }

    #[test]
    fn endings_at_a_limit() {
        let (xcpu, xfsz) = (24, 25);
        for raw in [xcpu, xfsz] {
            assert_eq!(reason(raw, "", 10, 100.0), Some(Reason::LimitExceeded));
        }
        assert_eq!(reason(256, "x: Cannot allocate memory", 10, 100.0), Some(Reason::LimitExceeded));
        for raw in [255 << 8, 123 << 8, 9] {
            let ended = Ended { out_of_cpu: true, ..ended(raw, "") };
            let encoded = Encoded { ended: &ended, frames: 10, covered: 100.0, expected: Some(100.0) };
            assert_eq!(encoding(&encoded).map_err(|failure| failure.reason), Err(Reason::LimitExceeded));
            assert_eq!(probe(&ended, Kind::Mp4).reason, Reason::LimitExceeded);
        }
    }

    #[test]
    fn endings_of_a_probe() {
        let reason = |tail, kind| probe(&ended(256, tail), kind).reason;
        assert_eq!(reason("moov atom not found", Kind::Mp4), Reason::FileTruncated);
        assert_eq!(reason("Invalid data found", Kind::Unknown), Reason::FileNotVideo);
        assert_eq!(reason("Format not on whitelist", Kind::Mp4), Reason::FileNotVideo);
        assert_eq!(reason("Invalid data found", Kind::Matroska), Reason::FileTruncated);
    }
}
