//! WatchVideo and WatchVideos.

use std::time::{Duration, Instant};

use reelmill_proto::upload::{
    DeleteVideoRequest, Video, WatchVideoRequest, WatchVideoResponse, WatchVideosRequest,
    WatchVideosResponse, video, watch_videos_response::Change,
};
use rstest::rstest;
use tonic::Streaming;

use crate::support::{Backend, Deployment, UploadServer, next, report_progress, set_running, set_succeeded};

async fn watch_video(deployment: &Deployment, name: &str, revision: i64) -> Streaming<WatchVideoResponse> {
    let request = WatchVideoRequest { name: name.to_owned(), revision };
    deployment.videos("ada").watch_video(request).await.unwrap().into_inner()
}

async fn watch_library(server: &UploadServer, revision: i64) -> Streaming<WatchVideosResponse> {
    let request = WatchVideosRequest { revision };
    server.videos("ada").watch_videos(request).await.unwrap().into_inner()
}

async fn next_change(watch: &mut Streaming<WatchVideosResponse>) -> Change {
    next(watch).await.expect("a library watch does not end").change.unwrap()
}

/// Waits for a change that satisfies a condition, and returns all changes up to it.
async fn changes_until(
    watch: &mut Streaming<WatchVideosResponse>,
    condition: impl Fn(&Change) -> bool,
) -> Vec<Change> {
    let mut changes = Vec::new();
    loop {
        let change = next_change(watch).await;
        let is_last = condition(&change);
        changes.push(change);
        if is_last {
            return changes;
        }
    }
}

fn is_video(change: &Change, condition: impl Fn(&Video) -> bool) -> bool {
    matches!(change, Change::Video(video) if condition(video))
}

async fn delete(deployment: &Deployment, name: &str) {
    let request = DeleteVideoRequest { name: name.to_owned() };
    deployment.videos("ada").delete_video(request).await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn watch_video_limits_its_rate_and_ends_with_the_final_state(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let name = uploaded.name.as_str();
    let mut watch = watch_video(&deployment, name, 0).await;
    let present = next(&mut watch).await.unwrap().video.unwrap();
    assert_eq!((present.name.as_str(), present.state()), (name, video::State::Processing));

    deployment.transcode.change(name, set_running);
    deployment.wait_for_renditions("ada", name).await;
    let started = Instant::now();
    let mut interval = tokio::time::interval(Duration::from_millis(10));
    for percent in 1..=100 {
        interval.tick().await;
        report_progress(&deployment, name, f64::from(percent));
    }
    deployment.transcode.change(name, set_succeeded);
    let mut states = Vec::new();
    while let Some(response) = next(&mut watch).await {
        states.push(response.video.unwrap());
    }
    let limit = 2 + started.elapsed().as_millis() / 250;
    assert!(states.len() as u128 <= limit, "{} updates in {:?}", states.len(), started.elapsed());
    assert_eq!(states.last().unwrap().state(), video::State::Ready);
    assert!(states.windows(2).all(|pair| pair[0].revision <= pair[1].revision));
    let percents: Vec<f64> =
        states.iter().filter_map(|video| video.progress.as_ref()).map(|p| p.percent).collect();
    assert!(percents.len() > 1 && percents.windows(2).all(|pair| pair[0] <= pair[1]), "{percents:?}");

    let last = states.last().unwrap().revision;
    assert!(next(&mut watch_video(&deployment, name, last).await).await.is_none(), "a seen state was sent");
    let mut resumed = watch_video(&deployment, name, present.revision).await;
    assert_eq!(next(&mut resumed).await.unwrap().video.unwrap().revision, last);
    assert!(next(&mut resumed).await.is_none());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn watch_videos_sends_present_videos_then_changes_and_resumes(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let first = deployment.upload("ada").await;
    let second = deployment.upload("ada").await;
    deployment.upload("eve").await;
    let mut watch = watch_library(&deployment.server, 0).await;
    let present = changes_until(&mut watch, |change| *change == Change::CaughtUp(true)).await;
    let mut names: Vec<&str> = present
        .iter()
        .filter_map(|change| if let Change::Video(video) = change { Some(video.name.as_str()) } else { None })
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, [first.name.as_str(), second.name.as_str()]);
    assert!(!present.iter().any(|change| matches!(change, Change::Deleted(_))));

    let third = deployment.upload("ada").await;
    changes_until(&mut watch, |change| {
        is_video(change, |video| video.name == third.name && !video.job.is_empty())
    })
    .await;
    deployment.transcode.change(&first.name, set_running);
    changes_until(&mut watch, |change| {
        is_video(change, |video| video.name == first.name && !video.renditions.is_empty())
    })
    .await;
    report_progress(&deployment, &first.name, 50.0);
    let live = changes_until(&mut watch, |change| is_video(change, |video| video.progress.is_some())).await;
    let Some(Change::Video(live)) = live.into_iter().last() else { panic!("expected a video") };
    drop(watch);

    delete(&deployment, &second.name).await;
    deployment.transcode.change(&first.name, set_succeeded);
    let is_ready = |video: &Video| video.state() == video::State::Ready;
    let ready = deployment.wait_for_video("ada", &first.name, is_ready).await;
    let mut watch = watch_library(&deployment.server, live.revision).await;
    let missed = changes_until(&mut watch, |change| *change == Change::CaughtUp(true)).await;
    assert_eq!(missed.len(), 3, "{missed:?}");
    assert_eq!(missed[0], Change::Deleted(second.name.clone()));
    assert!(is_video(&missed[1], |video| video.name == first.name && video.revision == ready.revision));

    delete(&deployment, &first.name).await;
    assert_eq!(next_change(&mut watch).await, Change::Deleted(first.name.clone()));
    let mut new_watch = watch_library(&deployment.server, 0).await;
    let present = changes_until(&mut new_watch, |change| *change == Change::CaughtUp(true)).await;
    assert!(is_video(&present[0], |video| video.name == third.name));
    assert_eq!(present.len(), 2);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn watch_videos_receives_changes_of_other_replicas(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let replica = deployment.start_replica().await;
    let mut watch = watch_library(&replica, 0).await;
    assert_eq!(next_change(&mut watch).await, Change::CaughtUp(true));
    let uploaded = deployment.upload("ada").await;
    changes_until(&mut watch, |change| is_video(change, |video| video.state() == video::State::Processing))
        .await;
    deployment.transcode.change(&uploaded.name, set_running);
    report_progress(&deployment, &uploaded.name, 10.0);
    changes_until(&mut watch, |change| is_video(change, |video| video.progress.is_some())).await;
    delete(&deployment, &uploaded.name).await;
    changes_until(&mut watch, |change| *change == Change::Deleted(uploaded.name.clone())).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn watches_without_notifications_receive_changes_by_polling(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let replica = deployment.start_replica_without_notifications().await;
    let mut library = watch_library(&replica, 0).await;
    changes_until(&mut library, |change| *change == Change::CaughtUp(true)).await;

    let (session, _) = deployment.create("ada", 1000).await;
    changes_until(&mut library, |change| is_video(change, |video| video.name == session.video)).await;
    let request = WatchVideoRequest { name: session.video.clone(), revision: 0 };
    let mut watch = replica.videos("ada").watch_video(request).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await.unwrap().video.unwrap().state(), video::State::Uploading);

    delete(&deployment, &session.video).await;
    let deleted = Change::Deleted(session.video.clone());
    let changes = changes_until(&mut library, |change| *change == deleted).await;
    assert_eq!(changes.len(), 1, "an unchanged video was sent: {changes:?}");
    assert!(next(&mut watch).await.is_none());
}
