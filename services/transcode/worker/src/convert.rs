//! From the engine's terms to the contract's.

use crate::engine::{Output, RungOutcome, Snapshot, Transcoded, Work};
use reelmill_media::probe::Source;
use reelmill_proto::duration;
use reelmill_proto::transcode::{self as proto, rendition::State};
use std::time::Duration;

/// What the source is.
pub(crate) fn source_info(source: &Source, frame_rate: f64) -> proto::SourceInfo {
    let shown = source.video.shown();
    proto::SourceInfo {
        container: source.container.clone(),
        video_codec: source.video.codec.clone(),
        audio_codec: source.audio.as_ref().map(|audio| audio.codec.clone()).unwrap_or_default(),
        width: int(shown.width),
        height: int(shown.height),
        rotation_degrees: source.video.orientation.degrees(),
        frame_rate,
        duration: source.duration.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(duration),
    }
}

/// How far the whole task is.
pub(crate) fn progress(snapshot: &Snapshot) -> proto::Progress {
    proto::Progress {
        percent: snapshot.percent,
        frames: i64::try_from(snapshot.frames).unwrap_or(i64::MAX),
        fps: snapshot.fps,
        speed: snapshot.speed,
        eta: snapshot.eta.map(duration),
    }
}

/// The rungs while they are being made: one decode feeds all, so they share their progress.
pub(crate) fn rungs_in_work(snapshot: &Snapshot) -> Vec<proto::Rendition> {
    let Some(Work { plan, .. }) = &snapshot.work else { return Vec::new() };
    let in_work = |(place, rung): (usize, &reelmill_media::plan::Rung)| {
        let done = place < snapshot.rungs_done;
        let mut progress = progress(snapshot);
        if done {
            progress.percent = 100.0;
            progress.eta = None;
        }
        proto::Rendition {
            rendition_id: rung.id.clone(),
            state: State::Encoding as i32,
            height: int(rung.size.height),
            width: int(rung.size.width),
            frame_rate: plan.rate.fps(),
            progress: Some(progress),
            ..proto::Rendition::default()
        }
    };
    plan.rungs.iter().enumerate().map(in_work).collect()
}

/// What a task that is done reports.
pub(crate) fn completion(lease: proto::Lease, done: &Transcoded) -> proto::CompleteTaskRequest {
    let rate = done.outcome.rungs.first().map_or(0.0, |rung| rung.frame_rate);
    proto::CompleteTaskRequest {
        lease: Some(lease),
        renditions: done.outcome.rungs.iter().map(ready).collect(),
        source: Some(source_info(&done.source, rate)),
        master_playlist: done.outcome.master_playlist.clone(),
        poster: done.outcome.poster.clone(),
        outputs: done.outcome.outputs.iter().map(output).collect(),
    }
}

fn ready(rung: &RungOutcome) -> proto::Rendition {
    proto::Rendition {
        rendition_id: rung.id.clone(),
        state: State::Ready as i32,
        height: int(rung.size.height),
        width: int(rung.size.width),
        frame_rate: rung.frame_rate,
        codecs: rung.codecs.clone(),
        bandwidth_bps: long(rung.bandwidth.peak),
        average_bandwidth_bps: long(rung.bandwidth.average),
        size_bytes: long(rung.size_bytes),
        progress: None,
    }
}

fn output(output: &Output) -> proto::Output {
    proto::Output { name: output.name.clone(), size_bytes: long(output.size_bytes) }
}

fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
