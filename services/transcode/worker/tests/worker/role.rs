//! The worker role: receives a message, uploads outputs and settles the task.

use crate::support::{
    Clip, Event, FIRST_MESSAGE, FakeServices, FileServer, QueuedTask, RunningWorker, count_processes_in,
    duration_seconds, engine, jail, jail_helper, options, stub_encoder, terminate_processes_in, wait_until,
};
use reelmill_media::plan::{Options, Preset, plan};
use reelmill_proto::transcode::{FailureCause, Output, StartTaskRequest, output};
use reelmill_worker::engine::Jail;
use rstest::rstest;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

const LONG_DRAIN: Duration = Duration::from_secs(60);

fn clip(size: &str, seconds: u32) -> Clip {
    Clip::new(
        "clip.mp4",
        &format!(
            "-f lavfi -i testsrc2=s={size}:r=30:d={seconds} -f lavfi -i sine=440:d={seconds} -c:v libx264 \
             -preset ultrafast -c:a aac"
        ),
    )
}

/// A clip that is one work unit and, with [`slow_services`], takes longer to encode than a test waits.
fn slow_clip() -> Clip {
    clip("640x480", 31)
}

fn slow_services() -> FakeServices {
    FakeServices { options: Options { preset: Preset::Small, ..options(&[]) }, ..FakeServices::default() }
}

