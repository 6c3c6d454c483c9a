//! Tables and queries of the upload database.
//!
//! Every stored change of a video gets a revision from one counter, as the first statement of its transaction. The row
//! lock on the counter makes those transactions commit in the order of their revisions: a reader that has seen revision
//! N has seen every change up to N.

mod connection;
mod entity;
mod job_revisions;
mod messages;
mod migration;
mod revision;
mod uploads;
mod video_details;
mod videos;

pub(crate) use connection::Db;
pub(crate) use entity::{uploads::Model as UploadRow, videos::Model as VideoRow};
pub(crate) use job_revisions::ApplyOutcome;
pub(crate) use uploads::{CreateOutcome, NewUpload};
pub(crate) use video_details::VideoDetail;
