//! Reports of transcode jobs change their videos.

use std::time::Duration;

use bytes::Bytes;
use reelmill_platform::signed_path::PrefixSigner;
use reelmill_proto::{
    duration, timestamp,
    transcode::{Failure, Waiting, WatchJobsResponse, job},
    unix_millis,
    upload::{CreatePlaybackRequest, DeleteVideoRequest, Video, video},
};
use rstest::rstest;

use crate::support::{
    Backend, Deployment, ORIGIN, PLAYBACK_SECRET, eventually, output_key, reason, report_progress,
    set_running, set_succeeded,
};

fn is_ready(video: &Video) -> bool {
    video.state() == video::State::Ready
}

fn is_failed(video: &Video) -> bool {
    video.state() == video::State::Failed
}

fn set_failed(report: &mut WatchJobsResponse) {
    let job = report.job.as_mut().unwrap();
    job.state = job::State::Failed.into();
    job.failure = Some(Failure { reason: "NOT_A_VIDEO".to_owned(), message: "send a video".to_owned() });
}

async fn put_outputs(deployment: &Deployment, video: &str) {
    for name in ["master.m3u8", "720p/0.m4s"] {
        let key = output_key(video, "a1", name);
        deployment.object_store.objects.put(&key, Bytes::from_static(b"output"), "video/mp4").await.unwrap();
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn running_job_sets_source_and_renditions_but_stores_no_progress(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_running);
    let running = deployment.wait_for_renditions("ada", &uploaded.name).await;
    assert_eq!(running.state(), video::State::Processing);
    assert_eq!(running.duration, Some(duration(Duration::from_millis(1500))));
    report_progress(&deployment, &uploaded.name, 40.0);
    let live = deployment.wait_for_video("ada", &uploaded.name, |video| video.progress.is_some()).await;
    assert_eq!(live.progress.unwrap().percent, 40.0);
    assert_eq!(live.renditions[0].progress.as_ref().unwrap().percent, 20.0);
    assert_eq!(live.revision, running.revision, "progress was stored");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn succeeded_job_makes_video_ready_with_playback_and_downloads(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let request = |ttl: Option<u64>| CreatePlaybackRequest {
        name: uploaded.name.clone(),
        ttl: ttl.map(|seconds| duration(Duration::from_secs(seconds))),
    };
    let mut videos = deployment.videos("ada");
    assert_eq!(reason(videos.create_playback(request(None)).await), "VIDEO_NOT_READY");

    deployment.transcode.change(&uploaded.name, set_running);
    let running = deployment.wait_for_renditions("ada", &uploaded.name).await;
    deployment.transcode.change(&uploaded.name, set_succeeded);
    let ready = deployment.wait_for_video("ada", &uploaded.name, is_ready).await;
    assert!(ready.revision > running.revision && ready.end_time.is_some() && ready.progress.is_none());
    assert_eq!(ready.source, running.source);
    assert_eq!(ready.source.unwrap().programs[0].number, 12);
    assert_eq!(ready.renditions.len(), 2);
    let path = ready.playback_uri.strip_prefix(&format!("{ORIGIN}/play/")).unwrap();
    let (token, path) = path.split_once('/').unwrap();
    let prefix = ready.name.replace("videos/", "outputs/") + "/";
    let now = u64::try_from(deployment.clock.now_millis() / 1000).unwrap();
    let signer = PrefixSigner::new(PLAYBACK_SECRET.as_bytes());
    assert_eq!((signer.verify(token, now).unwrap(), path), (prefix, "a1/master.m3u8"));
    assert!(ready.poster_uri.ends_with("/a1/poster.jpg"));

    for ttl in [59, 7 * 24 * 3600 + 1] {
        assert_eq!(reason(videos.create_playback(request(Some(ttl))).await), "FIELD_INVALID");
    }
    let playback = videos.create_playback(request(Some(60))).await.unwrap().into_inner();
    assert_eq!(unix_millis(&playback.expire_time.unwrap()), deployment.clock.now_millis() + 60_000);
    let download = &playback.download_uris["720p"];
    assert!(download.ends_with("/a1/720p.mp4?download=clip%2D720p%2Emp4"), "{download}");
    assert_eq!(deployment.keys("sources/").await.len(), 1, "the source of a READY video was deleted");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn late_and_repeated_reports_change_nothing(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let queued = deployment.transcode.report_of(&uploaded.name);
    let running = deployment.transcode.change(&uploaded.name, set_running);
    deployment.transcode.send(running.clone());
    deployment.wait_for_renditions("ada", &uploaded.name).await;
    let succeeded = deployment.transcode.change(&uploaded.name, set_succeeded);
    let ready = deployment.wait_for_video("ada", &uploaded.name, is_ready).await;

    let mut failed = succeeded.clone();
    let job = failed.job.as_mut().unwrap();
    job.state = job::State::Failed.into();
    job.revision += 1;
    for late in [queued, running, succeeded.clone(), succeeded, failed] {
        deployment.transcode.send(late);
    }
    // Reports are applied in order: once this one is, the late ones were.
    let other = deployment.upload("ada").await;
    deployment.transcode.change(&other.name, set_running);
    deployment.wait_for_renditions("ada", &other.name).await;
    let unchanged = deployment.video("ada", &ready.name).await.unwrap();
    assert_eq!((unchanged.state(), unchanged.revision), (ready.state(), ready.revision));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn failed_job_fails_video_and_keeps_its_source(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_failed);
    let failed = deployment.wait_for_video("ada", &uploaded.name, is_failed).await;
    assert_eq!(failed.failure.unwrap().reason, "NOT_A_VIDEO");
    deployment.wait_for_cleanup_time(None).await;
    assert_eq!(deployment.keys("sources/").await.len(), 1);
    assert!(deployment.transcode.deleted().is_empty());

    deployment.videos("ada").delete_video(DeleteVideoRequest { name: uploaded.name }).await.unwrap();
    deployment.wait_for_empty_object_store().await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn failed_job_with_retention_time_deletes_its_source_afterwards(#[case] backend: Backend) {
    let day = Duration::from_secs(24 * 3600);
    let deployment =
        Deployment::start_with(backend, |config| config.failed_source_retention = Some(day)).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_failed);
    let failed = deployment.wait_for_video("ada", &uploaded.name, is_failed).await;
    let expire_time = unix_millis(&failed.end_time.unwrap()) + 24 * 3600 * 1000;
    deployment.wait_for_cleanup_time(Some(expire_time)).await;
    assert_eq!(deployment.keys("sources/").await.len(), 1);
    deployment.clock.advance(day);
    deployment.wait_for_empty_object_store().await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn cancelled_job_fails_video(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, |report| {
        report.job.as_mut().unwrap().state = job::State::Cancelled.into();
    });
    let failed = deployment.wait_for_video("ada", &uploaded.name, is_failed).await;
    assert_eq!(failed.failure.unwrap().reason, "JOB_CANCELLED");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn retried_job_makes_failed_video_ready(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_running);
    deployment.transcode.change(&uploaded.name, set_failed);
    let failed = deployment.wait_for_video("ada", &uploaded.name, is_failed).await;
    assert!(failed.end_time.is_some());

    deployment.transcode.change(&uploaded.name, |report| {
        let job = report.job.as_mut().unwrap();
        (job.failure, job.end_time) = (None, None);
        job.state = job::State::Queued.into();
    });
    let is_processing = |video: &Video| video.state() == video::State::Processing;
    let retried = deployment.wait_for_video("ada", &uploaded.name, is_processing).await;
    assert_eq!((retried.failure, retried.end_time, retried.playable), (None, None, false));
    deployment.transcode.change(&uploaded.name, set_succeeded);
    deployment.wait_for_video("ada", &uploaded.name, is_ready).await;
    assert_eq!(deployment.keys("sources/").await.len(), 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn waiting_job_shows_what_it_waits_for_until_it_goes_on(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let since = deployment.clock.now_millis();
    let waiting = Waiting {
        reason: "SOURCE_UNREADABLE".to_owned(),
        message: "the object store responded 403".to_owned(),
        since_time: Some(timestamp(since)),
    };
    let shown = waiting.clone();
    deployment.transcode.change(&uploaded.name, |report| {
        set_running(report);
        report.job.as_mut().unwrap().waiting = Some(waiting);
    });
    let video = deployment.wait_for_video("ada", &uploaded.name, |video| video.waiting.is_some()).await;
    assert_eq!((video.state(), video.waiting), (video::State::Processing, Some(shown)));
    deployment.transcode.change(&uploaded.name, |report| report.job.as_mut().unwrap().waiting = None);
    deployment.wait_for_video("ada", &uploaded.name, |video| video.waiting.is_none()).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn delete_video_deletes_its_job_and_its_objects(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_running);
    put_outputs(&deployment, &uploaded.name).await;
    let delete = || DeleteVideoRequest { name: uploaded.name.clone() };
    // Objects are deleted at once; a job that cannot be deleted yet is deleted later.
    deployment.transcode.set_unavailable(true);
    for _ in 0..2 {
        deployment.videos("ada").delete_video(delete()).await.unwrap();
    }
    assert_eq!(reason(deployment.video("ada", &uploaded.name).await), "VIDEO_NOT_FOUND");
    deployment.wait_for_empty_object_store().await;
    deployment.transcode.set_unavailable(false);
    let is_deleted = || async { deployment.transcode.deleted().contains(&uploaded.name).then_some(()) };
    eventually("the job is deleted", is_deleted).await;

    // Written by a worker that was not cancelled in time.
    put_outputs(&deployment, &uploaded.name).await;
    deployment.clock.advance(Duration::from_secs(3601));
    deployment.wait_for_empty_object_store().await;
    let is_purged = || async {
        let again = deployment.videos("ada").delete_video(delete()).await;
        again.is_err().then_some(again)
    };
    assert_eq!(reason(eventually("the video is purged", is_purged).await), "VIDEO_NOT_FOUND");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn restarted_server_follows_jobs_from_the_applied_revision(#[case] backend: Backend) {
    let mut deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let running = deployment.transcode.change(&uploaded.name, set_running);
    deployment.wait_for_renditions("ada", &uploaded.name).await;

    deployment.server = deployment.start_replica().await;
    let applied = running.job.unwrap().revision;
    let is_resumed = || async { deployment.transcode.watched_from().contains(&applied).then_some(()) };
    eventually("jobs are watched from the applied revision", is_resumed).await;
    deployment.transcode.change(&uploaded.name, set_succeeded);
    deployment.wait_for_video("ada", &uploaded.name, is_ready).await;
}

/// The transcode database was restored without the job.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn video_whose_job_is_gone_gets_a_new_one(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_running);
    deployment.wait_for_renditions("ada", &uploaded.name).await;
    deployment.transcode.lose(&uploaded.name);
    let has_new_job = |video: &Video| video.job != uploaded.job && !video.job.is_empty();
    deployment.wait_for_video("ada", &uploaded.name, has_new_job).await;
    assert_eq!(deployment.transcode.created().len(), 2);
    deployment.transcode.change(&uploaded.name, set_succeeded);
    deployment.wait_for_video("ada", &uploaded.name, is_ready).await;
}

/// A change that was never delivered, as after the upload database was restored.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn missed_change_of_a_job_is_applied(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_running);
    deployment.wait_for_renditions("ada", &uploaded.name).await;
    deployment.transcode.set_silent();
    deployment.transcode.change(&uploaded.name, set_succeeded);
    deployment.wait_for_video("ada", &uploaded.name, is_ready).await;
}

/// The transcode database was restored, and went on from a lower revision than the upload service has applied.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn restored_job_with_lower_revision_is_applied(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    deployment.transcode.change(&uploaded.name, set_running);
    let running = deployment.transcode.change(&uploaded.name, set_running);
    assert!(running.job.unwrap().revision > 1);
    deployment.wait_for_renditions("ada", &uploaded.name).await;
    deployment.transcode.restore(&uploaded.name, set_succeeded);
    deployment.wait_for_video("ada", &uploaded.name, is_ready).await;
}
