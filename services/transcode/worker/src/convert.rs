//! Converts the engine's types to API messages.

use std::time::Duration;

use reelmill_media::{
    Failure, FailureCause, FailureKind,
    probe::{ProgramSummary, Source, Track, TrackKind},
    rate::output_rate,
};
use reelmill_proto::{
    Reason, duration,
    transcode::{self as proto, output, source_track::Kind},
};

use crate::engine::{Output, OutputKind, Snapshot};

/// Properties of the source, for display.
pub(crate) fn source_info(source: &Source) -> proto::SourceInfo {
    let mut info = proto::SourceInfo {
        container: source.container.clone(),
        audio_codec: source.audio.first().map(|audio| audio.codec.clone()).unwrap_or_default(),
        duration: source.duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(duration),
        audio_tracks: int(source.audio.len()),
        subtitle_tracks: int(source.subtitles.len()),
        tracks: source.contents.tracks.iter().map(source_track).collect(),
        programs: source.contents.programs.iter().map(source_program).collect(),
        ..proto::SourceInfo::default()
    };
    if let Some(video) = &source.video {
        let size = video.display_size();
        info.video_codec.clone_from(&video.codec);
        info.width = int(size.width);
        info.height = int(size.height);
        info.rotation_degrees = video.orientation.degrees();
        info.frame_rate = output_rate(video.nominal_rate, video.mean_rate, video.busiest_rate).fps();
        info.pixel_format.clone_from(&video.pixel_format);
        info.video_range = video.range.as_str().to_owned();
        info.interlaced = video.interlaced;
    }
    info
}

fn source_track(track: &Track) -> proto::SourceTrack {
    let kind = match track.kind {
        TrackKind::Video => Kind::Video,
        TrackKind::Audio => Kind::Audio,
        TrackKind::Subtitle => Kind::Subtitle,
    };
    proto::SourceTrack {
        index: int(track.index),
        kind: kind.into(),
        codec: track.codec.clone(),
        language: track.language.clone(),
        title: track.title.clone(),
        width: int(track.width),
        height: int(track.height),
        channels: int(track.channels),
        programs: track.programs.iter().copied().map(int).collect(),
        used: track.is_used,
    }
}

fn source_program(program: &ProgramSummary) -> proto::SourceProgram {
    proto::SourceProgram { number: int(program.number), title: program.title.clone(), used: program.is_used }
}

/// Progress of a task.
pub(crate) fn progress(snapshot: &Snapshot) -> proto::Progress {
    proto::Progress {
        percent: snapshot.percent,
        frames: long(snapshot.frames),
        fps: snapshot.fps,
        speed: snapshot.speed,
        eta: snapshot.eta.map(duration),
        segments_ready: 0,
    }
}

/// The stable reason of a failure, as listed in `docs/ERRORS.md`.
pub const fn reason(kind: FailureKind) -> Reason {
    match kind {
        FailureKind::FileNotVideo => Reason::FileNotVideo,
        FailureKind::FileTruncated => Reason::FileTruncated,
        FailureKind::NoVideoStream => Reason::NoVideoStream,
        FailureKind::ProgramNotFound => Reason::ProgramNotFound,
        FailureKind::VideoTooLarge => Reason::VideoTooLarge,
        FailureKind::CodecUnsupported => Reason::CodecUnsupported,
        FailureKind::DecodeFailed => Reason::DecodeFailed,
        FailureKind::SourceUnreadable => Reason::SourceUnreadable,
        FailureKind::ObjectStoreUnavailable => Reason::ObjectStoreUnavailable,
        FailureKind::DispatcherUnavailable => Reason::DispatcherUnavailable,
        FailureKind::HostResourcesExhausted => Reason::HostResourcesExhausted,
        FailureKind::EncoderCrashed => Reason::EncoderCrashed,
        FailureKind::EncoderStalled => Reason::EncoderStalled,
        FailureKind::WorkerStopped => Reason::WorkerStopped,
        FailureKind::LimitExceeded => Reason::LimitExceeded,
        FailureKind::TrackSkipped => Reason::TrackSkipped,
        FailureKind::RecordingSkipped => Reason::RecordingSkipped,
        FailureKind::TimeGap => Reason::TimeGap,
        FailureKind::SubtitlesIncomplete => Reason::SubtitlesIncomplete,
        FailureKind::PartlyDamaged => Reason::PartlyDamaged,
        FailureKind::ColoursWrong => Reason::ColoursWrong,
        FailureKind::DownloadTooLarge => Reason::DownloadTooLarge,
        FailureKind::DownloadFailed => Reason::DownloadFailed,
    }
}

/// The cause of a failure.
pub(crate) const fn cause(cause: FailureCause) -> proto::FailureCause {
    match cause {
        FailureCause::Dependency => proto::FailureCause::Dependency,
        FailureCause::Worker => proto::FailureCause::Worker,
        FailureCause::Encoder => proto::FailureCause::Encoder,
        FailureCause::File => proto::FailureCause::File,
    }
}

/// A warning for the uploader.
pub(crate) fn warning(failure: &Failure) -> proto::Warning {
    proto::Warning { reason: reason(failure.kind).as_str_name().to_owned(), message: failure.message.clone() }
}

/// Number of segments of a rendition.
pub(crate) fn segment_count((rendition, count): (&String, &u32)) -> (String, i32) {
    (rendition.clone(), i32::try_from(*count).unwrap_or(i32::MAX))
}

/// An uploaded output.
pub(crate) fn output(output: &Output) -> proto::Output {
    let kind = match &output.kind {
        OutputKind::Init { codec } => output::Kind::Init(proto::InitSegment { codec: codec.clone() }),
        OutputKind::Segment { sequence, start, seconds, frames, keyframe_bytes } => {
            output::Kind::Segment(proto::MediaSegment {
                sequence: int(*sequence),
                start_seconds: *start,
                seconds: *seconds,
                frames: int(*frames),
                keyframe_bytes: long(*keyframe_bytes),
            })
        }
        OutputKind::Progressive => output::Kind::Progressive(proto::ProgressiveFile {}),
        OutputKind::Poster => output::Kind::Poster(proto::Poster {}),
        OutputKind::Thumbnails { sequence, start, interval, count, columns, tile } => {
            output::Kind::Thumbnails(proto::ThumbnailSheet {
                sequence: int(*sequence),
                start_seconds: *start,
                interval_seconds: *interval,
                count: int(*count),
                columns: int(*columns),
                width: int(tile.width),
                height: int(tile.height),
            })
        }
    };
    proto::Output {
        name: output.name.clone(),
        size_bytes: long(output.size_bytes),
        rendition_id: output.rendition.clone(),
        kind: Some(kind),
    }
}

fn int(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::reason;
    use reelmill_media::FailureKind;
    use std::collections::HashSet;

    #[test]
    fn reason_of_every_kind_is_unique_upper_snake_case() {
        let names: HashSet<_> = FailureKind::ALL.into_iter().map(|kind| reason(kind).as_str_name()).collect();
        assert_eq!(names.len(), FailureKind::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')));
    }
}
