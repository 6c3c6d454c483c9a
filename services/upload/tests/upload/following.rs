//! What becomes of jobs becomes of their videos.

use std::time::Duration;

use bytes::Bytes;
use reelmill_platform::signed_path::PathSigner;
use reelmill_proto::{
    transcode::{Failure, Progress, Rendition, SourceInfo, WatchJobsResponse, job, rendition},
    upload::{CreatePlaybackRequest, DeleteVideoRequest, Video, video},
};

use crate::world::{ORIGIN, PLAYBACK_SECRET, World, eventually, reason};

crate::on_both!(
    a_job_that_succeeds_makes_its_video_ready,
    late_and_repeated_changes_are_harmless,
    a_failed_job_leaves_nothing_behind,
    a_deleted_video_leaves_nothing_behind,
    following_goes_on_after_a_restart,
);

fn id_of(video: &Video) -> String {
    video.name.trim_start_matches("videos/").to_owned()
}

/// A worker has the job and has probed the source.
pub fn run(update: &mut WatchJobsResponse) {
    let job = update.job.as_mut().unwrap();
    job.state = job::State::Running.into();
    job.source = Some(SourceInfo {
        container: "mov,mp4".to_owned(),
        width: 1280,
        height: 720,
        duration: Some(reelmill_proto::duration(Duration::from_millis(1500))),
        ..Default::default()
    });
    job.renditions = ["720p", "360p"]
        .into_iter()
        .map(|rung| Rendition {
            rendition_id: rung.to_owned(),
            state: rendition::State::Encoding.into(),
            ..Default::default()
        })
        .collect();
}

/// Every rung is done.
pub fn succeed(update: &mut WatchJobsResponse) {
    let job = update.job.as_mut().unwrap();
    job.state = job::State::Succeeded.into();
    for rung in &mut job.renditions {
        rung.state = rendition::State::Ready.into();
    }
    let folder = format!("{}/a1", job.video.replace("videos/", "outputs/"));
    update.master_playlist_key = format!("{folder}/master.m3u8");
    update.poster_key = format!("{folder}/poster.jpg");
    update.output_size_bytes = 4711;
}

/// How far the job is, without a stored change.
pub fn advance(world: &World, video: &str, percent: f64) {
    let mut update = world.jobs.job_of(video);
    let job = update.job.as_mut().unwrap();
    job.progress = Some(Progress { percent, ..Default::default() });
    for rung in &mut job.renditions {
        rung.progress = Some(Progress { percent: percent / 2.0, ..Default::default() });
    }
    world.jobs.send(update);
}

async fn put_outputs(world: &World, video: &str) {
    for name in ["a1/master.m3u8", "a1/720p/0.m4s"] {
        let key = format!("{}/{name}", video.replace("videos/", "outputs/"));
        world.objects.put(&key, Bytes::from_static(b"output"), "video/mp4").await.unwrap();
    }
}

async fn until_empty(world: &World) {
    eventually("the store is empty", || async {
        (world.keys("").await.is_empty() && world.open_multiparts().await == 0).then_some(())
    })
    .await;
}

async fn a_job_that_succeeds_makes_its_video_ready(world: World) {
    let uploaded = world.upload("ada").await;
    let playback = |ttl: Option<u64>| CreatePlaybackRequest {
        name: uploaded.name.clone(),
        ttl: ttl.map(|seconds| reelmill_proto::duration(Duration::from_secs(seconds))),
    };
    assert_eq!(reason(world.videos("ada").create_playback(playback(None)).await), "VIDEO_NOT_READY");

    world.jobs.change(&uploaded.name, run);
    let running = world.until_video("ada", &uploaded.name, |video| !video.renditions.is_empty()).await;
    assert_eq!(running.state(), video::State::Processing);
    assert_eq!(running.duration, Some(reelmill_proto::duration(Duration::from_millis(1500))));
    advance(&world, &uploaded.name, 40.0);
    let live = world.until_video("ada", &uploaded.name, |video| video.progress.is_some()).await;
    assert_eq!(live.progress.unwrap().percent, 40.0);
    assert_eq!(live.renditions[0].progress.as_ref().unwrap().percent, 20.0);
    assert_eq!(live.revision, running.revision, "mere progress was stored");

    world.jobs.change(&uploaded.name, succeed);
    let ready = world.until_video("ada", &uploaded.name, |video| video.state() == video::State::Ready).await;
    assert!(ready.revision > running.revision && ready.end_time.is_some() && ready.progress.is_none());
    assert_eq!(ready.renditions.len(), 2);
    let token = ready.playback_uri.strip_prefix(&format!("{ORIGIN}/play/")).unwrap();
    let (token, rest) = token.split_once('/').unwrap();
    let prefix = format!("outputs/{}/", id_of(&ready));
    let now = u64::try_from(world.clock.now_millis() / 1000).unwrap();
    let signer = PathSigner::new(PLAYBACK_SECRET.as_bytes());
    assert_eq!((signer.verify(token, now).unwrap(), rest), (prefix, "a1/master.m3u8"));
    assert!(ready.poster_uri.ends_with("/a1/poster.jpg"));

    for ttl in [59, 7 * 24 * 3600 + 1] {
        assert_eq!(reason(world.videos("ada").create_playback(playback(Some(ttl))).await), "FIELD_INVALID");
    }
    let passes = world.videos("ada").create_playback(playback(Some(60))).await.unwrap().into_inner();
    assert_eq!(reelmill_proto::unix_millis(&passes.expire_time.unwrap()), world.clock.now_millis() + 60_000);
    let download = &passes.download_uris["720p"];
    assert!(download.ends_with("/a1/720p.mp4?download=clip%2D720p%2Emp4"), "{download}");
    assert_eq!(world.keys("sources/").await.len(), 1, "the source of a READY video is kept");
}

