//! Upload sessions as API messages.

use reelmill_platform::objects::Part;
use reelmill_proto::{
    timestamp,
    upload::{UploadPart, UploadSession, upload_session::State},
};

use crate::{
    db::UploadRow,
    domain::{
        resource_name::{upload_name, video_name},
        upload_state::UploadState,
    },
};

/// An upload session with the given received parts.
pub(crate) fn upload_session(row: &UploadRow, parts: Vec<Part>) -> UploadSession {
    let state = match row.state {
        UploadState::Open => State::Open,
        UploadState::Completing => State::Completing,
        UploadState::Completed => State::Completed,
        UploadState::Aborted => State::Aborted,
    };
    let part = |part: Part| UploadPart { part_number: part.number, size_bytes: part.size, etag: part.etag };
    UploadSession {
        name: upload_name(&row.id),
        video: video_name(&row.video_id),
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
