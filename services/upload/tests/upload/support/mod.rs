//! Fixtures: a deployment of the upload service and its dependencies, and helpers for calls.

mod deployment;
mod fake_transcode;
mod gated_object_store;
mod job_changes;

use std::time::Duration;

use reelmill_mesh::reason_of;
use reelmill_proto::upload::CreateUploadSessionRequest;
use tonic::Status;

pub use deployment::{Backend, Deployment, ORIGIN, PLAYBACK_SECRET, UploadServer};
pub use job_changes::{output_key, report_progress, set_playable, set_running, set_succeeded};

pub const MIB: usize = 1 << 20;
/// Longer than any step takes on a loaded machine.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A request to upload a file of `size` bytes.
pub fn new_file(size: usize) -> CreateUploadSessionRequest {
    CreateUploadSessionRequest {
        file_name: "clip.mov".to_owned(),
        size_bytes: i64::try_from(size).unwrap(),
        ..Default::default()
    }
}

/// Pseudo-random bytes, so that parts in the wrong order are detected.
pub fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The reason of a failed call.
pub fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    reason_of(&status).unwrap_or_else(|| panic!("no reason in {status:?}"))
}

/// Polls until `check` returns a value.
pub async fn eventually<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let polling = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(STEP_TIMEOUT, polling).await.unwrap_or_else(|_| panic!("timeout: {what}"))
}

/// The next item of a stream.
pub async fn next<T>(stream: &mut tonic::Streaming<T>) -> Option<T> {
    let next = tokio::time::timeout(STEP_TIMEOUT, stream.message()).await;
    next.unwrap_or_else(|_| panic!("timeout: the stream sent nothing")).unwrap()
}
