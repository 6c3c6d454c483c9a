//! From how a program ended to a reason that a person can act on.

use super::process::Ended;
use reelmill_media::sniff::Kind;
use reelmill_media::{Failure, FailureKind, command};
use std::os::unix::process::ExitStatusExt;

/// ffmpeg's exit codes when a signal asked it to end, and when several did: the CPU limit, or somebody
/// who stops this machine's programs.
const ENDED_BY_SIGNAL: [i32; 2] = [255, 123];

/// Why ffprobe could not describe a file that looks like `kind`.
pub(super) fn probe(ended: &Ended, kind: Kind) -> Failure {
    if let Some(failure) = killed(ended) {
        return failure;
    }
    let tail = ended.tail.as_str();
    if ended.status.code().is_some_and(|code| {
        [reelmill_jail::EXIT_CODE_FAILED, reelmill_jail::EXIT_CODE_NOT_FOUND].map(i32::from).contains(&code)
    }) {
        tracing::error!(tail, "the prober could not be confined");
        return Failure::new(FailureKind::EncoderCrashed, "The worker failed. It is tried again.");
    }
    if tail.contains("max_streams") {
        return Failure::new(
            FailureKind::LimitExceeded,
            format!("The file has more tracks than are read ({}).", command::MAX_STREAMS),
        );
    }
    if tail.contains("moov atom not found") {
        return truncated();
    }
    if kind == Kind::Unknown || tail.contains("whitelist") {
        return Failure::new(
            FailureKind::FileNotVideo,
            "The file is not a video in a format that is read (MP4, MOV, MKV, WebM, TS, AVI and the like).",
        );
    }
    Failure::new(
        FailureKind::FileTruncated,
        "The file is damaged or incomplete. Upload the whole file again.",
    )
}

/// How good an encoding is that is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to remark.
    Good,
    /// Much of what was decoded was damaged.
    Damaged,
}

/// Whether an encoding that gave nothing, or something, is good enough, or why not.
pub(super) fn encoding(ended: &Ended, empty: bool, may_be_empty: bool) -> Result<Verdict, Failure> {
    let tail = ended.tail.as_str();
    if let Some(failure) = killed(ended) {
        return Err(failure);
    }
    let code = ended.status.code();
    if tail.contains("Cannot allocate memory") {
        return Err(limit());
    }
    if code.is_some_and(|code| ENDED_BY_SIGNAL.contains(&code)) {
        return Err(Failure::new(FailureKind::EncoderCrashed, "The encoder was stopped. It is tried again."));
    }
    if code == Some(i32::from(reelmill_jail::EXIT_CODE_FAILED))
        || code == Some(i32::from(reelmill_jail::EXIT_CODE_NOT_FOUND))
    {
        tracing::error!(tail, "the encoder could not be confined");
        return Err(Failure::new(FailureKind::EncoderCrashed, "The worker failed. It is tried again."));
    }
    if tail.contains("No space left on device") {
        return Err(Failure::new(FailureKind::EncoderCrashed, "The worker's disk is full."));
    }
    if empty && !may_be_empty {
        return Err(nothing_decoded(tail));
    }
    Ok(if code != Some(0) || says_damaged(tail) || says_truncated(tail) {
        Verdict::Damaged
    } else {
        Verdict::Good
    })
}

/// Whether the encoder gave up because a sound has other channels, or another rate, from some moment on.
pub(super) fn says_sound_changes(ended: &Ended) -> bool {
    ended.tail.contains("Changing audio frame properties on the fly is not supported")
}

/// A few complaints are nothing: many a sound file begins with pictures that refer to what was cut off before them.
fn says_damaged(tail: &str) -> bool {
    const HINTS: [&str; 5] = [
        "error while decoding",
        "Error while decoding",
        "corrupt decoded frame",
        "concealing",
        "Error submitting packet",
    ];
    const MANY: usize = 8;
    tail.lines().filter(|line| HINTS.iter().any(|hint| line.contains(hint))).count() >= MANY
}

fn nothing_decoded(tail: &str) -> Failure {
    if tail.contains("moov atom not found") || says_truncated(tail) {
        return truncated();
    }
    if tail.contains("Decoder (codec") || tail.contains("Decoding requested, but no decoder found") {
        return Failure::new(
            FailureKind::CodecUnsupported,
            "The video's codec is not supported. Convert it to H.264, say.",
        );
    }
    Failure::new(
        FailureKind::DecodeFailed,
        "No frame of the video can be decoded: it is damaged or encrypted.",
    )
}

