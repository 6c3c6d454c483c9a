//! Videos as API messages.

use reelmill_proto::{
    timestamp,
    transcode::{Rendition, rendition},
    upload::{Video, video::State},
};

use crate::{
    db::{VideoDetail, VideoRow},
    domain::{
        outputs::is_playable,
        resource_name::{upload_name, video_name},
        video_progress::VideoProgress,
        video_state::VideoState,
    },
    playback_urls::PlaybackUrls,
    progress_cache::ProgressCache,
};

/// Builds video messages from rows, progress and playback URLs.
#[derive(Clone)]
pub(crate) struct VideoMessages {
    pub progress: ProgressCache,
    pub playback: PlaybackUrls,
}

impl VideoMessages {
    /// A video as its owner sees it now. URLs use `origin` unless a public URL is configured.
    pub(crate) fn video(&self, detail: &VideoDetail, origin: Option<&str>) -> Video {
        let row = &detail.video;
        let progress = self.progress.get(&row.id).filter(|_| row.state == VideoState::Processing);
        let source = row.source();
        let mut video = Video {
            name: video_name(&row.id),
            display_name: row.display_name.clone(),
            state: state(row.state).into(),
            create_time: Some(timestamp(row.create_time)),
            end_time: row.end_time.map(timestamp),
            size_bytes: row.size_bytes,
            duration: source.as_ref().and_then(|source| source.duration),
            source,
            renditions: renditions(detail, progress.as_ref()),
            progress: progress.and_then(|progress| progress.overall),
            failure: row.failure(),
            waiting: row.waiting(),
            upload_session: upload_name(&row.upload_id),
            job: row.job.clone().unwrap_or_default(),
            revision: row.revision,
            playable: is_playable(row.state, row.playable_time),
            time_to_playable_seconds: time_to_playable_seconds(row).unwrap_or_default(),
            warnings: detail.warnings.iter().map(|warning| warning.to_message()).collect(),
            options: row.encoding_options().to_message(),
            ..Video::default()
        };
        if matches!(row.state, VideoState::Processing | VideoState::Ready) {
            let grant = self.playback.grant(&row.id, None, origin);
            video.playback_uri = grant.url(row.master_playlist_key.as_deref());
            video.poster_uri = grant.url(row.poster_key.as_deref());
            video.dash_uri = grant.url(row.dash_manifest_key.as_deref());
            video.thumbnails_uri = grant.url(row.thumbnails_key.as_deref());
        }
        video
    }
}

fn state(state: VideoState) -> State {
    match state {
        VideoState::Uploading => State::Uploading,
        VideoState::Processing => State::Processing,
        VideoState::Ready => State::Ready,
        VideoState::Failed => State::Failed,
    }
}

/// Seconds from the completion request to playability. Never negative: the two times come from different clocks.
fn time_to_playable_seconds(row: &VideoRow) -> Option<f64> {
    let millis = row.playable_time?.saturating_sub(row.complete_time?).max(0);
    Some(millis as f64 / 1000.0)
}

/// The stored renditions; those being encoded with their progress.
fn renditions(detail: &VideoDetail, progress: Option<&VideoProgress>) -> Vec<Rendition> {
    let with_progress = |mut rendition: Rendition| {
        if rendition.state() == rendition::State::Encoding {
            rendition.progress =
                progress.and_then(|progress| progress.renditions.get(&rendition.rendition_id).copied());
        }
        rendition
    };
    detail.renditions.iter().map(|row| with_progress(row.to_message())).collect()
}
