//! The whole role: a message in, outputs and a settled task out.

use crate::role_support::{Role, TASK, World};
use crate::support::{ffmpeg, processes_in, terminate_in, wait_until};
use reelmill_proto::transcode::rendition::State;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

const LONG_DRAIN: Duration = Duration::from_secs(60);

fn clip(folder: &TempDir, size: &str, seconds: u32) -> PathBuf {
    let file = folder.path().join("clip.mp4");
    ffmpeg(
        &format!(
            "-f lavfi -i testsrc2=s={size}:r=30:d={seconds} -f lavfi -i sine=440:d={seconds} -c:v libx264 \
             -preset ultrafast -c:a aac"
        ),
        &file,
    );
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_done_through_every_stumble() {
    let folder = TempDir::new().expect("folder");
    let world = World::default();
    world.broken_streams.store(1, Ordering::SeqCst);
    world.busy.store(2, Ordering::SeqCst);
    world.failing_puts.store(3, Ordering::SeqCst);
    let role = Role::start(&clip(&folder, "640x360", 10), world, LONG_DRAIN).await;
    role.message_deleted().await;
    let world = role.stop().await;

    let started = world.started.lock().expect("lock");
    assert_eq!((started.len(), started[0].task.as_str()), (1, TASK));
    assert!(started[0].encoder_build.starts_with("ffmpeg version"), "{}", started[0].encoder_build);
    let completed = world.completed.lock().expect("lock").clone().expect("completed");
    assert_eq!(completed.lease.expect("lease").fencing_token, 7);
    assert_eq!(
        (completed.master_playlist.as_str(), completed.poster.as_str()),
        ("master.m3u8", "poster.jpg")
    );
    let rendition = &completed.renditions[0];
    assert_eq!((rendition.rendition_id.as_str(), rendition.state()), ("360p", State::Ready));
    assert!(rendition.size_bytes > 0 && rendition.bandwidth_bps >= rendition.average_bandwidth_bps);
    let source = completed.source.expect("source");
    assert_eq!((source.width, source.height, source.video_codec.as_str()), (640, 360, "h264"));

    let objects = world.objects.lock().expect("lock");
    let told: Vec<_> = completed.outputs.iter().map(|output| (&output.name, output.size_bytes)).collect();
    assert_eq!(told.len(), objects.len());
    for (name, size) in told {
        assert_eq!(objects.get(name).map(|&size| i64::try_from(size).expect("size")), Some(size), "{name}");
    }

    let reports = world.reports.lock().expect("lock");
    let percents: Vec<_> =
        reports.iter().filter_map(|report| report.progress.as_ref()).map(|p| p.percent).collect();
    assert!(percents.is_sorted(), "{percents:?}");
    let planned = reports.iter().find(|report| !report.renditions.is_empty()).expect("planned");
    assert_eq!(planned.source.as_ref().map(|source| source.width), Some(640));
    assert!(world.failed.lock().expect("lock").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_stops_within_a_second() {
    let folder = TempDir::new().expect("folder");
    let role = Role::start(&clip(&folder, "1280x720", 90), World::default(), LONG_DRAIN).await;
    role.encoding().await;
    role.world.cancel.store(true, Ordering::SeqCst);
    let scratch = role.scratch.path().to_owned();
    wait_until(Duration::from_millis(1500), "the encoder's end", || processes_in(&scratch) == 0).await;
    role.message_deleted().await;
    let world = role.stop().await;
    assert!(world.completed.lock().expect("lock").is_none() && world.failed.lock().expect("lock").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_ends_the_work() {
    let folder = TempDir::new().expect("folder");
    let role = Role::start(&clip(&folder, "1280x720", 90), World::default(), LONG_DRAIN).await;
    role.encoding().await;
    role.world.lease_lost.store(true, Ordering::SeqCst);
    role.message_deleted().await;
    let world = role.stop().await;
    assert!(world.completed.lock().expect("lock").is_none() && world.failed.lock().expect("lock").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_worker_hands_its_task_back() {
    let folder = TempDir::new().expect("folder");
    let role =
        Role::start(&clip(&folder, "1280x720", 90), World::default(), Duration::from_millis(100)).await;
    role.encoding().await;
    let world = role.stop().await;
    let failed = world.failed.lock().expect("lock").clone().expect("handed back");
    assert!(failed.retryable);
    assert_eq!(failed.failure.expect("failure").reason, "WORKER_STOPPED");
    assert_eq!(world.deleted.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoder_that_is_stopped_is_not_the_files_fault() {
    let folder = TempDir::new().expect("folder");
    for (stopping, reason) in [(true, "WORKER_STOPPED"), (false, "ENCODER_CRASHED")] {
        let role = Role::start(&clip(&folder, "1280x720", 90), World::default(), LONG_DRAIN).await;
        role.encoding().await;
        if stopping {
            role.shutdown.cancel();
        }
        terminate_in(role.scratch.path());
        role.message_deleted().await;
        let world = role.stop().await;
        let failed = world.failed.lock().expect("lock").clone().expect("failed");
        assert!(failed.retryable);
        assert_eq!(failed.failure.expect("failure").reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_video_fails_for_good() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("notes.mp4");
    std::fs::write(&file, "just some notes\n").expect("write");
    let role = Role::start(&file, World::default(), LONG_DRAIN).await;
    role.message_deleted().await;
    let world = role.stop().await;
    let failed = world.failed.lock().expect("lock").clone().expect("failed");
    assert!(!failed.retryable);
    assert_eq!(failed.failure.expect("failure").reason, "FILE_NOT_VIDEO");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_about_nothing_is_deleted() {
    let folder = TempDir::new().expect("folder");
    let file = folder.path().join("any");
    std::fs::write(&file, "x").expect("write");
    for reason in ["TASK_ENDED", "TASK_LEASED", "TASK_NOT_FOUND"] {
        let world = World::default();
        *world.refuse_start.lock().expect("lock") = Some(reason);
        let role = Role::start(&file, world, LONG_DRAIN).await;
        role.message_deleted().await;
        let world = role.stop().await;
        assert!(world.reports.lock().expect("lock").is_empty());
    }
}
