//! Classifies how ffmpeg or ffprobe exited: as a result, or as a failure with a message that users can act on.

use std::os::unix::process::ExitStatusExt;

use reelmill_media::{Failure, FailureKind, command, sniff::Kind};

use crate::engine::{
    failure::{host_exhausted, worker_failed},
    process::child::ProcessExit,
};

/// ffmpeg's exit codes after a signal, and after several: it was stopped by its CPU limit, or with the other
/// programs of the machine.
const EXIT_CODES_AFTER_SIGNAL: [i32; 2] = [255, 123];
/// ffmpeg's exit code if most of what it decoded was damaged.
const EXIT_CODE_OF_DECODING_ERRORS: i32 = 69;
/// The signals of the CPU time limit and the file size limit.
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

/// Messages of ffmpeg about damaged frames.
const DAMAGE_MESSAGES: [&str; 5] = [
    "error while decoding",
    "Error while decoding",
    "corrupt decoded frame",
    "concealing",
    "Error submitting packet",
];
/// Messages of ffmpeg about bytes of a file that it skipped, beside those.
const SKIPPED_MESSAGES: [&str; 6] = [
    "invalid as first byte of an EBML number",
    "Packet mismatch",
    "max resync size reached",
    "CRC mismatch",
    "header damaged",
    "Invalid data found",
];
/// Number of [`DAMAGE_MESSAGES`] from which a file counts as damaged. A few are normal: many intact files begin with
/// frames that refer to frames which were cut off.
const MIN_DAMAGE_MESSAGES: usize = 8;
/// Messages of ffmpeg about a file that ends within a packet.
const CUT_OFF_MESSAGES: [&str; 3] = ["partial file", "File ended prematurely", "Truncating packet"];
/// Messages of ffmpeg about packets that are incomplete, wherever they are.
const TRUNCATION_MESSAGES: [&str; 2] = ["Packet corrupt", "truncated"];

/// How ffmpeg exited, if its output can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// Without a remarkable number of errors.
    Clean,
    /// The file ends within a packet.
    CutOff,
    /// Many frames were damaged, or packets are incomplete.
    Damaged,
}

/// Why ffprobe failed on a file that was sniffed as `kind`.
pub(crate) fn classify_probe(exit: &ProcessExit, kind: Kind) -> Failure {
    if let Some(failure) = killed(exit) {
        return failure;
    }
    let tail = exit.stderr_tail.as_str();
    if is_jail_error(exit.status.code()) {
        tracing::error!(tail, "ffprobe could not be confined");
        return worker_failed();
    }
    if tail.contains("max_streams") {
        return Failure::new(
            FailureKind::LimitExceeded,
            format!("The file has more tracks than are supported ({}).", command::MAX_STREAMS),
        );
    }
    if tail.contains("moov atom not found") {
        return file_truncated();
    }
    if kind == Kind::Unknown || tail.contains("whitelist") {
        return Failure::new(
            FailureKind::FileNotVideo,
            "The file is not a video in a supported format (MP4, MOV, MKV, WebM, TS, AVI and similar).",
        );
    }
    Failure::new(
        FailureKind::FileTruncated,
        "The file is damaged or incomplete. Upload the whole file again.",
    )
}

/// What is known of a run of ffmpeg beside how it exited.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Circumstances {
    /// It wrote no segments.
    pub is_empty: bool,
    /// Which may be right.
    pub may_be_empty: bool,
    /// The end of the file is missing, which FILE_TRUNCATED reports.
    pub is_cut_off: bool,
    /// It encodes a picture, not only sound.
    pub has_video: bool,
    /// The host has little memory left, which explains a failed allocation; otherwise ffmpeg reached its own limit.
    pub is_host_low: bool,
}

/// Whether the output of an encoder that exited can be used.
pub(crate) fn classify_encode(
    exit: &ProcessExit,
    circumstances: Circumstances,
) -> Result<ExitStatus, Failure> {
    let Circumstances { is_empty, may_be_empty, is_cut_off, has_video, is_host_low } = circumstances;
    let tail = exit.stderr_tail.as_str();
    if let Some(failure) = killed(exit) {
        return Err(failure);
    }
    let code = exit.status.code();
    if tail.contains("Cannot allocate memory") {
        return Err(if is_host_low { host_exhausted(&"memory") } else { limit_exceeded() });
    }
    if code.is_some_and(|code| EXIT_CODES_AFTER_SIGNAL.contains(&code)) {
        return Err(Failure::new(
            FailureKind::EncoderCrashed,
            "The encoder was stopped. The task is retried.",
        ));
    }
    if is_jail_error(code) {
        tracing::error!(tail, "ffmpeg could not be confined");
        return Err(worker_failed());
    }
    if tail.contains("No space left on device") {
        return Err(host_exhausted(&"disk space"));
    }
    if is_empty && !may_be_empty {
        return Err(nothing_decoded(tail));
    }
    let is_incomplete = contains(tail, &TRUNCATION_MESSAGES) && !is_cut_off;
    let is_failed = code != Some(0) && !is_failure_of_another_track(code, tail, has_video);
    Ok(if is_failed || reports_damage(tail) || is_incomplete {
        ExitStatus::Damaged
    } else if contains(tail, &CUT_OFF_MESSAGES) && !is_cut_off {
        ExitStatus::CutOff
    } else {
        ExitStatus::Clean
    })
}

