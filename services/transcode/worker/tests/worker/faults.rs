//! What cannot be transcoded, and stores that fail.

use crate::job::{Job, options, transcode, transcode_with};
use crate::support::{Clip, Store, engine, instead, processes_in, sleeper, wait_until};
use async_trait::async_trait;
use reelmill_media::plan::{Options, Plan, plan};
use reelmill_media::{Failure, FailureKind};
use reelmill_worker::engine::{
    Completion, Content, Engine, Output, OutputKind, OutputSink, Progress, SinkError, SourceAddress, TaskIo,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const CLIP: &str = "-f lavfi -i testsrc2=s=320x180:r=30:d=8 -f lavfi -i sine=440:d=8 -c:v libx264 -preset ultrafast \
                    -g 30 -c:a aac";

async fn reason(file: &Path) -> FailureKind {
    transcode(file).await.result.map(drop).expect_err("refused").kind
}

fn cut(file: &Path, share: f64) {
    let bytes = std::fs::read(file).expect("file");
    std::fs::write(file, &bytes[..(bytes.len() as f64 * share) as usize]).expect("write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_its_index_is_told_as_truncated() {
    let clip = Clip::new("last.mp4", CLIP);
    cut(&clip.file, 0.5);
    assert_eq!(reason(&clip.file).await, FailureKind::FileTruncated);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_of_a_truncated_file_plays_with_a_warning() {
    for (name, flags) in [("first.mp4", "-movflags +faststart"), ("clip.mkv", "")] {
        let clip = Clip::new(name, &format!("{CLIP} {flags}"));
        cut(&clip.file, 0.5);
        let run = transcode(&clip.file).await;
        let frames = run.done().frames("180p");
        assert!((90..=150).contains(&frames), "{name}: {frames} of 240");
        let warnings = run.result.expect("done").warnings;
        let reasons: Vec<_> = warnings.iter().map(|warning| warning.kind).collect();
        assert_eq!(reasons, [FailureKind::PartlyDamaged], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_video_is_told_as_such() {
    let folder = Clip::named("any");
    let noise: Vec<u8> =
        (0..100_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
    let cases: [(&str, &[u8]); 3] = [
        ("empty.mp4", b""),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("noise.mp4", &noise),
    ];
    for (name, bytes) in cases {
        let file = folder.beside(name);
        std::fs::write(&file, bytes).expect("write");
        assert_eq!(reason(&file).await, FailureKind::FileNotVideo, "{name}");
    }
    let text = folder.beside("text.srt");
    std::fs::write(&text, "1\n00:00:01,000 --> 00:00:02,000\nhello\n").expect("write");
    let silent = Clip::new("text.mp4", &format!("-i {} -c:s mov_text", text.display()));
    assert_eq!(reason(&silent.file).await, FailureKind::NoVideoStream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stumbles_is_read_all_the_same() {
    let clip = Clip::new("clip.mp4", CLIP);
    let store = Store::start().await;
    store.failing.store(3, Ordering::SeqCst);
    let run = transcode_with(&engine(), store.add(&clip.file), &options(&[])).await;
    assert_eq!(run.done().frames("180p"), 240);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_kept_for_all_of_a_task() {
    let clip = Clip::new("clip.mp4", CLIP);
    let (store, scratch) = (Store::start().await, TempDir::new().expect("scratch"));
    let (engine, address) = (engine(), store.add(&clip.file));
    let size = address.size_bytes;
    let session = engine.open(address).await.expect("open");
    let source = engine.inspect(&session, scratch.path()).await.expect("probed");
    let plan = plan(&source, &options(&[72]));
    let (progress, _) = Progress::new();
    let sink = Arc::new(UnrecordedSink::default());
    let place = TaskIo { scratch: scratch.path(), sink, progress: &progress };
    engine.encode(&session, &plan, &plan.work_units[0], &HashMap::new(), place).await.expect("encoded");
    assert_eq!(store.served.load(Ordering::SeqCst), size, "each of its blocks is read once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_is_tried_again() {
    let clip = Clip::named("clip.mp4");
    std::fs::write(&clip.file, "x").expect("write");
    let mut source = Store::start().await.add(&clip.file);
    source.uri = format!("{}/nowhere", source.uri);
    let failure = transcode_with(&engine(), source, &options(&[])).await.result.expect_err("unreadable");
    assert_eq!(failure.kind, FailureKind::SourceUnreadable);
    assert!(failure.kind.retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_store_stays_away_is_tried_again() {
    let clip = Clip::named("clip.mp4");
    std::fs::write(&clip.file, "x").expect("write");
    let store = Store::start().await;
    store.failing.store(u64::MAX, Ordering::SeqCst);
    let mut engine = engine();
    engine.limits.retry_window = Duration::from_millis(700);
    let run = transcode_with(&engine, store.add(&clip.file), &options(&[])).await;
    assert_eq!(run.result.expect_err("unreadable").kind, FailureKind::SourceUnreadable);
    let asked = u64::MAX - store.failing.load(Ordering::SeqCst);
    assert_eq!(asked, 3, "at once, after 0.2 s and after 0.6 s");
}

/// A clip of more than one block, with its index at the end.
fn long_clip() -> Clip {
    let clip = Clip::new(
        "long.mp4",
        "-f lavfi -i testsrc2=s=1280x720:r=30:d=8 -c:v libx264 -preset ultrafast -b:v 8M",
    );
    assert!(std::fs::metadata(&clip.file).expect("file").len() > 3 << 20);
    clip
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_during_the_probe_is_not_the_files_fault() {
    let store = Store::start().await;
    *store.hanging_from.lock().expect("lock") = Some(1 << 20);
    let mut engine = engine();
    engine.limits.probe_timeout = Duration::from_secs(2);
    let clip = long_clip();
    let run = transcode_with(&engine, store.add(&clip.file), &options(&[])).await;
    assert_eq!(run.result.as_ref().expect_err("unreadable").kind, FailureKind::SourceUnreadable);
    let ended = || processes_in(run.scratch()) == 0;
    wait_until(Duration::from_secs(1), "the prober's end", ended).await;
}

/// Encodes the first share of a source into a sink of the test's own.
async fn encode_into(
    engine: &Engine,
    source: SourceAddress,
    options: &Options,
    sink: Arc<dyn OutputSink>,
    scratch: &Path,
) -> (Result<Completion, Failure>, Plan) {
    let job = Job::new(engine, source, options).await.map_err(|(failure, _)| failure).expect("planned");
    let session = engine.open(job.address.clone()).await.expect("open");
    let (progress, _) = Progress::new();
    let place = TaskIo { scratch, sink, progress: &progress };
    let nothing = HashMap::new();
    let encoded = engine.encode(&session, &job.plan, &job.plan.work_units[0], &nothing, place).await;
    (encoded, job.plan)
}

/// A store that takes longer over each segment than an encoder may be silent.
struct SlowSink {
    takes: Duration,
    frames: AtomicU64,
}

#[async_trait]
impl OutputSink for SlowSink {
    async fn put(&self, name: &str, _content: Content, _content_type: &'static str) -> Result<(), SinkError> {
        if name.ends_with(".m4s") {
            tokio::time::sleep(self.takes).await;
        }
        Ok(())
    }

    async fn record(&self, outputs: &[Output]) -> Result<(), SinkError> {
        for output in outputs {
            if let OutputKind::Segment { frames, .. } = output.kind {
                self.frames.fetch_add(frames.into(), Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_store_is_not_silence() {
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=128x72:r=30:d=30 -c:v libx264 -preset ultrafast");
    let (store, scratch) = (Store::start().await, TempDir::new().expect("scratch"));
    let mut engine = engine();
    engine.limits.stall_timeout = Duration::from_millis(1000);
    let sink = Arc::new(SlowSink { takes: engine.limits.stall_timeout * 2, frames: AtomicU64::new(0) });
    let own = Arc::clone(&sink) as Arc<dyn OutputSink>;
    let (encoded, _) =
        encode_into(&engine, store.add(&clip.file), &options(&[72]), own, scratch.path()).await;
    encoded.expect("encoded");
    assert_eq!(sink.frames.load(Ordering::SeqCst), 900);
}

/// A store that takes some outputs and then no more.
struct FullSink(AtomicU64);

#[async_trait]
impl OutputSink for FullSink {
    async fn put(&self, name: &str, _content: Content, _content_type: &'static str) -> Result<(), SinkError> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| SinkError { name: name.to_owned(), cause: "full".into() })
    }

    async fn record(&self, _outputs: &[Output]) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_nothing_more_ends_the_encoder() {
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=320x180:r=30:d=30 -c:v libx264 -preset ultrafast");
    let (store, scratch) = (Store::start().await, TempDir::new().expect("scratch"));
    let sink = Arc::new(FullSink(2.into()));
    let (encoded, _) =
        encode_into(&engine(), store.add(&clip.file), &options(&[]), sink, scratch.path()).await;
    assert_eq!(encoded.expect_err("refused").kind, FailureKind::ObjectStoreUnavailable);
    assert_eq!(processes_in(scratch.path()), 0);
}

/// A store whose dispatch is away at first, or for good.
#[derive(Default)]
struct UnrecordedSink {
    failures: AtomicUsize,
    recorded: Mutex<Vec<String>>,
}

#[async_trait]
impl OutputSink for UnrecordedSink {
    async fn put(
        &self,
        _name: &str,
        _content: Content,
        _content_type: &'static str,
    ) -> Result<(), SinkError> {
        Ok(())
    }

    async fn record(&self, outputs: &[Output]) -> Result<(), SinkError> {
        let failing = |left: usize| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, failing).is_ok() {
            return Err(SinkError { name: outputs[0].name.clone(), cause: "away".into() });
        }
        self.recorded.lock().expect("lock").extend(outputs.iter().map(|output| output.name.clone()));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_before_it_is_recorded() {
    let clip = Clip::new("clip.mp4", CLIP);
    let store = Store::start().await;
    for (failures, expected) in [(2, None), (usize::MAX, Some(FailureKind::ObjectStoreUnavailable))] {
        let scratch = TempDir::new().expect("scratch");
        let mut engine = engine();
        engine.limits.retry_window = Duration::from_secs(1);
        let sink = Arc::new(UnrecordedSink { failures: failures.into(), ..UnrecordedSink::default() });
        let own = Arc::clone(&sink) as Arc<dyn OutputSink>;
        let (encoded, _) =
            encode_into(&engine, store.add(&clip.file), &options(&[72]), own, scratch.path()).await;
        assert_eq!(encoded.err().map(|failure| failure.kind), expected);
        let mut recorded = sink.recorded.lock().expect("lock").clone();
        if expected.is_none() {
            let place = |name: &str| recorded.iter().position(|recorded| recorded == name);
            assert!(place("72p/init.mp4") < place("72p/seg_00001.m4s"), "{recorded:?}");
            assert!(place("72p/seg_00001.m4s") < place("72p/seg_00002.m4s"), "{recorded:?}");
            assert!(place("72p.mp4").is_some(), "{recorded:?}");
            let all = recorded.len();
            recorded.sort();
            recorded.dedup();
            assert_eq!(recorded.len(), all, "each once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_counts_as_soon_as_it_is_put() {
    // The source stops in the middle: the encoder has nothing more to say, but the first segment is there.
    let clip = Clip::new(
        "clip.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=30:d=12,noise=alls=60:allf=t -c:v libx264 -preset ultrafast -g 30 -b:v 4M \
         -maxrate 4M -bufsize 4M -movflags +faststart",
    );
    assert!(std::fs::metadata(&clip.file).expect("file").len() > 4 << 20);
    let store = Store::start().await;
    let job = Job::new(&engine(), store.add(&clip.file), &options(&[72])).await;
    let job = job.map_err(|(failure, _)| failure).expect("planned");
    *store.hanging_from.lock().expect("lock") = Some(3 << 20);
    let recorded = || job.board.one(|output| output.name == "72p/seg_00001.m4s").is_some();
    tokio::select! {
        ended = job.encode(0) => panic!("the source never ends: {ended:?}"),
        () = wait_until(Duration::from_secs(30), "the first segment is recorded", recorded) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_says_nothing_is_ended() {
    let clip = Clip::new("clip.mp4", CLIP);
    let mut engine = engine();
    engine.tools.jail.helper = vec![sleeper(&clip)];
    engine.limits.stall_timeout = Duration::from_millis(300);
    let run = transcode_with(&engine, Store::start().await.add(&clip.file), &options(&[])).await;
    assert_eq!(run.result.as_ref().expect_err("stalled").kind, FailureKind::EncoderStalled);
    assert_eq!(processes_in(run.scratch()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_does_not_end_is_ended() {
    let clip = Clip::new("clip.mp4", CLIP);
    let mut engine = engine();
    // It closes its outputs, as one that is done, and stays.
    engine.tools.jail.helper =
        vec![instead(&clip, "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- 2>&-; exec sleep 600")];
    engine.limits.stall_timeout = Duration::from_millis(300);
    let source = Store::start().await.add(&clip.file);
    let default = options(&[]);
    let run = transcode_with(&engine, source, &default);
    let run = tokio::time::timeout(Duration::from_secs(30), run).await.expect("it is not waited for");
    assert!(run.result.is_err());
    assert_eq!(processes_in(run.scratch()), 0);
}
