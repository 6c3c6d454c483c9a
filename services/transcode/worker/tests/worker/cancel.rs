//! Dropping a transcoding ends all it started.

use crate::support::{FolderSink, Store, engine, ffmpeg, processes_in, wait_until};
use reelmill_worker::engine::Progress;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transcoding_leaves_no_process() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("clip.mp4");
    ffmpeg("-f lavfi -i testsrc2=s=1280x720:r=30:d=120 -c:v libx264 -preset ultrafast", &file);
    let store = Store::start().await;
    let (outputs, scratch) = (TempDir::new().expect("folder"), TempDir::new().expect("scratch"));
    let (progress, watch) = Progress::new();
    let sink = Arc::new(FolderSink(outputs.path().to_owned()));
    let (engine, source, place) = (engine(), store.add(&file), scratch.path().to_owned());
    let running = tokio::spawn(async move { engine.transcode(source, &place, sink, &progress).await });
    wait_until(Duration::from_secs(60), "frames", || watch.borrow().frames > 0).await;
    assert!(processes_in(scratch.path()) > 0);
    running.abort();
    wait_until(Duration::from_secs(1), "the encoder's end", || processes_in(scratch.path()) == 0).await;
    assert!(running.await.expect_err("aborted").is_cancelled());
}