/// Whether the decoder of a track that is left out, such as a broken sound or cover, is the only one that failed. From version 7
/// on ffmpeg counts each decoder's errors by itself, and names the decoder.
fn is_failure_of_another_track(code: Option<i32>, tail: &str, has_video: bool) -> bool {
    let mut failed = tail.lines().filter(|line| line.contains("Decode error rate")).peekable();
    let is_other = |line: &str| line.starts_with("[aist#") || (!has_video && line.starts_with("[vist#"));
    code == Some(EXIT_CODE_OF_DECODING_ERRORS) && failed.peek().is_some() && failed.all(is_other)
}

/// Whether ffmpeg has read the file to its end, and any error is one of the file.
pub(crate) fn is_explained_by_the_file(exit: &ProcessExit) -> bool {
    exit.status.success() || exit.status.code() == Some(EXIT_CODE_OF_DECODING_ERRORS)
}

/// Whether the encoder failed because the channels or the sample rate of an audio track change within it.
pub(crate) fn reports_audio_format_change(exit: &ProcessExit) -> bool {
    exit.stderr_tail.contains("Changing audio frame properties on the fly is not supported")
}

/// Whether bytes of the file were skipped, or a frame is damaged: data may be missing.
pub(crate) fn reports_skipped_bytes(exit: &ProcessExit) -> bool {
    let tail = exit.stderr_tail.as_str();
    contains(tail, &SKIPPED_MESSAGES) || contains(tail, &DAMAGE_MESSAGES)
}

/// The failure of a process that was killed by a limit, or by a signal that this worker did not send.
pub(crate) fn killed(exit: &ProcessExit) -> Option<Failure> {
    if exit.out_of_cpu {
        return Some(limit_exceeded());
    }
    match exit.status.signal()? {
        SIGXCPU | SIGXFSZ => Some(limit_exceeded()),
        signal => Some(Failure::new(
            FailureKind::EncoderCrashed,
            format!("The decoder or encoder was killed by signal {signal}. The task is retried."),
        )),
    }
}

fn is_jail_error(code: Option<i32>) -> bool {
    let codes = [reelmill_jail::EXIT_CODE_FAILED, reelmill_jail::EXIT_CODE_NOT_FOUND].map(i32::from);
    code.is_some_and(|code| codes.contains(&code))
}

fn reports_damage(tail: &str) -> bool {
    let is_about_damage = |line: &&str| DAMAGE_MESSAGES.iter().any(|message| line.contains(message));
    tail.lines().filter(is_about_damage).count() >= MIN_DAMAGE_MESSAGES
}

fn contains(tail: &str, messages: &[&str]) -> bool {
    messages.iter().any(|message| tail.contains(message))
}

fn nothing_decoded(tail: &str) -> Failure {
    let is_incomplete = contains(tail, &TRUNCATION_MESSAGES) || contains(tail, &CUT_OFF_MESSAGES);
    if tail.contains("moov atom not found") || is_incomplete {
        return file_truncated();
    }
    if tail.contains("Decoder (codec") || tail.contains("Decoding requested, but no decoder found") {
        return Failure::new(
            FailureKind::CodecUnsupported,
            "The video's codec is not supported. Convert it to H.264, for example.",
        );
    }
    Failure::new(
        FailureKind::DecodeFailed,
        "No frame of the video can be decoded: it is damaged or encrypted.",
    )
}

fn limit_exceeded() -> Failure {
    Failure::new(
        FailureKind::LimitExceeded,
        "The file needs more computing time or memory than one video may use. Export it again in a smaller \
         size.",
    )
}

