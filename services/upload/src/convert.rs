//! From rows to the contract's messages.

use prost::Message as _;
use reelmill_platform::objects::Part;
use reelmill_proto::{
    timestamp,
    transcode::{Job, Rendition, TranscodeOptions, rendition},
    upload::{self, UploadPart, UploadSession, Video},
};

use crate::{
    UploadError,
    changes::Live,
    core::Core,
    domain::{outputs::is_playable, upload::State as UploadState, video::State},
    store::{upload_row, video_row},
};

/// An upload session with the given parts.
pub(crate) fn upload_session(row: &upload_row::Model, parts: Vec<Part>) -> UploadSession {
    let state = match row.state {
        UploadState::Open => upload::upload_session::State::Open,
        UploadState::Completing => upload::upload_session::State::Completing,
        UploadState::Completed => upload::upload_session::State::Completed,
        UploadState::Aborted => upload::upload_session::State::Aborted,
    };
    let part = |part: Part| UploadPart { part_number: part.number, size_bytes: part.size, etag: part.etag };
    UploadSession {
        name: format!("uploads/{}", row.id),
        video: format!("videos/{}", row.video_id),
        state: state.into(),
        file_name: row.file_name.clone(),
        size_bytes: row.size_bytes,
        part_size_bytes: row.part_size_bytes,
        part_count: row.part_count,
        parts: parts.into_iter().map(part).collect(),
        create_time: Some(timestamp(row.create_time)),
        expire_time: Some(timestamp(row.expire_time)),
    }
}

/// What is kept of a video's job: source, renditions, warnings, failure.
pub(crate) fn outcome(row: &video_row::Model) -> Result<Job, UploadError> {
    Ok(row.outcome.as_deref().map(Job::decode).transpose()?.unwrap_or_default())
}

/// How a video is to be encoded; none where nothing was asked for.
pub(crate) fn options(row: &video_row::Model) -> Result<Option<TranscodeOptions>, UploadError> {
    Ok(row.options.as_deref().map(TranscodeOptions::decode).transpose()?)
}

/// Seconds from the call that completed the upload to the moment the video could be played. Two clocks may be
/// behind it, so that it could come out negative.
fn time_to_playable(row: &video_row::Model) -> Option<f64> {
    let length = row.playable_time?.saturating_sub(row.complete_time?).max(0);
    Some(length as f64 / 1000.0)
}

impl Core {
    /// A video as its owner sees it now, with addresses for the host the owner came by.
    pub(crate) fn video_message(
        &self,
        row: &video_row::Model,
        origin: Option<&str>,
    ) -> Result<Video, UploadError> {
        let kept = outcome(row)?;
        let live = self.changes.live(&row.id).filter(|_| row.state == State::Processing);
        let mut video = Video {
            name: format!("videos/{}", row.id),
            display_name: row.display_name.clone(),
            state: state(row.state).into(),
            create_time: Some(timestamp(row.create_time)),
            end_time: row.end_time.map(timestamp),
            size_bytes: row.size_bytes,
            duration: kept.source.as_ref().and_then(|source| source.duration),
            source: kept.source,
            renditions: renditions(kept.renditions, live.as_ref()),
            progress: live.and_then(|live| live.progress),
            failure: kept.failure,
            upload_session: format!("uploads/{}", row.upload_id),
            job: row.job.clone().unwrap_or_default(),
            revision: row.revision,
            playable: is_playable(row.state, row.playable_time),
            time_to_playable_seconds: time_to_playable(row).unwrap_or_default(),
            warnings: kept.warnings,
            options: options(row)?,
            ..Video::default()
        };
        if matches!(row.state, State::Processing | State::Ready) {
            let pass = self.pass(&row.id, self.config.playback_ttl, origin);
            let address = |key: &Option<String>| pass.address(&row.id, key.as_deref());
            video.playback_uri = address(&row.master_playlist_key);
            video.poster_uri = address(&row.poster_key);
            video.dash_uri = address(&row.dash_manifest_key);
            video.thumbnails_uri = address(&row.thumbnails_key);
        }
        Ok(video)
    }
}

fn state(state: State) -> upload::video::State {
    match state {
        State::Uploading => upload::video::State::Uploading,
        State::Processing => upload::video::State::Processing,
        State::Ready => upload::video::State::Ready,
        State::Failed => upload::video::State::Failed,
    }
}

/// The kept renditions, each with how far it is by the last report.
fn renditions(kept: Vec<Rendition>, live: Option<&Live>) -> Vec<Rendition> {
    let with_progress = |mut rung: Rendition| {
        if rung.state() == rendition::State::Encoding {
            rung.progress = live.and_then(|live| live.renditions.get(&rung.rendition_id).copied());
        }
        rung
    };
    kept.into_iter().map(with_progress).collect()
}
