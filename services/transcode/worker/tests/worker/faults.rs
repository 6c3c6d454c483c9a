//! Sources that cannot be transcoded, and object stores that fail.

use crate::support::{
    Clip, FileServer, Job, count_processes_in, engine, jail_helper, options, sleeping_encoder, stub_encoder,
    transcode, transcode_with, wait_until,
};
use async_trait::async_trait;
use reelmill_media::plan::{Options, Plan, plan};
use reelmill_media::{Failure, FailureCause, FailureKind};
use reelmill_worker::engine::{
    Completion, Content, Engine, Output, OutputKind, OutputSink, ProgressPublisher, SinkError, SourceAddress,
    TaskIo,
};
use rstest::rstest;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const CLIP: &str = "-f lavfi -i testsrc2=s=320x180:r=30:d=8 -f lavfi -i sine=440:d=8 -c:v libx264 -preset ultrafast \
                    -g 30 -c:a aac";

async fn reason(file: &Path) -> FailureKind {
    transcode(file).await.result.map(drop).expect_err("failed").kind
}

/// Truncates a file to a fraction of its size.
fn truncate(file: &Path, fraction: f64) {
    let bytes = std::fs::read(file).expect("file");
    std::fs::write(file, &bytes[..(bytes.len() as f64 * fraction) as usize]).expect("write");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_mp4_without_index_fails_as_truncated() {
    let clip = Clip::new("last.mp4", CLIP);
    truncate(&clip.file, 0.5);
    assert_eq!(reason(&clip.file).await, FailureKind::FileTruncated);
}

#[rstest]
#[case::mp4("first.mp4", "-movflags +faststart")]
#[case::matroska("clip.mkv", "")]
#[case::flv("clip.flv", "")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_truncated_file_plays_with_a_warning(#[case] name: &str, #[case] flags: &str) {
    let clip = Clip::new(name, &format!("{CLIP} {flags}"));
    truncate(&clip.file, 0.5);
    let run = transcode(&clip.file).await;
    let frames = run.completed().frames("180p");
    assert!((90..=150).contains(&frames), "{name}: {frames} of 240");
    let warnings = run.result.expect("done").warnings;
    let reasons: Vec<_> = warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(reasons, [], "{name}: what is there is intact");
    let (stated, source) = (run.job.as_ref().expect("job").plan.expected_seconds(), "8 s at 30 fps");
    assert!(stated.is_some_and(|seconds| (seconds - 8.0).abs() < 0.2), "{name}: {stated:?} of {source}");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_truncated_file_without_its_sound_plays_with_warnings() {
    let clip = Clip::new(
        "late-sound.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=25:d=60 -itsoffset 55 -f lavfi -i sine=440:d=5 -map 0 -map 1 -c:v libx264 -preset \
         ultrafast -c:a aac -movflags +faststart",
    );
    truncate(&clip.file, 0.5);
    let run = transcode(&clip.file).await;
    assert!(run.completed().frames("180p") > 500);
    let warnings = run.result.expect("done").warnings;
    let reasons: HashSet<_> = warnings.iter().map(|warning| warning.kind).collect();
    assert_eq!(reasons, HashSet::from([FailureKind::TrackSkipped]));
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_truncated_file_costs_what_is_there() {
    let clip = Clip::new(
        "hours.mp4",
        "-f lavfi -i color=gray:s=128x72:r=5:d=7200 -f lavfi -i sine=440:d=7200 -c:v libx264 -preset ultrafast -g 10 -c:a aac \
         -b:a 32k -movflags +faststart",
    );
    truncate(&clip.file, 0.1);
    let run = transcode(&clip.file).await;
    let job = run.completed();
    let seconds = job.source.duration.expect("known");
    assert!((100.0..1500.0).contains(&seconds), "{seconds}");
    assert_eq!(job.source.stated_duration.map(f64::round), Some(7200.0));
    assert!((f64::from(job.frames("72p")) / 5.0 - seconds).abs() < 10.0, "{}", job.frames("72p"));
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_other_content_fails_with_its_reason() {
    let folder = Clip::empty("any");
    let noise: Vec<u8> =
        (0..100_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
    let cases: [(&str, &[u8]); 3] = [
        ("empty.mp4", b""),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        ("noise.mp4", &noise),
    ];
    for (name, bytes) in cases {
        let file = folder.sibling(name);
        std::fs::write(&file, bytes).expect("write");
        assert_eq!(reason(&file).await, FailureKind::FileNotVideo, "{name}");
    }
    let text = folder.sibling("text.srt");
    std::fs::write(&text, "1\n00:00:01,000 --> 00:00:02,000\nhello\n").expect("write");
    let silent = Clip::from_inputs("text.mp4", &[&text], "-i {0} -c:s mov_text");
    assert_eq!(reason(&silent.file).await, FailureKind::NoVideoStream);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_retries_failing_source_requests() {
    let clip = Clip::new("clip.mp4", CLIP);
    let server = FileServer::start().await;
    server.failing_requests.store(3, Ordering::SeqCst);
    let run = transcode_with(&engine(), server.add(&clip.file), &options(&[])).await;
    assert_eq!(run.completed().frames("180p"), 240);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_reads_each_source_block_once() {
    let clip = Clip::new("clip.mp4", CLIP);
    let (server, scratch) = (FileServer::start().await, TempDir::new().expect("scratch"));
    let (engine, address) = (engine(), server.add(&clip.file));
    let size = address.size_bytes;
    let session = engine.open(address).await.expect("open");
    let source = engine.inspect(&session, None, scratch.path()).await.expect("probed");
    let plan = plan(&source, &options(&[72]));
    let (progress, _) = ProgressPublisher::new();
    let sink = Arc::new(UnrecordedSink::default());
    let task_io = TaskIo { scratch: scratch.path(), sink, progress: &progress };
    engine.encode(&session, &plan, &plan.work_units[0], &HashMap::new(), task_io).await.expect("encoded");
    assert_eq!(server.bytes_served.load(Ordering::SeqCst), size, "each block is read once");
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_missing_source_fails_retryably() {
    let clip = Clip::with_content("clip.mp4", "x");
    let mut source = FileServer::start().await.add(&clip.file);
    source.uri = format!("{}/nowhere", source.uri);
    let failure = transcode_with(&engine(), source, &options(&[])).await.result.expect_err("unreadable");
    assert_eq!(failure.kind, FailureKind::SourceUnreadable);
    assert_eq!(failure.kind.cause(), FailureCause::Dependency);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_unavailable_source_fails_after_the_retry_window() {
    let clip = Clip::with_content("clip.mp4", "x");
    let server = FileServer::start().await;
    server.failing_requests.store(u64::MAX, Ordering::SeqCst);
    let mut engine = engine();
    engine.limits.retry_window = Duration::from_millis(700);
    let run = transcode_with(&engine, server.add(&clip.file), &options(&[])).await;
    assert_eq!(run.result.expect_err("unreadable").kind, FailureKind::SourceUnreadable);
    let requests = u64::MAX - server.failing_requests.load(Ordering::SeqCst);
    assert_eq!(requests, 3, "at once, after 0.2 s and after 0.6 s");
}

/// A clip of more than one block with its index at the end.
fn long_clip() -> Clip {
    let clip = Clip::new(
        "long.mp4",
        "-f lavfi -i testsrc2=s=1280x720:r=30:d=8 -c:v libx264 -preset ultrafast -b:v 8M",
    );
    assert!(std::fs::metadata(&clip.file).expect("file").len() > 3 << 20);
    clip
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_hanging_source_fails_as_unreadable() {
    let server = FileServer::start().await;
    *server.hang_from_byte.lock().expect("lock") = Some(1 << 20);
    let mut engine = engine();
    engine.limits.probe_timeout = Duration::from_secs(2);
    let clip = long_clip();
    let run = transcode_with(&engine, server.add(&clip.file), &options(&[])).await;
    assert_eq!(run.result.as_ref().expect_err("unreadable").kind, FailureKind::SourceUnreadable);
    let ended = || count_processes_in(run.scratch()) == 0;
    wait_until(Duration::from_secs(1), "the prober's end", ended).await;
}

/// Encodes the first work unit of a source into the given sink.
async fn encode_into(
    engine: &Engine,
    source: SourceAddress,
    options: &Options,
    sink: Arc<dyn OutputSink>,
    scratch: &Path,
) -> (Result<Completion, Failure>, Plan) {
    let job = Job::planned_with(engine, source, options).await;
    let session = engine.open(job.address.clone()).await.expect("open");
    let (progress, _) = ProgressPublisher::new();
    let task_io = TaskIo { scratch, sink, progress: &progress };
    let nothing = HashMap::new();
    let encoded = engine.encode(&session, &job.plan, &job.plan.work_units[0], &nothing, task_io).await;
    (encoded, job.plan)
}

/// A sink whose uploads take longer than the encoder may be silent.
struct SlowSink {
    put_delay: Duration,
    frames: AtomicU64,
}

#[async_trait]
impl OutputSink for SlowSink {
    async fn put(&self, name: &str, _content: Content, _content_type: &'static str) -> Result<(), SinkError> {
        if name.ends_with(".m4s") {
            tokio::time::sleep(self.put_delay).await;
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
async fn encode_with_slow_uploads_does_not_stall() {
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=128x72:r=30:d=30 -c:v libx264 -preset ultrafast");
    let (server, scratch) = (FileServer::start().await, TempDir::new().expect("scratch"));
    let mut engine = engine();
    engine.limits.stall_timeout = Duration::from_millis(1000);
    let sink = Arc::new(SlowSink { put_delay: engine.limits.stall_timeout * 2, frames: AtomicU64::new(0) });
    let output_sink = Arc::clone(&sink) as Arc<dyn OutputSink>;
    let (encoded, _) =
        encode_into(&engine, server.add(&clip.file), &options(&[72]), output_sink, scratch.path()).await;
    encoded.expect("encoded");
    assert_eq!(sink.frames.load(Ordering::SeqCst), 900);
}

/// A sink that accepts a number of outputs and then fails.
struct FullSink(AtomicU64);

#[async_trait]
impl OutputSink for FullSink {
    async fn put(&self, name: &str, _content: Content, _content_type: &'static str) -> Result<(), SinkError> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| SinkError {
            name: name.to_owned(),
            kind: FailureKind::ObjectStoreUnavailable,
            cause: "full".into(),
        })
    }

    async fn record(&self, _outputs: &[Output]) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_with_failing_uploads_terminates_encoder() {
    let clip =
        Clip::new("clip.mp4", "-f lavfi -i testsrc2=s=320x180:r=30:d=30 -c:v libx264 -preset ultrafast");
    let (server, scratch) = (FileServer::start().await, TempDir::new().expect("scratch"));
    let sink = Arc::new(FullSink(2.into()));
    let (encoded, _) =
        encode_into(&engine(), server.add(&clip.file), &options(&[]), sink, scratch.path()).await;
    assert_eq!(encoded.expect_err("failed").kind, FailureKind::ObjectStoreUnavailable);
    assert_eq!(count_processes_in(scratch.path()), 0);
}

/// A sink that cannot record outputs for a number of calls.
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
            return Err(SinkError {
                name: outputs[0].name.clone(),
                kind: FailureKind::DispatcherUnavailable,
                cause: "unavailable".into(),
            });
        }
        self.recorded.lock().expect("lock").extend(outputs.iter().map(|output| output.name.clone()));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_completes_only_when_outputs_are_recorded() {
    let clip = Clip::new("clip.mp4", CLIP);
    let server = FileServer::start().await;
    for (failures, expected) in [(2, None), (usize::MAX, Some(FailureKind::DispatcherUnavailable))] {
        let scratch = TempDir::new().expect("scratch");
        let mut engine = engine();
        engine.limits.retry_window = Duration::from_secs(1);
        let sink = Arc::new(UnrecordedSink { failures: failures.into(), ..UnrecordedSink::default() });
        let output_sink = Arc::clone(&sink) as Arc<dyn OutputSink>;
        let (encoded, _) =
            encode_into(&engine, server.add(&clip.file), &options(&[72]), output_sink, scratch.path()).await;
        assert_eq!(encoded.err().map(|failure| failure.kind), expected);
        let mut recorded = sink.recorded.lock().expect("lock").clone();
        if expected.is_none() {
            let index = |name: &str| recorded.iter().position(|recorded| recorded == name);
            assert!(index("72p/init.mp4") < index("72p/seg_00001.m4s"), "{recorded:?}");
            assert!(index("72p/seg_00001.m4s") < index("72p/seg_00002.m4s"), "{recorded:?}");
            assert!(index("72p.mp4").is_some(), "{recorded:?}");
            let all = recorded.len();
            recorded.sort();
            recorded.dedup();
            assert_eq!(recorded.len(), all, "each is recorded once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_records_segment_before_the_source_ends() {
    // The source hangs in the middle: the encoder waits, but the first segment is complete.
    let clip = Clip::new(
        "clip.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=30:d=12,noise=alls=60:allf=t -c:v libx264 -preset ultrafast -g 30 -b:v 4M \
         -maxrate 4M -bufsize 4M -movflags +faststart",
    );
    assert!(std::fs::metadata(&clip.file).expect("file").len() > 4 << 20);
    let server = FileServer::start().await;
    let job = Job::planned_with(&engine(), server.add(&clip.file), &options(&[72])).await;
    *server.hang_from_byte.lock().expect("lock") = Some(3 << 20);
    let recorded = || job.outputs.find(|output| output.name == "72p/seg_00001.m4s").is_some();
    tokio::select! {
        ended = job.encode(0) => panic!("the source hangs, but: {ended:?}"),
        () = wait_until(Duration::from_secs(30), "the first segment is recorded", recorded) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_with_silent_encoder_fails_as_stalled() {
    let clip = Clip::new("clip.mp4", CLIP);
    let mut engine = engine();
    engine.tools.jail.helper = vec![sleeping_encoder(&clip)];
    engine.limits.stall_timeout = Duration::from_millis(300);
    let run = transcode_with(&engine, FileServer::start().await.add(&clip.file), &options(&[])).await;
    assert_eq!(run.result.as_ref().expect_err("stalled").kind, FailureKind::EncoderStalled);
    assert_eq!(count_processes_in(run.scratch()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn encode_with_lingering_encoder_terminates_it() {
    let clip = Clip::new("clip.mp4", CLIP);
    let mut engine = engine();
    // It closes its outputs like one that is finished, but keeps running.
    engine.tools.jail.helper =
        vec![stub_encoder(&clip, "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- 2>&-; exec sleep 600")];
    engine.limits.stall_timeout = Duration::from_millis(300);
    let source = FileServer::start().await.add(&clip.file);
    let default = options(&[]);
    let run = transcode_with(&engine, source, &default);
    let run =
        tokio::time::timeout(Duration::from_secs(30), run).await.expect("the engine does not wait for it");
    assert!(run.result.is_err());
    assert_eq!(count_processes_in(run.scratch()), 0);
}

/// Encodes the last chunk of a video with an encoder that exits with an error.
async fn last_chunk_with(commands: impl Fn(&Clip) -> String) -> Result<(u32, Vec<FailureKind>), FailureKind> {
    let clip = Clip::new(
        "long.mp4",
        "-f lavfi -i testsrc2=s=320x180:r=25:d=44 -c:v libx264 -preset ultrafast -g 50",
    );
    let mut engine = engine();
    let (server, scratch) = (FileServer::start().await, TempDir::new().expect("scratch"));
    let session = engine.open(server.add(&clip.file)).await.expect("open");
    let source = engine.inspect(&session, None, scratch.path()).await.expect("probed");
    let plan = plan(&source, &options(&[72]));
    let last = plan.work_units.iter().max_by_key(|unit| unit.chunk).expect("chunk");
    assert!(last.chunk > Some(0));
    let commands = format!("{}\nexec {} \"$@\"", commands(&clip), jail_helper().to_string_lossy());
    engine.tools.jail.helper = vec![stub_encoder(&clip, &commands)];
    let (progress, _) = ProgressPublisher::new();
    let sink = Arc::new(UnrecordedSink::default());
    let task_io = TaskIo { scratch: scratch.path(), sink, progress: &progress };
    let encoded = engine.encode(&session, &plan, last, &HashMap::new(), task_io).await;
    let done = encoded.map_err(|failure| failure.kind)?;
    let segments = done.segments.values().sum();
    Ok((segments, done.warnings.iter().map(|warning| warning.kind).collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_chunk_of_a_broken_encoder_is_not_accepted_as_empty() {
    let intact = last_chunk_with(|_| String::new()).await.expect("done");
    assert!(intact.0 > 1 && intact.1.is_empty(), "{intact:?}");
    let broken = last_chunk_with(|_| "echo broken >&2; exit 1".to_owned()).await;
    assert_eq!(broken, Err(FailureKind::EncoderCrashed), "its self-test fails, too");
    let once = |clip: &Clip| format!("mkdir {} 2>/dev/null && exit 1", clip.sibling("has-failed").display());
    assert_eq!(last_chunk_with(once).await, Ok(intact), "encoded a second time");

    let passes_one_self_test = |clip: &Clip| {
        let tested = clip.sibling("has-passed");
        format!("case \"$*\" in *lavfi*) mkdir {} || exit 1;; *) exit 1;; esac", tested.display())
    };
    assert_eq!(last_chunk_with(passes_one_self_test).await, Err(FailureKind::EncoderCrashed));
    let encodes_less_the_second_time = |clip: &Clip| {
        let helper = jail_helper();
        let run =
            format!("mkdir {} && {} \"$@\"; exit 1", clip.sibling("has-run").display(), helper.display());
        format!("case \"$*\" in *lavfi*);; *) {run};; esac")
    };
    assert_eq!(last_chunk_with(encodes_less_the_second_time).await, Err(FailureKind::EncoderCrashed));
}