fn file_truncated() -> Failure {
    Failure::new(
        FailureKind::FileTruncated,
        "The file ends before the video does. Upload the whole file again, or export it again.",
    )
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process};

    use reelmill_media::{FailureCause, FailureKind, sniff::Kind};

    use super::{Circumstances, ExitStatus, classify_encode, classify_probe};
    use crate::engine::process::child::ProcessExit;

    fn exit(raw: i32, tail: &str) -> ProcessExit {
        let status = process::ExitStatus::from_raw(raw);
        ProcessExit { status, stderr_tail: tail.into(), out_of_cpu: false }
    }

    fn encode_failure(raw: i32, tail: &str, is_empty: bool) -> Option<FailureKind> {
        classify_encode(&exit(raw, tail), Circumstances { is_empty, ..Circumstances::default() })
            .err()
            .map(|failure| failure.kind)
    }

    #[test]
    fn classify_encode_by_exit_code_and_messages() {
        assert_eq!(encode_failure(0, "some noise", false), None);
        assert_eq!(encode_failure(0, "", true), Some(FailureKind::DecodeFailed));
        assert_eq!(encode_failure(0, "x: partial file", true), Some(FailureKind::FileTruncated));
        assert_eq!(
            encode_failure(256, "Decoder (codec vvc) not found", true),
            Some(FailureKind::CodecUnsupported)
        );
        for stopped in [255 << 8, 123 << 8, 9, 11, 15, 125 << 8] {
            assert_eq!(encode_failure(stopped, "", false), Some(FailureKind::EncoderCrashed), "{stopped}");
        }
        let empty = Circumstances { is_empty: true, may_be_empty: true, ..Circumstances::default() };
        let past_the_end = classify_encode(&exit(0, ""), empty);
        assert_eq!(past_the_end, Ok(ExitStatus::Clean), "a chunk after the end of the file");
        let failed = classify_encode(&exit(69 << 8, ""), Circumstances::default());
        assert_eq!(failed, Ok(ExitStatus::Damaged), "the segments so far can be played");
        let of_decoder = |kind: &str, has_video| {
            let tail =
                format!("[{kind}#0:1/x @ 0x1] [dec:x @ 0x2] Decode error rate 1 exceeds maximum 0.666667");
            classify_encode(&exit(69 << 8, &tail), Circumstances { has_video, ..Circumstances::default() })
        };
        assert_eq!(of_decoder("aist", true), Ok(ExitStatus::Clean), "the sound is left out");
        assert_eq!(of_decoder("vist", true), Ok(ExitStatus::Damaged));
        assert_eq!(of_decoder("vist", false), Ok(ExitStatus::Clean), "the cover is left out");
        let truncated = exit(0, "x: File ended prematurely");
        let unknown = classify_encode(&truncated, Circumstances::default());
        assert_eq!(unknown, Ok(ExitStatus::CutOff));
        let inside = classify_encode(&exit(0, "x: Packet corrupt"), Circumstances::default());
        assert_eq!(inside, Ok(ExitStatus::Damaged), "something is missing");
        let known = Circumstances { is_cut_off: true, ..Circumstances::default() };
        assert_eq!(classify_encode(&truncated, known), Ok(ExitStatus::Clean), "the rest is intact");
    }

    #[test]
    fn classify_encode_and_probe_at_a_limit_return_limit_exceeded() {
        let (xcpu, xfsz) = (24, 25);
        for raw in [xcpu, xfsz] {
            assert_eq!(encode_failure(raw, "", false), Some(FailureKind::LimitExceeded));
        }
        assert_eq!(encode_failure(256, "x: Cannot allocate memory", false), Some(FailureKind::LimitExceeded));
        for raw in [255 << 8, 123 << 8, 9] {
            let exit = ProcessExit { out_of_cpu: true, ..exit(raw, "") };
            assert_eq!(
                classify_encode(&exit, Circumstances::default()).map_err(|failure| failure.kind),
                Err(FailureKind::LimitExceeded)
            );
            assert_eq!(classify_probe(&exit, Kind::Mp4).kind, FailureKind::LimitExceeded);
        }
    }

    #[test]
    fn classify_encode_without_disk_or_memory_of_the_host_is_not_caused_by_the_file() {
        for tail in ["x: No space left on device", "x: Cannot allocate memory"] {
            let low = Circumstances { is_host_low: true, ..Circumstances::default() };
            let failure = classify_encode(&exit(256, tail), low).expect_err(tail);
            assert_eq!(failure.kind.cause(), FailureCause::Dependency, "{tail}");
        }
    }

    #[test]
    fn classify_probe_by_messages_and_sniffed_kind() {
        let kind_of = |tail, kind| classify_probe(&exit(256, tail), kind).kind;
        assert_eq!(kind_of("moov atom not found", Kind::Mp4), FailureKind::FileTruncated);
        assert_eq!(kind_of("Invalid data found", Kind::Unknown), FailureKind::FileNotVideo);
        assert_eq!(kind_of("Format not on whitelist", Kind::Mp4), FailureKind::FileNotVideo);
        assert_eq!(kind_of("Invalid data found", Kind::Matroska), FailureKind::FileTruncated);
    }
}
