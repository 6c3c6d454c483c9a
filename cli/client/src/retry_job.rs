//! The command `retry`.

use std::time::Duration;

use reelmill_proto::{
    transcode::{RetryJobRequest, transcode_service_client::TranscodeServiceClient},
    upload::{Video, video::State},
};

use crate::{
    args::{RetryArgs, Until},
    console::Console,
    error::ClientError,
    follow,
    reason::ClientReason,
    server::Server,
    video::{self, VIDEO_MESSAGE},
};

/// Time in which the video of a retried job becomes PROCESSING: the catalogue follows jobs.
const MAX_CATALOGUE_DELAY: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// `retry`: transcodes a FAILED video again, and follows it with `--wait`.
pub async fn run(server: &Server, console: Console, args: &RetryArgs) -> Result<(), ClientError> {
    let video = video::get(server, &args.video).await?;
    if video.job.is_empty() {
        return Err(ClientError::local(ClientReason::VideoWithoutJob, "the video has no job to retry"));
    }
    let request = RetryJobRequest { name: video.job, options: args.encoding.options() };
    server
        .call(async |channel| TranscodeServiceClient::new(channel).retry_job(request.clone()).await)
        .await?;
    let video = processing(server, &args.video).await?;
    if args.wait {
        return follow::watch(server, console, &args.video, Until::Ready).await;
    }
    console.result(VIDEO_MESSAGE, &video, &video::summary(&video))
}

/// Waits until the catalogue shows that the job was retried.
async fn processing(server: &Server, name: &str) -> Result<Video, ClientError> {
    let start = tokio::time::Instant::now();
    loop {
        let video = video::get(server, name).await?;
        if video.state() != State::Failed || start.elapsed() > MAX_CATALOGUE_DELAY {
            return Ok(video);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
