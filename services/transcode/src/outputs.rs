//! Where outputs lie in the object store.

use crate::store::{JobRow, TaskRow};

/// Name of the HLS master playlist below a job's folder.
pub(crate) const MASTER: &str = "master.m3u8";
/// Name of the DASH manifest.
pub(crate) const MANIFEST: &str = "manifest.mpd";
/// Name of the thumbnails' index.
pub(crate) const THUMBNAILS: &str = "thumbnails.vtt";

/// A job's folder. Playlists lie in it, and name all else by addresses relative to it.
pub(crate) fn folder(job: &JobRow) -> String {
    format!("{}{}/", job.output_prefix, job.id)
}

/// What one attempt at a task writes below, within the job's folder. Short, for it stands in every line of the
/// playlists.
pub(crate) fn attempt(task: &TaskRow, fencing_token: i64) -> String {
    format!("{}.{}.{fencing_token}/", task.generation, task.ordinal)
}

/// The whole prefix of that attempt.
pub(crate) fn attempt_prefix(job: &JobRow, task: &TaskRow, fencing_token: i64) -> String {
    format!("{}{}", folder(job), attempt(task, fencing_token))
}
