//! Watching: one video, and the whole library.

use std::time::{Duration, Instant};

use reelmill_proto::upload::{
    DeleteVideoRequest, Video, WatchVideoRequest, WatchVideosRequest, WatchVideosResponse, video,
    watch_videos_response::Change,
};
use tonic::Streaming;

use crate::{
    following::{advance, run, succeed},
    world::{Replica, World, next},
};

crate::on_both!(
    one_video_is_followed_to_its_end,
    a_library_is_followed_and_resumed,
    a_replica_hears_of_anothers_changes,
    changes_that_were_never_told_of_arrive_all_the_same,
);

async fn watch_library(replica: &Replica, revision: i64) -> Streaming<WatchVideosResponse> {
    let request = WatchVideosRequest { revision };
    replica.videos("ada").watch_videos(request).await.unwrap().into_inner()
}

async fn change(watch: &mut Streaming<WatchVideosResponse>) -> Change {
    next(watch).await.expect("a library's watch has no end").change.unwrap()
}

/// Waits for a state of a video that is as `wanted`, and answers everything that came until then.
async fn until(watch: &mut Streaming<WatchVideosResponse>, wanted: impl Fn(&Change) -> bool) -> Vec<Change> {
    let mut seen = Vec::new();
    loop {
        let change = change(watch).await;
        let found = wanted(&change);
        seen.push(change);
        if found {
            return seen;
        }
    }
}

fn is_video(change: &Change, wanted: impl Fn(&Video) -> bool) -> bool {
    matches!(change, Change::Video(video) if wanted(video))
}

async fn one_video_is_followed_to_its_end(world: World) {
    let uploaded = world.upload("ada").await;
    let watch = |revision| {
        let mut videos = world.videos("ada");
        let request = WatchVideoRequest { name: uploaded.name.clone(), revision };
        async move { videos.watch_video(request).await.unwrap().into_inner() }
    };
    let mut states = watch(0).await;
    let present = next(&mut states).await.unwrap().video.unwrap();
    assert_eq!((present.name.as_str(), present.state()), (uploaded.name.as_str(), video::State::Processing));

    world.jobs.change(&uploaded.name, run);
    world.until_video("ada", &uploaded.name, |video| !video.renditions.is_empty()).await;
    let began = Instant::now();
    let mut reports = tokio::time::interval(Duration::from_millis(10));
    for percent in 1..=100 {
        reports.tick().await;
        advance(&world, &uploaded.name, f64::from(percent));
    }
    world.jobs.change(&uploaded.name, succeed);
    let mut seen = Vec::new();
    while let Some(state) = next(&mut states).await {
        seen.push(state.video.unwrap());
    }
    let most = 2 + began.elapsed().as_millis() / 250;
    assert!(seen.len() as u128 <= most, "{} updates in {:?}", seen.len(), began.elapsed());
    assert_eq!(seen.last().unwrap().state(), video::State::Ready);
    assert!(seen.windows(2).all(|pair| pair[0].revision <= pair[1].revision));
    let percents: Vec<f64> =
        seen.iter().filter_map(|video| video.progress.as_ref()).map(|p| p.percent).collect();
    assert!(percents.len() > 1 && percents.windows(2).all(|pair| pair[0] <= pair[1]), "{percents:?}");

    let end = seen.last().unwrap().revision;
    assert!(next(&mut watch(end).await).await.is_none(), "what was seen was sent again");
    let mut resumed = watch(present.revision).await;
    assert_eq!(next(&mut resumed).await.unwrap().video.unwrap().revision, end);
    assert!(next(&mut resumed).await.is_none());
}

async fn a_library_is_followed_and_resumed(world: World) {
    let first = world.upload("ada").await;
    let second = world.upload("ada").await;
    world.upload("eve").await;
    let mut watch = watch_library(&world.replica, 0).await;
    let seen = until(&mut watch, |change| *change == Change::CaughtUp(true)).await;
    let mut names: Vec<&str> = seen
        .iter()
        .filter_map(|change| if let Change::Video(video) = change { Some(video.name.as_str()) } else { None })
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, [first.name.as_str(), second.name.as_str()]);
    assert!(!seen.iter().any(|change| matches!(change, Change::Deleted(_))));

    let third = world.upload("ada").await;
    until(&mut watch, |change| is_video(change, |video| video.name == third.name && !video.job.is_empty()))
        .await;
    world.jobs.change(&first.name, run);
    until(&mut watch, |change| {
        is_video(change, |video| video.name == first.name && !video.renditions.is_empty())
    })
    .await;
    advance(&world, &first.name, 50.0);
    let live = until(&mut watch, |change| is_video(change, |video| video.progress.is_some())).await;
    let Some(Change::Video(live)) = live.into_iter().last() else { panic!("a video was waited for") };
    drop(watch);

    world.videos("ada").delete_video(DeleteVideoRequest { name: second.name.clone() }).await.unwrap();
    world.jobs.change(&first.name, succeed);
    let ready = world.until_video("ada", &first.name, |video| video.state() == video::State::Ready).await;
    let mut watch = watch_library(&world.replica, live.revision).await;
    let missed = until(&mut watch, |change| *change == Change::CaughtUp(true)).await;
    assert_eq!(missed.len(), 3, "{missed:?}");
    assert_eq!(missed[0], Change::Deleted(second.name.clone()));
    assert!(is_video(&missed[1], |video| video.name == first.name && video.revision == ready.revision));

    world.videos("ada").delete_video(DeleteVideoRequest { name: first.name.clone() }).await.unwrap();
    assert_eq!(change(&mut watch).await, Change::Deleted(first.name.clone()));
    let mut fresh = watch_library(&world.replica, 0).await;
    let left = until(&mut fresh, |change| *change == Change::CaughtUp(true)).await;
    assert!(is_video(&left[0], |video| video.name == third.name));
    assert_eq!(left.len(), 2);
}

async fn a_replica_hears_of_anothers_changes(world: World) {
    let other = world.another_replica().await;
    let mut watch = watch_library(&other, 0).await;
    assert_eq!(change(&mut watch).await, Change::CaughtUp(true));
    let uploaded = world.upload("ada").await;
    until(&mut watch, |change| is_video(change, |video| video.state() == video::State::Processing)).await;
    world.jobs.change(&uploaded.name, run);
    advance(&world, &uploaded.name, 10.0);
    until(&mut watch, |change| is_video(change, |video| video.progress.is_some())).await;
    world.videos("ada").delete_video(DeleteVideoRequest { name: uploaded.name.clone() }).await.unwrap();
    until(&mut watch, |change| *change == Change::Deleted(uploaded.name.clone())).await;
}

async fn changes_that_were_never_told_of_arrive_all_the_same(world: World) {
    let deaf = world.deaf_replica().await;
    let mut library = watch_library(&deaf, 0).await;
    until(&mut library, |change| *change == Change::CaughtUp(true)).await;

    let (opened, _) = world.create("ada", 1000).await;
    until(&mut library, |change| is_video(change, |video| video.name == opened.video)).await;
    let request = WatchVideoRequest { name: opened.video.clone(), revision: 0 };
    let mut states = deaf.videos("ada").watch_video(request).await.unwrap().into_inner();
    assert_eq!(next(&mut states).await.unwrap().video.unwrap().state(), video::State::Uploading);

    world.videos("ada").delete_video(DeleteVideoRequest { name: opened.video.clone() }).await.unwrap();
    let seen = until(&mut library, |change| *change == Change::Deleted(opened.video.clone())).await;
    assert_eq!(seen.len(), 1, "what had not changed was sent again: {seen:?}");
    assert!(next(&mut states).await.is_none());
}
