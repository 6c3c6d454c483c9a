//! How this worker speaks with dispatch: what an answer means, and how often to ask again.

use crate::patience::pause;
use reelmill_mesh::{Channel, reason_of};
use reelmill_proto::transcode::worker_service_client::WorkerServiceClient;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Response, Status};

/// A client of dispatch.
pub(crate) type Dispatch = WorkerServiceClient<Channel>;

/// How long one answer is waited for.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// The same where dispatch first looks at every output.
pub(crate) const CHECKED_ANSWER: Duration = Duration::from_secs(60);

/// Whether dispatch has decided: the lease or the task is no more.
pub(crate) fn is_verdict(status: &Status) -> bool {
    matches!(
        reason_of(status).as_deref(),
        Some("LEASE_LOST" | "TASK_NOT_FOUND" | "TASK_ENDED" | "TASK_LEASED")
    )
}

/// Whether asking again may be answered differently.
pub(crate) fn is_passing(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::PermissionDenied
    )
}

/// Asks, waiting for each answer at most `wait`, until there is one that asking again would not
/// change, or `until`.
pub(crate) async fn insist<T, F>(until: Instant, wait: Duration, ask: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut attempt = 1;
    loop {
        let answered = tokio::time::timeout(wait, ask()).await;
        let status = match answered {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) if is_verdict(&status) || !is_passing(&status) => return Err(status),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("dispatch did not answer"),
        };
        let pause = pause(attempt);
        if Instant::now() + pause >= until {
            return Err(status);
        }
        tracing::debug!(%status, attempt, "asking dispatch again");
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}
