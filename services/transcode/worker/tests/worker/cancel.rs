//! Dropping a transcode terminates its processes.

use crate::support::{Clip, Job, count_processes_in, options, sleeping_encoder, wait_until};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn drop_transcode_terminates_encoder() {
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=1280x720:r=30:d=20 -c:v libx264 -preset ultrafast");
    let job = Arc::new(Job::planned(&clip.file, &options(&[])).await);
    let encoded = Arc::clone(&job);
    let running = tokio::spawn(async move { encoded.encode(0).await });
    wait_until(Duration::from_secs(60), "frames", || job.progress().frames > 0).await;
    assert!(count_processes_in(job.scratch.path()) > 0);
    running.abort();
    wait_until(Duration::from_secs(1), "the encoder's end", || count_processes_in(job.scratch.path()) == 0)
        .await;
    assert!(running.await.expect_err("aborted").is_cancelled());
}

/// An encoder that writes nothing does not notice that its pipes are closed.
#[tokio::test(flavor = "multi_thread")]
async fn drop_transcode_with_silent_encoder_terminates_it() {
    let clip = Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=128x72:r=25:d=2 -c:v libx264 -preset ultrafast");
    let mut job = Job::planned(&clip.file, &options(&[])).await;
    job.engine.tools.jail.helper = vec![sleeping_encoder(&clip)];
    let job = Arc::new(job);
    let encoded = Arc::clone(&job);
    let running = tokio::spawn(async move { encoded.encode(0).await });
    wait_until(Duration::from_secs(10), "a running encoder", || count_processes_in(job.scratch.path()) > 0)
        .await;
    running.abort();
    wait_until(Duration::from_secs(1), "the encoder's end", || count_processes_in(job.scratch.path()) == 0)
        .await;
}
