//! Dropping a transcoding ends all it started.

use crate::job::{Job, options};
use crate::support::{Clip, processes_in, sleeper, wait_until};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transcoding_leaves_no_process() {
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=1280x720:r=30:d=20 -c:v libx264 -preset ultrafast");
    let job = Arc::new(Job::of(&clip.file, &options(&[])).await);
    let working = Arc::clone(&job);
    let running = tokio::spawn(async move { working.encode(0).await });
    wait_until(Duration::from_secs(60), "frames", || job.progress().frames > 0).await;
    assert!(processes_in(job.scratch.path()) > 0);
    running.abort();
    wait_until(Duration::from_secs(1), "the encoder's end", || processes_in(job.scratch.path()) == 0).await;
    assert!(running.await.expect_err("aborted").is_cancelled());
}

/// One that writes nothing would not notice that its pipes are closed.
#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_that_only_waits() {
    let clip = Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=128x72:r=25:d=2 -c:v libx264 -preset ultrafast");
    let mut job = Job::of(&clip.file, &options(&[])).await;
    job.engine.tools.jail.helper = vec![sleeper(&clip)];
    let job = Arc::new(job);
    let working = Arc::clone(&job);
    let running = tokio::spawn(async move { working.encode(0).await });
    wait_until(Duration::from_secs(10), "a sleeper", || processes_in(job.scratch.path()) > 0).await;
    running.abort();
    wait_until(Duration::from_secs(1), "its end", || processes_in(job.scratch.path()) == 0).await;
}
