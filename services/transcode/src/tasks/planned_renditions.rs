//! Rows of the renditions of a new plan.

use reelmill_media::plan::Plan;

use crate::db::{
    RenditionRow,
    entity::{RenditionKind, RenditionState},
};

/// The renditions of a plan, while they are encoded. Those of the previous generation keep their percent and frames,
/// which never decrease; their segments are gone.
pub(super) fn planned_renditions(job: &str, plan: &Plan, previous: &[RenditionRow]) -> Vec<RenditionRow> {
    let mut renditions = Vec::new();
    let mut add = |row: RenditionRow| {
        let before = previous.iter().find(|before| before.rendition_id == row.rendition_id);
        renditions.push(RenditionRow {
            position: i32::try_from(renditions.len()).unwrap_or(i32::MAX),
            progress_percent: before.map_or(0.0, |before| before.progress_percent),
            progress_frames: before.map_or(0, |before| before.progress_frames),
            ..row
        });
    };
    if let Some(video_plan) = &plan.video {
        for rung in &video_plan.rungs {
            add(RenditionRow {
                height: integer(rung.size.height),
                width: integer(rung.size.width),
                frame_rate: rung.rate(video_plan.rate).fps(),
                video_range: rung.range.as_str().to_owned(),
                ..new_rendition(job, &rung.id, RenditionKind::Video)
            });
        }
    }
    for audio in &plan.audio {
        add(RenditionRow {
            language: audio.language.clone(),
            channels: integer(audio.channels),
            ..new_rendition(job, &audio.id, RenditionKind::Audio)
        });
    }
    for subtitles in &plan.subtitles {
        add(RenditionRow {
            language: subtitles.language.clone(),
            ..new_rendition(job, &subtitles.id, RenditionKind::Subtitles)
        });
    }
    renditions
}

fn new_rendition(job: &str, id: &str, kind: RenditionKind) -> RenditionRow {
    RenditionRow {
        job_id: job.to_owned(),
        rendition_id: id.to_owned(),
        position: 0,
        kind,
        state: RenditionState::Encoding,
        width: 0,
        height: 0,
        frame_rate: 0.0,
        video_range: String::new(),
        language: String::new(),
        channels: 0,
        codecs: String::new(),
        bandwidth_bps: 0,
        average_bandwidth_bps: 0,
        size_bytes: 0,
        download_key: String::new(),
        progress_percent: 0.0,
        progress_frames: 0,
        progress_segments_ready: 0,
    }
}

fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
