//! Playback of videos, also before their jobs end.

use std::time::Duration;

use reelmill_proto::{
    transcode::{Failure, Rendition, Warning, WatchJobsResponse, job, rendition},
    upload::{
        CompleteUploadSessionRequest, CreatePlaybackRequest, CreatePlaybackResponse, Video,
        WatchVideoRequest, video,
    },
};
use rstest::rstest;
use tonic::Status;

use crate::support::{
    Backend, Deployment, content, next, output_key, reason, set_playable, set_running, set_succeeded,
};

async fn create_playback(deployment: &Deployment, name: &str) -> Result<CreatePlaybackResponse, Status> {
    let request = CreatePlaybackRequest { name: name.to_owned(), ttl: None };
    Ok(deployment.videos("ada").create_playback(request).await?.into_inner())
}

fn is_ready(video: &Video) -> bool {
    video.state() == video::State::Ready
}

/// The path of a playback URL after its token.
fn path_of(uri: &str) -> &str {
    uri.splitn(6, '/').nth(5).unwrap_or_default()
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn running_job_with_segments_makes_video_playable_without_downloads(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    assert!(!uploaded.playable);
    let name = uploaded.name.as_str();
    let request = WatchVideoRequest { name: name.to_owned(), revision: 0 };
    let mut watch = deployment.videos("ada").watch_video(request).await.unwrap().into_inner();
    deployment.transcode.change(name, set_running);
    deployment.wait_for_renditions("ada", name).await;
    assert_eq!(reason(create_playback(&deployment, name).await), "VIDEO_NOT_READY");

    let playable_time = deployment.clock.now_millis() + 2150;
    deployment.transcode.change(name, set_playable("a1", playable_time));
    let playable = loop {
        let video = next(&mut watch).await.unwrap().video.unwrap();
        if video.playable {
            break video;
        }
    };
    assert_eq!((playable.state(), playable.time_to_playable_seconds), (video::State::Processing, 2.15));
    assert_eq!(path_of(&playable.playback_uri), "a1/master.m3u8");
    assert_eq!((playable.poster_uri.as_str(), playable.dash_uri.as_str()), ("", ""));
    let playback = create_playback(&deployment, name).await.unwrap();
    assert_eq!(path_of(&playback.playback_uri), "a1/master.m3u8");

    // One rendition is READY, the video is not.
    deployment.transcode.change(name, |report| {
        report.poster_key = output_key(name, "a1", "poster.jpg");
        report.job.as_mut().unwrap().renditions[1].state = rendition::State::Ready.into();
    });
    let with_poster = deployment.wait_for_video("ada", name, |video| !video.poster_uri.is_empty()).await;
    assert!(with_poster.playable && with_poster.state() == video::State::Processing);
    let playback = create_playback(&deployment, name).await.unwrap();
    assert!(playback.download_uris.is_empty(), "{playback:?}");
}

/// SUCCEEDED with every kind of output, below other keys than before, and with a warning.
fn set_succeeded_with_all_outputs(report: &mut WatchJobsResponse) {
    set_succeeded(report);
    let job = report.job.as_mut().unwrap();
    job.warnings = vec![Warning { reason: "AUDIO_TRUNCATED".into(), message: "the audio ends early".into() }];
    job.renditions.push(Rendition {
        rendition_id: "audio-0".into(),
        kind: rendition::Kind::Audio.into(),
        state: rendition::State::Ready.into(),
        ..Rendition::default()
    });
    let video = job.video.clone();
    report.master_playlist_key = output_key(&video, "a2", "master.m3u8");
    report.dash_manifest_key = output_key(&video, "a2", "manifest.mpd");
    report.thumbnails_key = output_key(&video, "a2", "thumbnails.vtt");
    report.download_keys = ["720p", "audio-0"]
        .map(|id| (id.to_owned(), output_key(&video, "3", &format!("{id}/whole.mp4"))))
        .into_iter()
        .collect();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn succeeded_job_adds_manifest_thumbnails_downloads_and_warnings(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let name = uploaded.name.as_str();
    deployment.transcode.change(name, set_running);
    let playable_time = deployment.clock.now_millis() + 2150;
    deployment.transcode.change(name, set_playable("a1", playable_time));
    deployment.wait_for_video("ada", name, |video| video.playable).await;

    deployment.transcode.change(name, set_succeeded_with_all_outputs);
    let ready = deployment.wait_for_video("ada", name, is_ready).await;
    assert!(ready.playable && ready.time_to_playable_seconds == 2.15, "{ready:?}");
    assert_eq!(ready.warnings[0].reason, "AUDIO_TRUNCATED");
    assert_eq!(path_of(&ready.dash_uri), "a2/manifest.mpd");
    assert_eq!(path_of(&ready.thumbnails_uri), "a2/thumbnails.vtt");

    let playback = create_playback(&deployment, name).await.unwrap();
    assert_eq!(path_of(&playback.playback_uri), "a2/master.m3u8");
    assert_eq!(path_of(&playback.dash_uri), "a2/manifest.mpd");
    assert_eq!(path_of(&playback.thumbnails_uri), "a2/thumbnails.vtt");
    let mut downloads: Vec<(&str, &str)> =
        playback.download_uris.iter().map(|(id, uri)| (id.as_str(), path_of(uri))).collect();
    downloads.sort_unstable();
    let expected = [
        ("720p", "3/720p/whole.mp4?download=clip%2D720p%2Emp4"),
        ("audio-0", "3/audio-0/whole.mp4?download=clip%2Daudio%2D0%2Emp4"),
    ];
    assert_eq!(downloads, expected);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn replanned_job_keeps_video_playable_from_previous_outputs(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let name = uploaded.name.as_str();
    deployment.transcode.change(name, set_running);
    let playable_time = deployment.clock.now_millis() + 1000;
    let first_outputs = deployment.transcode.change(name, set_playable("a1", playable_time));
    deployment.wait_for_video("ada", name, |video| video.playable).await;

    // Planned again: there are no outputs yet.
    let replanned = deployment.transcode.change(name, |report| {
        report.master_playlist_key.clear();
        let job = report.job.as_mut().unwrap();
        job.playable_time = None;
        job.renditions.truncate(1);
    });
    let video = deployment.wait_for_video("ada", name, |video| video.renditions.len() == 1).await;
    assert!(video.playable, "the video is no longer playable");
    assert_eq!(path_of(&video.playback_uri), "a1/master.m3u8");

    deployment.transcode.change(name, set_playable("a2", playable_time + 60_000));
    let has_new_outputs = |video: &Video| path_of(&video.playback_uri) == "a2/master.m3u8";
    let moved = deployment.wait_for_video("ada", name, has_new_outputs).await;
    assert_eq!(moved.time_to_playable_seconds, 1.0, "the playable time changed");
    for late in [replanned.clone(), first_outputs, replanned] {
        deployment.transcode.send(late);
    }
    // Reports are applied in order: once this one is, the late ones were.
    let other = deployment.upload("ada").await;
    deployment.transcode.change(&other.name, set_running);
    deployment.wait_for_renditions("ada", &other.name).await;
    let unchanged = deployment.video("ada", name).await.unwrap();
    assert_eq!((unchanged.revision, path_of(&unchanged.playback_uri)), (moved.revision, "a2/master.m3u8"));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn failed_job_ends_playback(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let name = uploaded.name.as_str();
    deployment.transcode.change(name, set_playable("a1", deployment.clock.now_millis()));
    deployment.wait_for_video("ada", name, |video| video.playable).await;
    deployment.transcode.change(name, |report| {
        let job = report.job.as_mut().unwrap();
        job.state = job::State::Failed.into();
        job.failure = Some(Failure { reason: "SOURCE_DAMAGED".into(), message: "send it again".into() });
    });
    let is_failed = |video: &Video| video.state() == video::State::Failed;
    let failed = deployment.wait_for_video("ada", name, is_failed).await;
    assert!(!failed.playable && failed.playback_uri.is_empty() && failed.time_to_playable_seconds == 0.0);
    assert_eq!(reason(create_playback(&deployment, name).await), "VIDEO_NOT_READY");
}

#[tokio::test(flavor = "multi_thread")]
async fn time_to_playable_counts_from_the_completion_request() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let (session, signed) = deployment.create("ada", 1000).await;
    let parts = deployment.put_all(&session, &signed, &content(1000)).await;
    // A failed request does not count.
    assert_eq!(reason(deployment.complete("ada", &session.name, &[]).await), "PART_MISSING");
    deployment.clock.advance(Duration::from_secs(100));
    deployment.object_store.block_heads(true);
    let request = CompleteUploadSessionRequest { name: session.name.clone(), parts };
    let mut uploads = deployment.uploads("ada");
    let request_time = deployment.clock.now_millis();
    let slow_call = tokio::spawn(async move { uploads.complete_upload_session(request).await });
    deployment.wait_for_source().await;
    deployment.clock.advance(Duration::from_secs(5));
    deployment.object_store.block_heads(false);
    let video = slow_call.await.unwrap().unwrap().into_inner().video.unwrap();
    deployment.transcode.change(&video.name, set_playable("a1", request_time + 6000));
    let playable = deployment.wait_for_video("ada", &video.name, |video| video.playable).await;
    assert_eq!(playable.time_to_playable_seconds, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_to_playable_is_not_negative() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let video = deployment.upload("ada").await;
    // The job's clock may be behind.
    let playable_time = deployment.clock.now_millis() - 3000;
    deployment.transcode.change(&video.name, set_playable("a1", playable_time));
    let playable = deployment.wait_for_video("ada", &video.name, |video| video.playable).await;
    assert_eq!(playable.time_to_playable_seconds, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_to_playable_of_job_without_playable_time_counts_to_its_end() {
    let deployment = Deployment::start(Backend::Sqlite).await;
    let video = deployment.upload("ada").await;
    deployment.clock.advance(Duration::from_secs(7));
    deployment.transcode.change(&video.name, set_succeeded);
    let ready = deployment.wait_for_video("ada", &video.name, is_ready).await;
    assert!(ready.playable && ready.time_to_playable_seconds == 7.0, "{ready:?}");
}