async fn late_and_repeated_changes_are_harmless(world: World) {
    let uploaded = world.upload("ada").await;
    let queued = world.jobs.job_of(&uploaded.name);
    let running = world.jobs.change(&uploaded.name, run);
    world.jobs.send(running.clone());
    world.until_video("ada", &uploaded.name, |video| !video.renditions.is_empty()).await;
    let done = world.jobs.change(&uploaded.name, succeed);
    let ready = world.until_video("ada", &uploaded.name, |video| video.state() == video::State::Ready).await;

    let mut failed = done.clone();
    let job = failed.job.as_mut().unwrap();
    job.state = job::State::Failed.into();
    job.revision += 1;
    for late in [queued, running, done.clone(), done, failed] {
        world.jobs.send(late);
    }
    // What is sent after them is applied after them.
    let other = world.upload("ada").await;
    world.jobs.change(&other.name, run);
    world.until_video("ada", &other.name, |video| !video.renditions.is_empty()).await;
    let still = world.video("ada", &ready.name).await.unwrap();
    assert_eq!((still.state(), still.revision), (ready.state(), ready.revision));
}

async fn a_failed_job_leaves_nothing_behind(world: World) {
    let uploaded = world.upload("ada").await;
    put_outputs(&world, &uploaded.name).await;
    world.jobs.change(&uploaded.name, |update| {
        let job = update.job.as_mut().unwrap();
        job.state = job::State::Failed.into();
        job.failure = Some(Failure { reason: "NOT_A_VIDEO".to_owned(), message: "send a video".to_owned() });
    });
    let failed =
        world.until_video("ada", &uploaded.name, |video| video.state() == video::State::Failed).await;
    assert_eq!(failed.failure.unwrap().reason, "NOT_A_VIDEO");
    until_empty(&world).await;
    assert!(world.jobs.cancelled().is_empty());

    let cancelled = world.upload("ada").await;
    world.jobs.change(&cancelled.name, |update| {
        update.job.as_mut().unwrap().state = job::State::Cancelled.into();
    });
    let failed =
        world.until_video("ada", &cancelled.name, |video| video.state() == video::State::Failed).await;
    assert_eq!(failed.failure.unwrap().reason, "JOB_CANCELLED");
    until_empty(&world).await;
}

async fn a_deleted_video_leaves_nothing_behind(world: World) {
    let uploaded = world.upload("ada").await;
    world.jobs.change(&uploaded.name, run);
    put_outputs(&world, &uploaded.name).await;
    let delete = || DeleteVideoRequest { name: uploaded.name.clone() };
    // Objects go at once; a job that can't be stopped yet is stopped later.
    world.jobs.set_away(true);
    for _ in 0..2 {
        world.videos("ada").delete_video(delete()).await.unwrap();
    }
    assert_eq!(reason(world.video("ada", &uploaded.name).await), "VIDEO_NOT_FOUND");
    until_empty(&world).await;
    world.jobs.set_away(false);
    let stopped = || async { world.jobs.cancelled().contains(&uploaded.job).then_some(()) };
    eventually("the job is stopped", stopped).await;

    // A worker that had not heard yet.
    put_outputs(&world, &uploaded.name).await;
    world.clock.advance(Duration::from_secs(3601));
    until_empty(&world).await;
    let forgotten = || async {
        let again = world.videos("ada").delete_video(delete()).await;
        again.is_err().then_some(again)
    };
    assert_eq!(reason(eventually("the video is forgotten", forgotten).await), "VIDEO_NOT_FOUND");
}

async fn following_goes_on_after_a_restart(mut world: World) {
    let uploaded = world.upload("ada").await;
    let running = world.jobs.change(&uploaded.name, run);
    world.until_video("ada", &uploaded.name, |video| !video.renditions.is_empty()).await;

    world.replica = world.another_replica().await;
    let seen = running.job.unwrap().revision;
    let resumed = || async { world.jobs.followed_from().contains(&seen).then_some(()) };
    eventually("jobs are followed from where they were left", resumed).await;
    world.jobs.change(&uploaded.name, succeed);
    world.until_video("ada", &uploaded.name, |video| video.state() == video::State::Ready).await;
}
