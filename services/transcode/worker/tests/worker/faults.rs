//! What cannot be transcoded, and stores that fail.

use crate::support::{Store, engine, ffmpeg, processes_in, transcode, transcode_with, wait_until};
use async_trait::async_trait;
use reelmill_media::Reason;
use reelmill_worker::engine::{Content, OutputSink, Progress, SinkError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

const CLIP: &str = "-f lavfi -i testsrc2=s=320x180:r=30:d=8 -f lavfi -i sine=440:d=8 -c:v libx264 -preset ultrafast \
                    -g 30 -c:a aac";

async fn reason(file: &Path) -> Reason {
    transcode(&Store::start().await, file).await.result.map(|done| done.outcome).expect_err("refused").reason
}

fn cut(file: &Path, share: f64) {
    let bytes = std::fs::read(file).expect("file");
    std::fs::write(file, &bytes[..(bytes.len() as f64 * share) as usize]).expect("write");
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_files_are_told_as_such() {
    let folder = TempDir::new().expect("folder");
    let cases = [("last.mp4", ""), ("first.mp4", "-movflags +faststart"), ("clip.mkv", "")];
    for (name, flags) in cases {
        let file = folder.path().join(name);
        ffmpeg(&format!("{CLIP} {flags}"), &file);
        cut(&file, 0.5);
        assert_eq!(reason(&file).await, Reason::FileTruncated, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_video_is_told_as_such() {
    let folder = TempDir::new().expect("folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("empty.mp4"), "").expect("write");
    std::fs::write(at("list.mp4"), "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n").expect("write");
    std::fs::write(
        at("noise.mp4"),
        (0..100_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_be_bytes()).collect::<Vec<_>>(),
    )
    .expect("write");
    for name in ["empty.mp4", "list.mp4", "noise.mp4"] {
        assert_eq!(reason(&at(name)).await, Reason::FileNotVideo, "{name}");
    }
    ffmpeg("-f lavfi -i sine=440:d=2 -c:a aac", &at("sound.m4a"));
    assert_eq!(reason(&at("sound.m4a")).await, Reason::NoVideoStream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stumbles_is_read_all_the_same() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("clip.mp4");
    ffmpeg(CLIP, &file);
    let store = Store::start().await;
    store.failing.store(3, Ordering::SeqCst);
    let run = transcode(&store, &file).await;
    assert_eq!(run.done().outcome.rungs[0].frames, 240);
    let served = store.served.load(Ordering::SeqCst);
    let size = std::fs::metadata(&file).expect("file").len();
    assert!(served <= size, "{served} bytes read of {size}: blocks are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_is_tried_again() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, "x").expect("write");
    let store = Store::start().await;
    let mut source = store.add(&file);
    source.uri = format!("{}/nowhere", source.uri);
    let failure = transcode_with(&engine(), source).await.result.expect_err("unreadable");
    assert_eq!(failure.reason, Reason::SourceUnreadable);
    assert!(failure.reason.retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_store_stays_away_is_tried_again() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, "x").expect("write");
    let store = Store::start().await;
    store.failing.store(u64::MAX, Ordering::SeqCst);
    let mut engine = engine();
    engine.bounds.patience = Duration::from_millis(700);
    let failure = transcode_with(&engine, store.add(&file)).await.result.expect_err("unreadable");
    assert_eq!(failure.reason, Reason::SourceUnreadable);
    let asked = u64::MAX - store.failing.load(Ordering::SeqCst);
    assert_eq!(asked, 3, "at once, after 0.2 s and after 0.6 s");
}

/// A clip of more than one block, with its index at the end.
fn long_clip(folder: &TempDir) -> std::path::PathBuf {
    let file = folder.path().join("long.mp4");
    ffmpeg("-f lavfi -i testsrc2=s=1280x720:r=30:d=8 -c:v libx264 -preset ultrafast -b:v 8M", &file);
    assert!(std::fs::metadata(&file).expect("file").len() > 3 << 20);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_during_the_probe_is_not_the_files_fault() {
    let folder = TempDir::new().expect("folder");
    let store = Store::start().await;
    *store.hanging_from.lock().expect("lock") = Some(1 << 20);
    let mut engine = engine();
    engine.bounds.probe = Duration::from_secs(2);
    let run = transcode_with(&engine, store.add(&long_clip(&folder))).await;
    assert_eq!(run.result.expect_err("unreadable").reason, Reason::SourceUnreadable);
    let ended = || processes_in(run.scratch.path()) == 0;
    wait_until(Duration::from_secs(1), "the prober's end", ended).await;
}

/// A store that takes longer over each segment than an encoder may be silent.
struct SlowSink(Duration);

#[async_trait]
impl OutputSink for SlowSink {
    async fn put(&self, name: &str, _content: Content, _content_type: &'static str) -> Result<(), SinkError> {
        if name.ends_with(".m4s") {
            tokio::time::sleep(self.0).await;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_store_is_not_silence() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("clip.mp4");
    ffmpeg("-f lavfi -i testsrc2=s=320x180:r=30:d=30 -c:v libx264 -preset ultrafast", &file);
    let (store, scratch) = (Store::start().await, TempDir::new().expect("scratch"));
    let mut engine = engine();
    engine.bounds.silence = Duration::from_millis(1500);
    let (progress, _) = Progress::new();
    let sink = Arc::new(SlowSink(engine.bounds.silence * 2));
    let done = engine.transcode(store.add(&file), scratch.path(), sink, &progress).await;
    assert_eq!(done.expect("transcoded").outcome.rungs[0].frames, 900);
}

/// A store that takes some outputs and then no more.
struct FullSink(std::sync::atomic::AtomicU64);

#[async_trait]
impl OutputSink for FullSink {
    async fn put(&self, name: &str, _content: Content, _content_type: &'static str) -> Result<(), SinkError> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| SinkError { name: name.to_owned(), cause: "full".into() })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_nothing_more_ends_the_encoder() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("clip.mp4");
    ffmpeg("-f lavfi -i testsrc2=s=640x360:r=30:d=60 -c:v libx264 -preset ultrafast", &file);
    let store = Store::start().await;
    let scratch = TempDir::new().expect("scratch");
    let (progress, _) = Progress::new();
    let sink = Arc::new(FullSink(2.into()));
    let result = engine().transcode(store.add(&file), scratch.path(), sink, &progress).await;
    assert_eq!(result.map(|done| done.outcome).expect_err("refused").reason, Reason::StoreUnavailable);
    assert_eq!(processes_in(scratch.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_says_nothing_is_ended() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("clip.mp4");
    ffmpeg(CLIP, &file);
    let silent = folder.path().join("silent");
    std::fs::write(&silent, "#!/bin/sh\nexec sleep 600\n").expect("write");
    std::fs::set_permissions(&silent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let mut engine = engine();
    engine.ffmpeg = silent.display().to_string();
    engine.bounds.silence = Duration::from_millis(300);
    let run = transcode_with(&engine, Store::start().await.add(&file)).await;
    assert_eq!(run.result.expect_err("stalled").reason, Reason::EncoderStalled);
    assert_eq!(processes_in(run.scratch.path()), 0);
}