fn says_truncated(tail: &str) -> bool {
    ["partial file", "File ended prematurely", "Truncating packet", "Packet corrupt", "truncated"]
        .iter()
        .any(|hint| tail.contains(hint))
}

/// Ended by a limit, or by a signal that this worker did not send.
pub(super) fn killed(ended: &Ended) -> Option<Failure> {
    const XCPU: i32 = 24;
    const XFSZ: i32 = 25;
    if ended.out_of_cpu {
        return Some(limit());
    }
    match ended.status.signal()? {
        XCPU | XFSZ => Some(limit()),
        signal => Some(Failure::new(
            FailureKind::EncoderCrashed,
            format!("The decoder or encoder died (signal {signal}). It is tried again."),
        )),
    }
}

fn limit() -> Failure {
    Failure::new(
        FailureKind::LimitExceeded,
        "The file needs more computing time or memory than one video may take. Export it again, smaller.",
    )
}

fn truncated() -> Failure {
    Failure::new(
        FailureKind::FileTruncated,
        "The file ends before the video does. Upload the whole file again, or export it again.",
    )
}

#[cfg(test)]
mod tests {
    use super::{Verdict, encoding, probe};
    use crate::engine::process::Ended;
    use reelmill_media::FailureKind;
    use reelmill_media::sniff::Kind;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ended(raw: i32, tail: &str) -> Ended {
        Ended { status: ExitStatus::from_raw(raw), tail: tail.into(), out_of_cpu: false }
    }

    fn reason(raw: i32, tail: &str, empty: bool) -> Option<FailureKind> {
        encoding(&ended(raw, tail), empty, false).err().map(|failure| failure.kind)
    }

    #[test]
    fn endings_of_an_encoding() {
        assert_eq!(reason(0, "some noise", false), None);
        assert_eq!(reason(0, "", true), Some(FailureKind::DecodeFailed));
        assert_eq!(reason(0, "x: partial file", true), Some(FailureKind::FileTruncated));
        assert_eq!(reason(256, "Decoder (codec vvc) not found", true), Some(FailureKind::CodecUnsupported));
        for stopped in [255 << 8, 123 << 8, 9, 11, 15, 125 << 8] {
            assert_eq!(reason(stopped, "", false), Some(FailureKind::EncoderCrashed), "{stopped}");
        }
        assert_eq!(encoding(&ended(0, ""), true, true), Ok(Verdict::Good), "behind the end of the file");
        assert_eq!(
            encoding(&ended(69 << 8, ""), false, false),
            Ok(Verdict::Damaged),
            "what is there can be played"
        );
        let cut = encoding(&ended(0, "x: File ended prematurely"), false, false);
        assert_eq!(cut, Ok(Verdict::Damaged), "the end is missing");
    }

    #[test]
    fn endings_at_a_limit() {
        let (xcpu, xfsz) = (24, 25);
        for raw in [xcpu, xfsz] {
            assert_eq!(reason(raw, "", false), Some(FailureKind::LimitExceeded));
        }
        assert_eq!(reason(256, "x: Cannot allocate memory", false), Some(FailureKind::LimitExceeded));
        for raw in [255 << 8, 123 << 8, 9] {
            let ended = Ended { out_of_cpu: true, ..ended(raw, "") };
            assert_eq!(
                encoding(&ended, false, true).map_err(|failure| failure.kind),
                Err(FailureKind::LimitExceeded)
            );
            assert_eq!(probe(&ended, Kind::Mp4).kind, FailureKind::LimitExceeded);
        }
    }

    #[test]
    fn endings_of_a_probe() {
        let reason = |tail, kind| probe(&ended(256, tail), kind).kind;
        assert_eq!(reason("moov atom not found", Kind::Mp4), FailureKind::FileTruncated);
        assert_eq!(reason("Invalid data found", Kind::Unknown), FailureKind::FileNotVideo);
        assert_eq!(reason("Format not on whitelist", Kind::Mp4), FailureKind::FileNotVideo);
        assert_eq!(reason("Invalid data found", Kind::Matroska), FailureKind::FileTruncated);
    }
}
