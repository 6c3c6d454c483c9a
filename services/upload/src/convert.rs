//! From rows to the contract's messages.

use prost::Message as _;
use reelmill_platform::objects::Part;
use reelmill_proto::{
    timestamp,
    transcode::{Job, Rendition, rendition},
    upload::{self, UploadPart, UploadSession, Video},
};

use crate::{
    UploadError,
    changes::Live,
    core::Core,
    domain::{upload::State as UploadState, video::State},
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

/// What is kept of a video's job: source, renditions, failure.
pub(crate) fn outcome(row: &video_row::Model) -> Result<Job, UploadError> {
    Ok(row.outcome.as_deref().map(Job::decode).transpose()?.unwrap_or_default())
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
            ..Video::default()
        };
        if row.state == State::Ready {
            let pass = self.pass(&row.id, self.config.playback_ttl, origin);
            let address = |key: &Option<String>| key.as_deref().and_then(|key| pass.uri(&row.id, key));
            video.playback_uri = address(&row.master_playlist_key).unwrap_or_default();
            video.poster_uri = address(&row.poster_key).unwrap_or_default();
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
    let reported = |rung: &Rendition| {
        let live = live.iter().flat_map(|live| &live.renditions);
        live.filter(|now| now.rendition_id == rung.rendition_id).find_map(|now| now.progress)
    };
    let with_progress = |mut rung: Rendition| {
        if rung.state() == rendition::State::Encoding {
            rung.progress = reported(&rung);
        }
        rung
    };
    kept.into_iter().map(with_progress).collect()
}
