//! The commands that change a video's job: `cancel` and `retry`.

use std::time::Duration;

use reelmill_proto::{
    transcode::{
        CancelJobRequest, RetryJobRequest, SetJobPriorityRequest, job,
        transcode_service_client::TranscodeServiceClient,
    },
    upload::{Video, video::State},
};
use tokio::time::{Instant, sleep};

use crate::{
    args::{JobPriority, RetryArgs, Until},
    console::Console,
    error::ClientError,
    follow,
    reason::ClientReason,
    server::Server,
    video::{self, VIDEO_MESSAGE},
};

/// Longest time until the catalogue, which follows jobs, shows a change of a job in its video.
const MAX_CATALOGUE_DELAY: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// `cancel`: cancels the job of a video that is PROCESSING. Has no effect on a video that is READY or FAILED.
pub async fn cancel(server: &Server, console: Console, name: &str) -> Result<(), ClientError> {
    let request = CancelJobRequest { name: job_of(server, name).await? };
    server
        .call(async |channel| TranscodeServiceClient::new(channel).cancel_job(request.clone()).await)
        .await?;
    let video = wait_until(server, name, |state| state != State::Processing).await?;
    console.result(VIDEO_MESSAGE, &video, &video::summary(&video))
}

/// `priority`: sets the priority of a video's job among the caller's other jobs.
pub async fn set_priority(
    server: &Server,
    console: Console,
    name: &str,
    priority: JobPriority,
) -> Result<(), ClientError> {
    let priority = match priority {
        JobPriority::Low => job::Priority::Low,
        JobPriority::Normal => job::Priority::Normal,
        JobPriority::High => job::Priority::High,
    };
    let request = SetJobPriorityRequest { name: job_of(server, name).await?, priority: priority.into() };
    let response = server
        .call(async |channel| TranscodeServiceClient::new(channel).set_job_priority(request.clone()).await)
        .await?;
    let job = response.job.unwrap_or_default();
    let text = format!("{} has the priority {}", job.name, job.priority().as_str_name());
    console.result("reelmill.transcode.v1.Job", &job, &text)
}

/// `retry`: transcodes a FAILED video again, and follows it with `--wait`.
pub async fn retry(server: &Server, console: Console, args: &RetryArgs) -> Result<(), ClientError> {
    let name = job_of(server, &args.video).await?;
    let request = RetryJobRequest { name, options: args.encoding.options() };
    server
        .call(async |channel| TranscodeServiceClient::new(channel).retry_job(request.clone()).await)
        .await?;
    let video = wait_until(server, &args.video, |state| state != State::Failed).await?;
    if args.wait {
        return follow::watch(server, console, &args.video, Until::Ready).await;
    }
    console.result(VIDEO_MESSAGE, &video, &video::summary(&video))
}

async fn job_of(server: &Server, name: &str) -> Result<String, ClientError> {
    let video = video::get(server, name).await?;
    if video.job.is_empty() {
        return Err(ClientError::local(ClientReason::VideoWithoutJob, "the video has no transcoding job"));
    }
    Ok(video.job)
}

/// The video once it has a state that `is_expected`, or its last state after [`MAX_CATALOGUE_DELAY`].
async fn wait_until(
    server: &Server,
    name: &str,
    is_expected: impl Fn(State) -> bool,
) -> Result<Video, ClientError> {
    let start = Instant::now();
    loop {
        let video = video::get(server, name).await?;
        if is_expected(video.state()) || start.elapsed() > MAX_CATALOGUE_DELAY {
            return Ok(video);
        }
        sleep(POLL_INTERVAL).await;
    }
}
