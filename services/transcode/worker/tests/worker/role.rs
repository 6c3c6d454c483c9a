//! The whole role: a message in, outputs and a settled task out.

use crate::job::options;
use crate::role_support::{Event, HINT, Role, Task, World};
use crate::support::{
    Clip, engine, instead, jail, jail_helper, processes_in, seconds, terminate_in, wait_until,
};
use reelmill_media::plan::plan;
use reelmill_proto::{
    Reason,
    transcode::{Output, output},
};
use reelmill_worker::engine::Jail;
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

/// One that keeps the encoder busy until it is stopped.
fn slow_clip() -> Clip {
    clip("1280x720", 25)
}

fn names(outputs: &[Output]) -> Vec<&str> {
    outputs.iter().map(|output| output.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_through_every_stumble() {
    let world = World::with_rungs(&[180]);
    world.broken_streams.store(1, Ordering::SeqCst);
    let methods = ["StartTask", "PlanJob", "SignOutputs", "RecordOutputs", "CompleteTask"];
    *world.busy.lock().expect("lock") = methods.into_iter().map(|method| (method, 2)).collect();
    world.failing_puts.store(3, Ordering::SeqCst);
    let clip = clip("320x180", 10);
    let role = Role::start(&clip.file, world, LONG_DRAIN).await;
    role.messages_deleted(1).await;
    let world = role.stop().await;

    let started = world.started.lock().expect("lock");
    assert_eq!((started.len(), started[0].task.as_str()), (1, HINT));
    let build = &started[0].encoder_build;
    assert!(build.starts_with("reelmill ") && build.contains("ffmpeg version"), "{build}");
    let events = world.events();
    let Some(Event::Planned(planned)) = events.first() else { panic!("{events:?}") };
    let info = planned.source_info.as_ref().expect("source");
    assert_eq!((info.width, info.height, info.video_codec.as_str()), (320, 180, "h264"));
    assert_eq!((info.audio_codec.as_str(), info.audio_tracks, info.video_range.as_str()), ("aac", 1, "SDR"));
    let Some(Event::Completed(completed)) = events.last() else { panic!("{events:?}") };
    assert!(completed.outputs.is_empty() && completed.warnings.is_empty(), "all was recorded before");

    let recorded = world.recorded();
    let told: BTreeSet<_> = names(&recorded).into_iter().collect();
    assert_eq!(told.len(), recorded.len(), "nothing is recorded twice");
    let objects = world.objects.lock().expect("lock");
    assert_eq!(told, objects.keys().map(String::as_str).collect());
    let segments: Vec<_> = world.segments("180p").into_iter().map(|output| output.kind).collect();
    let Some(Some(output::Kind::Segment(last))) = segments.last() else { panic!("{segments:?}") };
    assert_eq!((segments.len(), last.sequence, last.start_seconds, last.frames), (3, 2, 8.0, 60));
    assert!(last.keyframe_bytes > 0 && (last.seconds - 2.0).abs() < 0.001, "{last:?}");

    let reports = world.reports.lock().expect("lock");
    let percents: Vec<_> =
        reports.iter().filter_map(|report| report.progress.as_ref()).map(|p| p.percent).collect();
    assert!(percents.is_sorted(), "{percents:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_video_is_planned_encoded_and_joined() {
    let clip = clip("320x180", 42);
    let role = Role::start(&clip.file, World::with_rungs(&[180, 144]), LONG_DRAIN).await;
    wait_until(Duration::from_secs(60), "the plan", || !role.world.work_units().is_empty()).await;
    let work_units = role.world.work_units().len() as u64;
    assert!(work_units >= 5, "sound and four chunks: {work_units}");
    role.messages_deleted(work_units + 1).await;
    let world = role.stop().await;

    // Of each task all is recorded before it is completed.
    let mut ended = BTreeSet::new();
    for event in world.events() {
        match event {
            Event::Recorded(task, _) => assert!(!ended.contains(&task), "{task} goes on after its end"),
            Event::Completed(completed) => {
                assert!(ended.insert(completed.lease.expect("lease").task));
            }
            Event::Failed(failed) => panic!("{failed:?}"),
            Event::Planned(_) => {}
        }
    }
    assert_eq!(ended.len() as u64, work_units + 1);
    for rung in ["180p", "144p"] {
        let segments = world.segments(rung);
        let frames = segments.iter().map(|output| match &output.kind {
            Some(output::Kind::Segment(segment)) => segment.frames,
            _ => 0,
        });
        assert_eq!((segments.len(), frames.sum::<i32>()), (11, 1260), "{rung}");
        let file = clip.beside("joined.mp4");
        let object = world.objects.lock().expect("lock")[&format!("{rung}.mp4")].clone();
        std::fs::write(&file, object).expect("write");
        assert!((seconds(&file) - 42.0).abs() < 0.1, "{rung}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_puts_what_its_predecessor_did_not_record() {
    let clip = clip("320x180", 42);
    let engine = engine();
    let store = crate::support::Store::start().await;
    let session = engine.open(store.add(&clip.file)).await.expect("open");
    let source = engine.inspect(&session, &clip.beside("")).await.expect("probed");
    let plan = plan(&source, &options(&[144]));
    let world = World::with_rungs(&[144]);
    let last = plan.work_units.len() - 1;
    *world.plan.lock().expect("lock") = Some(plan);
    let recorded = HashMap::from([("144p".to_owned(), 3)]);
    *world.tasks.lock().expect("lock") = vec![Task::Encode(last, recorded)];
    let role = Role::start(&clip.file, world, LONG_DRAIN).await;
    role.messages_deleted(1).await;
    let world = role.stop().await;
    assert!(matches!(world.events().last(), Some(Event::Completed(_))));
    let outputs = world.segments("144p");
    assert_eq!(names(&outputs), ["144p/seg_00011.m4s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_stops_within_a_second() {
    let clip = slow_clip();
    let role = Role::start(&clip.file, World::with_rungs(&[]), LONG_DRAIN).await;
    role.encoding().await;
    role.world.cancel.store(true, Ordering::SeqCst);
    let scratch = role.scratch.path().to_owned();
    wait_until(Duration::from_millis(1500), "the encoder's end", || processes_in(&scratch) == 0).await;
    role.messages_deleted(1).await;
    assert!(!role.stop().await.is_settled());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_the_work() {
    let clip = slow_clip();
    let role = Role::start(&clip.file, World::with_rungs(&[]), LONG_DRAIN).await;
    role.encoding().await;
    role.world.lease_lost.store(true, Ordering::SeqCst);
    role.messages_deleted(1).await;
    assert!(!role.stop().await.is_settled());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_hands_its_task_back() {
    let clip = slow_clip();
    let role = Role::start(&clip.file, World::with_rungs(&[]), Duration::from_millis(100)).await;
    role.encoding().await;
    let world = role.stop().await;
    let failed = world.failed().expect("handed back");
    assert!(failed.retryable);
    assert_eq!(failed.failure.expect("failure").reason, "WORKER_STOPPED");
    assert_eq!(world.deleted.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_finishes_what_it_can() {
    let clip = clip("320x180", 10);
    let role = Role::start(&clip.file, World::with_rungs(&[180]), LONG_DRAIN).await;
    wait_until(Duration::from_secs(60), "the plan", || !role.world.work_units().is_empty()).await;
    let world = role.stop().await;
    assert!(matches!(world.events().last(), Some(Event::Completed(_))), "{:?}", world.events());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_is_stopped_is_not_the_files_fault() {
    let clip = slow_clip();
    for (stopping, reason) in [(true, "WORKER_STOPPED"), (false, "ENCODER_CRASHED")] {
        let role = Role::start(&clip.file, World::with_rungs(&[]), LONG_DRAIN).await;
        role.encoding().await;
        if stopping {
            role.shutdown.cancel();
        }
        terminate_in(role.scratch.path());
        role.messages_deleted(1).await;
        let failed = role.stop().await.failed().expect("failed");
        assert!(failed.retryable);
        assert_eq!(failed.failure.expect("failure").reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_can_encode_nothing_hands_its_task_back_and_rests() {
    let clip = clip("320x180", 4);
    let broken = clip.beside("broken");
    std::fs::write(&broken, "").expect("write");
    let helper = jail_helper();
    let commands =
        format!("[ -e {} ] && kill -9 $$; exec {} \"$@\"", broken.display(), helper.to_string_lossy());
    let jail = Jail { helper: vec![instead(&clip, &commands)], ..jail() };
    let role = Role::start_in(jail, &clip.file, World::with_rungs(&[180]), LONG_DRAIN).await;
    role.messages_deleted(1).await;
    let failed = role.world.failed().expect("handed back");
    assert!(failed.retryable);
    assert_eq!(failed.failure.expect("failure").reason, "WORKER_STOPPED", "which does not count");

    *role.world.tasks.lock().expect("lock") = vec![Task::Prepare];
    role.world.messages.lock().expect("lock").push(HINT.into());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(role.world.started.lock().expect("lock").len(), 1, "it takes no other task");
    std::fs::remove_file(&broken).expect("mended");
    role.messages_deleted(2).await;
    let world = role.stop().await;
    assert!(matches!(world.events().last(), Some(Event::Completed(_))), "{:?}", world.events());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_video_fails_for_good() {
    let file = Clip::named("notes.mp4");
    std::fs::write(&file.file, "just some notes\n").expect("write");
    let role = Role::start(&file.file, World::default(), LONG_DRAIN).await;
    role.messages_deleted(1).await;
    let failed = role.stop().await.failed().expect("failed");
    assert!(!failed.retryable);
    assert_eq!(failed.failure.expect("failure").reason, "FILE_NOT_VIDEO");
}

async fn refused(reason: Reason) -> Role {
    let any = Clip::named("any");
    std::fs::write(&any.file, "x").expect("write");
    let world = World::default();
    *world.refuse_start.lock().expect("lock") = Some(reason);
    Role::start(&any.file, world, LONG_DRAIN).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_about_nothing_is_deleted() {
    for reason in [Reason::TaskEnded, Reason::TaskLeased, Reason::TaskNotFound] {
        let role = refused(reason).await;
        role.messages_deleted(1).await;
        let world = role.stop().await;
        assert!(world.reports.lock().expect("lock").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_another_build_is_left_to_whoever_has_it() {
    let role = refused(Reason::TaskOtherBuild).await;
    let extended = || !role.world.extended.lock().expect("lock").is_empty();
    wait_until(Duration::from_secs(10), "the message goes back", extended).await;
    let world = role.stop().await;
    assert_eq!(world.deleted.load(Ordering::SeqCst), 0, "others must find it");
    let soon = Duration::from_secs(1)..=Duration::from_secs(10);
    assert!(world.extended.lock().expect("lock").iter().all(|later| soon.contains(later)));
    assert!(world.reports.lock().expect("lock").is_empty());
}