fn names(outputs: &[Output]) -> Vec<&str> {
    outputs.iter().map(|output| output.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn task_completes_despite_failing_calls() {
    let services = FakeServices::with_rungs(&[180]);
    services.failing_streams.store(1, Ordering::SeqCst);
    let methods = ["StartTask", "PlanJob", "SignOutputs", "RecordOutputs", "CompleteTask"];
    *services.unavailable_calls.lock().expect("lock") =
        methods.into_iter().map(|method| (method, 2)).collect();
    services.failing_puts.store(3, Ordering::SeqCst);
    let clip = clip("320x180", 10);
    let worker = RunningWorker::start(&clip.file, services, LONG_DRAIN).await;
    worker.messages_deleted(1).await;
    let services = worker.stop().await;

    let started = services.started.lock().expect("lock");
    let is_first = |request: &&StartTaskRequest| request.nonce == started[0].nonce;
    assert!(!started[0].nonce.is_empty() && started.iter().filter(is_first).count() == 1);
    let build = &started[0].encoder_build;
    assert!(build.starts_with("output ") && build.contains("ffmpeg version"), "{build}");
    let events = services.events();
    let Some(Event::Planned(planned)) = events.first() else { panic!("{events:?}") };
    let info = planned.source_info.as_ref().expect("source");
    assert_eq!((info.width, info.height, info.video_codec.as_str()), (320, 180, "h264"));
    assert_eq!((info.audio_codec.as_str(), info.audio_tracks, info.video_range.as_str()), ("aac", 1, "SDR"));
    let Some(Event::Completed(completed)) = events.last() else { panic!("{events:?}") };
    assert!(
        completed.outputs.is_empty() && completed.warnings.is_empty(),
        "all outputs are recorded already"
    );
    assert_eq!(completed.segments, HashMap::from([("180p".to_owned(), 3), ("audio-0".to_owned(), 3)]));

    let recorded = services.recorded();
    let unique: BTreeSet<_> = names(&recorded).into_iter().collect();
    assert_eq!(unique.len(), recorded.len(), "no output is recorded twice");
    let objects = services.objects.lock().expect("lock");
    assert_eq!(unique, objects.keys().map(String::as_str).collect());
    let segments: Vec<_> = services.segments("180p").into_iter().map(|output| output.kind).collect();
    let Some(Some(output::Kind::Segment(last))) = segments.last() else { panic!("{segments:?}") };
    assert_eq!((segments.len(), last.sequence, last.start_seconds, last.frames), (3, 2, 8.0, 60));
    assert!(last.keyframe_bytes > 0 && (last.seconds - 2.0).abs() < 0.001, "{last:?}");

    let reports = services.reports.lock().expect("lock");
    let percents: Vec<_> =
        reports.iter().filter_map(|report| report.progress.as_ref()).map(|p| p.percent).collect();
    assert!(percents.is_sorted(), "{percents:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_video_is_planned_encoded_and_packaged() {
    let clip = clip("320x180", 42);
    let worker = RunningWorker::start(&clip.file, FakeServices::with_rungs(&[180, 144]), LONG_DRAIN).await;
    worker.planned().await;
    let work_units = worker.services.work_units().len() as u64;
    assert!(work_units >= 5, "audio and four chunks: {work_units}");
    worker.messages_deleted(work_units + 1).await;
    let services = worker.stop().await;

    // All outputs of a task are recorded before it is completed.
    let mut ended = BTreeSet::new();
    for event in services.events() {
        match event {
            Event::Recorded(task, _) => {
                assert!(!ended.contains(&task), "{task} continues after its completion")
            }
            Event::Completed(completed) => {
                assert!(ended.insert(completed.lease.expect("lease").task));
            }
            Event::Failed(failed) => panic!("{failed:?}"),
            Event::Planned(_) => {}
        }
    }
    assert_eq!(ended.len() as u64, work_units + 1);
    for rung in ["180p", "144p"] {
        let segments = services.segments(rung);
        let frames = segments.iter().map(|output| match &output.kind {
            Some(output::Kind::Segment(segment)) => segment.frames,
            _ => 0,
        });
        assert_eq!((segments.len(), frames.sum::<i32>()), (11, 1260), "{rung}");
        let file = clip.sibling("joined.mp4");
        let object = services.objects.lock().expect("lock")[&format!("{rung}.mp4")].clone();
        std::fs::write(&file, object).expect("write");
        assert!((duration_seconds(&file) - 42.0).abs() < 0.1, "{rung}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_attempt_uploads_missing_segments_only() {
    let clip = clip("320x180", 42);
    let engine = engine();
    let server = FileServer::start().await;
    let session = engine.open(server.add(&clip.file)).await.expect("open");
    let source = engine.inspect(&session, None, &clip.sibling("")).await.expect("probed");
    let plan = plan(&source, &options(&[144]));
    let services = FakeServices::with_rungs(&[144]);
    let last = plan.work_units.len() - 1;
    *services.plan.lock().expect("lock") = Some(plan);
    let recorded = HashMap::from([("144p".to_owned(), 3)]);
    *services.tasks.lock().expect("lock") = vec![QueuedTask::Encode(last, recorded)];
    let worker = RunningWorker::start(&clip.file, services, LONG_DRAIN).await;
    worker.messages_deleted(1).await;
    let services = worker.stop().await;
    assert!(matches!(services.events().last(), Some(Event::Completed(_))));
    let outputs = services.segments("144p");
    assert_eq!(names(&outputs), ["144p/seg_00011.m4s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_task_stops_within_a_second() {
    let clip = slow_clip();
    let worker = RunningWorker::start(&clip.file, slow_services(), LONG_DRAIN).await;
    worker.encoding().await;
    worker.services.cancel.store(true, Ordering::SeqCst);
    let scratch = worker.scratch.path().to_owned();
    wait_until(Duration::from_millis(1500), "the encoder's end", || count_processes_in(&scratch) == 0).await;
    worker.messages_deleted(1).await;
    let services = worker.stop().await;
    assert!(!services.is_settled(), "{:?}", services.events().last());
}

#[tokio::test(flavor = "multi_thread")]
async fn unanswered_report_stream_is_reopened_within_the_lease() {
    let clip = slow_clip();
    let services = slow_services();
    services.silent_streams.store(1, Ordering::SeqCst);
    let worker = RunningWorker::start(&clip.file, services, Duration::ZERO).await;
    worker.encoding().await;
    assert_eq!(worker.services.opened_streams.load(Ordering::SeqCst), 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_lease_stops_the_task() {
    let clip = slow_clip();
    let worker = RunningWorker::start(&clip.file, slow_services(), LONG_DRAIN).await;
    worker.encoding().await;
    worker.services.lease_lost.store(true, Ordering::SeqCst);
    worker.messages_deleted(1).await;
    let services = worker.stop().await;
    assert!(!services.is_settled(), "{:?}", services.events().last());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_worker_releases_its_task_after_the_drain_period() {
    let clip = slow_clip();
    let worker = RunningWorker::start(&clip.file, slow_services(), Duration::from_millis(100)).await;
    worker.encoding().await;
    let services = worker.stop().await;
    let failed = services.failed().expect("released");
    assert_eq!(failed.cause(), FailureCause::Worker);
    assert_eq!(failed.failure.expect("failure").reason, "WORKER_STOPPED");
    assert_eq!(services.deleted_messages.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_worker_completes_its_task_within_the_drain_period() {
    let clip = clip("320x180", 10);
    let worker = RunningWorker::start(&clip.file, FakeServices::with_rungs(&[180]), LONG_DRAIN).await;
    worker.planned().await;
    let services = worker.stop().await;
    assert!(matches!(services.events().last(), Some(Event::Completed(_))), "{:?}", services.events());
}

#[rstest]
#[case::during_shutdown(true, "WORKER_STOPPED")]
#[case::otherwise(false, "ENCODER_CRASHED")]
#[tokio::test(flavor = "multi_thread")]
async fn terminated_encoder_fails_the_task_retryably(#[case] is_stopping: bool, #[case] reason: &str) {
    let clip = slow_clip();
    let worker = RunningWorker::start(&clip.file, slow_services(), LONG_DRAIN).await;
    worker.encoding().await;
    if is_stopping {
        worker.shutdown.cancel();
    }
    terminate_processes_in(worker.scratch.path());
    worker.messages_deleted(1).await;
    let failed = worker.stop().await.failed().expect("failed");
    let cause = if is_stopping { FailureCause::Worker } else { FailureCause::Encoder };
    assert_eq!(failed.cause(), cause);
    assert_eq!(failed.failure.expect("failure").reason, reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_self_test_releases_the_task_and_pauses_the_worker() {
    let clip = clip("320x180", 4);
    let marker = clip.sibling("encoder-is-broken");
    std::fs::write(&marker, "").expect("write");
    let helper = jail_helper();
    let runs = clip.sibling("failed-runs");
    let commands = format!(
        "[ -e {} ] && echo >> {} && kill -9 $$; exec {} \"$@\"",
        marker.display(),
        runs.display(),
        helper.to_string_lossy()
    );
    let jail = Jail { helper: vec![stub_encoder(&clip, &commands)], ..jail() };
    let worker =
        RunningWorker::start_in(jail, &clip.file, FakeServices::with_rungs(&[180]), LONG_DRAIN).await;
    worker.messages_deleted(1).await;
    let failed = worker.services.failed().expect("released");
    assert_eq!(failed.cause(), FailureCause::Worker);
    assert_eq!(failed.failure.expect("failure").reason, "WORKER_STOPPED", "it does not count as an attempt");

    *worker.services.tasks.lock().expect("lock") = vec![QueuedTask::Prepare];
    worker.services.messages.lock().expect("lock").push(FIRST_MESSAGE.into());
    let failed_runs = || std::fs::read(&runs).expect("runs").len();
    let before = failed_runs();
    let is_tested_again = || failed_runs() >= before + 3;
    wait_until(Duration::from_secs(30), "three more self-tests", is_tested_again).await;
    assert_eq!(worker.services.started.lock().expect("lock").len(), 1, "it starts no other task");
    std::fs::remove_file(&marker).expect("removed");
    worker.messages_deleted(2).await;
    let services = worker.stop().await;
    assert!(matches!(services.events().last(), Some(Event::Completed(_))), "{:?}", services.events());
}

#[tokio::test(flavor = "multi_thread")]
async fn file_without_video_fails_the_task_permanently() {
    let file = Clip::with_content("notes.mp4", "just some notes\n");
    let worker = RunningWorker::start(&file.file, FakeServices::default(), LONG_DRAIN).await;
    worker.messages_deleted(1).await;
    let failed = worker.stop().await.failed().expect("failed");
    assert_eq!(failed.cause(), FailureCause::File);
    assert_eq!(failed.failure.expect("failure").reason, "FILE_NOT_VIDEO");
}

/// Starts a worker that is offered no task, and waits until it is idle.
async fn idle_worker(services: FakeServices) -> RunningWorker {
    let any = Clip::with_content("any", "x");
    let worker = RunningWorker::start(&any.file, services, LONG_DRAIN).await;
    worker.services.tasks.lock().expect("lock").clear();
    worker
}

#[tokio::test(flavor = "multi_thread")]
async fn wake_up_without_task_is_deleted() {
    let services = FakeServices::default();
    services.draining.store(true, Ordering::SeqCst);
    let worker = idle_worker(services).await;
    worker.services.draining.store(false, Ordering::SeqCst);
    worker.messages_deleted(1).await;
    let services = worker.stop().await;
    assert!(services.reports.lock().expect("lock").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn wake_up_for_another_build_is_returned() {
    let services = FakeServices::default();
    services.messages.lock().expect("lock").push("another build".to_owned());
    services.draining.store(true, Ordering::SeqCst);
    let worker = idle_worker(services).await;
    worker.services.draining.store(false, Ordering::SeqCst);
    let is_returned = || !worker.services.visibility_changes.lock().expect("lock").is_empty();
    wait_until(Duration::from_secs(20), "the message is returned", is_returned).await;
    worker.messages_deleted(1).await;
    let services = worker.stop().await;
    let delays = Duration::from_secs(1)..=Duration::from_secs(30);
    assert!(services.visibility_changes.lock().expect("lock").iter().all(|delay| delays.contains(delay)));
}

/// A task whose wake-up was lost, for example with all messages of the queue, is started within seconds.
#[tokio::test(flavor = "multi_thread")]
async fn task_without_wake_up_is_started_by_an_idle_worker() {
    let services = FakeServices::with_rungs(&[180]);
    services.draining.store(true, Ordering::SeqCst);
    let clip = clip("320x180", 2);
    let worker = RunningWorker::start(&clip.file, services, LONG_DRAIN).await;
    let task = worker.services.tasks.lock().expect("lock").pop().expect("a task");
    worker.services.draining.store(false, Ordering::SeqCst);
    worker.messages_deleted(1).await;
    worker.services.tasks.lock().expect("lock").push(task);
    worker.planned().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_worker_starts_no_task_until_it_is_resumed() {
    let services = FakeServices::with_rungs(&[180]);
    services.draining.store(true, Ordering::SeqCst);
    let clip = clip("320x180", 2);
    let worker = RunningWorker::start(&clip.file, services, LONG_DRAIN).await;
    let is_registered = || worker.services.registered.lock().expect("lock").len() >= 2;
    wait_until(Duration::from_secs(20), "the worker is registered", is_registered).await;
    assert!(worker.services.started.lock().expect("lock").is_empty());
    worker.services.draining.store(false, Ordering::SeqCst);
    worker.planned().await;
    let services = worker.stop().await;
    let registered = services.registered.lock().expect("lock");
    assert_eq!((registered[0].bulk_slots, registered[0].express_slots), (1, 1));
    assert!(registered.iter().all(|worker| worker.name == registered[0].name));
}
