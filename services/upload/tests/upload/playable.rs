//! Videos that play before their jobs end, and how they were asked to be encoded.

use std::time::Duration;

use reelmill_proto::{
    duration, timestamp,
    transcode::{
        Failure, Progress, Rendition, TranscodeOptions, Warning, WatchJobsResponse, job, rendition,
        transcode_options::{Preset, Profile},
    },
    upload::{
        CompleteUploadSessionRequest, CreatePlaybackRequest, CreatePlaybackResponse,
        CreateUploadSessionRequest, Video, WatchVideoRequest, video,
    },
};
use tonic::Status;

use crate::{
    following::{run, succeed},
    world::{World, content, eventually, new_file, next, reason},
};

crate::on_both!(
    a_video_plays_before_its_job_ends,
    a_new_plan_does_not_stop_playback,
    a_failure_ends_playback,
    progress_never_goes_back,
    the_way_of_encoding_reaches_the_job,
);

async fn playback(world: &World, name: &str) -> Result<CreatePlaybackResponse, Status> {
    let request = CreatePlaybackRequest { name: name.to_owned(), ttl: None };
    Ok(world.videos("ada").create_playback(request).await?.into_inner())
}

/// The first segments lie below `attempt` and can be played from `at` on, Unix milliseconds.
fn play_from(attempt: &str, at: i64) -> impl FnOnce(&mut WatchJobsResponse) {
    move |update| {
        let job = update.job.as_mut().unwrap();
        job.playable_time = Some(timestamp(at));
        update.master_playlist_key = key_of(&job.video, attempt, "master.m3u8");
    }
}

fn key_of(video: &str, attempt: &str, name: &str) -> String {
    format!("{}/{attempt}/{name}", video.replace("videos/", "outputs/"))
}

/// The end of an address, after its token.
fn path_of(uri: &str) -> &str {
    uri.splitn(6, '/').nth(5).unwrap_or_default()
}

async fn a_video_plays_before_its_job_ends(world: World) {
    let uploaded = world.upload("ada").await;
    assert!(!uploaded.playable);
    let name = uploaded.name.as_str();
    let request = WatchVideoRequest { name: name.to_owned(), revision: 0 };
    let mut states = world.videos("ada").watch_video(request).await.unwrap().into_inner();
    world.jobs.change(name, run);
    world.until_video("ada", name, |video| !video.renditions.is_empty()).await;
    assert_eq!(reason(playback(&world, name).await), "VIDEO_NOT_READY");

    let at = world.clock.now_millis() + 2150;
    world.jobs.change(name, play_from("a1", at));
    let playable = loop {
        let state = next(&mut states).await.unwrap().video.unwrap();
        if state.playable {
            break state;
        }
    };
    assert_eq!((playable.state(), playable.time_to_playable_seconds), (video::State::Processing, 2.15));
    assert_eq!(path_of(&playable.playback_uri), "a1/master.m3u8");
    assert_eq!((playable.poster_uri.as_str(), playable.dash_uri.as_str()), ("", ""));
    let passes = playback(&world, name).await.unwrap();
    assert_eq!(path_of(&passes.playback_uri), "a1/master.m3u8");

    // One rung is whole before the others: the video is no download yet.
    world.jobs.change(name, |update| {
        update.poster_key = key_of(name, "a1", "poster.jpg");
        update.job.as_mut().unwrap().renditions[1].state = rendition::State::Ready.into();
    });
    let with_poster = world.until_video("ada", name, |video| !video.poster_uri.is_empty()).await;
    assert!(with_poster.playable && with_poster.state() == video::State::Processing);
    let passes = playback(&world, name).await.unwrap();
    assert!(passes.download_uris.is_empty(), "{passes:?}");

    world.jobs.change(name, end_as_engines_do);
    let ready = world.until_video("ada", name, |video| video.state() == video::State::Ready).await;
    assert!(ready.playable && ready.time_to_playable_seconds == 2.15, "{ready:?}");
    assert_eq!(ready.warnings[0].reason, "AUDIO_TRUNCATED");
    assert_eq!(path_of(&ready.dash_uri), "a2/manifest.mpd");
    assert_eq!(path_of(&ready.thumbnails_uri), "a2/thumbnails.vtt");
    check_the_end(playback(&world, name).await.unwrap());
}

/// A job's end, with other keys than before, and with a rendition of sound.
fn end_as_engines_do(update: &mut WatchJobsResponse) {
    succeed(update);
    let job = update.job.as_mut().unwrap();
    job.warnings = vec![Warning { reason: "AUDIO_TRUNCATED".into(), message: "the sound ends early".into() }];
    job.renditions.push(Rendition {
        rendition_id: "audio-0".into(),
        kind: rendition::Kind::Audio.into(),
        state: rendition::State::Ready.into(),
        ..Rendition::default()
    });
    let video = job.video.clone();
    update.master_playlist_key = key_of(&video, "a2", "master.m3u8");
    update.dash_manifest_key = key_of(&video, "a2", "manifest.mpd");
    update.thumbnails_key = key_of(&video, "a2", "thumbnails.vtt");
    update.download_keys = ["720p", "audio-0"]
        .map(|id| (id.to_owned(), key_of(&video, "3", &format!("{id}/whole.mp4"))))
        .into_iter()
        .collect();
}

fn check_the_end(passes: CreatePlaybackResponse) {
    assert_eq!(path_of(&passes.playback_uri), "a2/master.m3u8");
    assert_eq!(path_of(&passes.dash_uri), "a2/manifest.mpd");
    assert_eq!(path_of(&passes.thumbnails_uri), "a2/thumbnails.vtt");
    let mut downloads: Vec<(&str, &str)> =
        passes.download_uris.iter().map(|(id, uri)| (id.as_str(), path_of(uri))).collect();
    downloads.sort_unstable();
    let expected = [
        ("720p", "3/720p/whole.mp4?download=clip%2D720p%2Emp4"),
        ("audio-0", "3/audio-0/whole.mp4?download=clip%2Daudio%2D0%2Emp4"),
    ];
    assert_eq!(downloads, expected);
}

async fn a_new_plan_does_not_stop_playback(world: World) {
    let uploaded = world.upload("ada").await;
    let name = uploaded.name.as_str();
    world.jobs.change(name, run);
    let at = world.clock.now_millis() + 1000;
    let before = world.jobs.change(name, play_from("a1", at));
    world.until_video("ada", name, |video| video.playable).await;

    // Planned again: for a while there is nothing to play.
    let planned = world.jobs.change(name, |update| {
        update.master_playlist_key.clear();
        let job = update.job.as_mut().unwrap();
        job.playable_time = None;
        job.renditions.truncate(1);
    });
    let planned_again = world.until_video("ada", name, |video| video.renditions.len() == 1).await;
    assert!(planned_again.playable, "it stopped being playable");
    assert_eq!(path_of(&planned_again.playback_uri), "a1/master.m3u8");

    world.jobs.change(name, play_from("a2", at + 60_000));
    let moved =
        world.until_video("ada", name, |video| path_of(&video.playback_uri) == "a2/master.m3u8").await;
    assert_eq!(moved.time_to_playable_seconds, 1.0, "the moment moved");
    // Late and repeated.
    for late in [planned.clone(), before, planned] {
        world.jobs.send(late);
    }
    let other = world.upload("ada").await;
    world.jobs.change(&other.name, run);
    world.until_video("ada", &other.name, |video| !video.renditions.is_empty()).await;
    let still = world.video("ada", name).await.unwrap();
    assert_eq!((still.revision, path_of(&still.playback_uri)), (moved.revision, "a2/master.m3u8"));
}

async fn a_failure_ends_playback(world: World) {
    let uploaded = world.upload("ada").await;
    let name = uploaded.name.as_str();
    world.jobs.change(name, play_from("a1", world.clock.now_millis()));
    world.until_video("ada", name, |video| video.playable).await;
    world.jobs.change(name, |update| {
        let job = update.job.as_mut().unwrap();
        job.state = job::State::Failed.into();
        job.failure = Some(Failure { reason: "SOURCE_DAMAGED".into(), message: "send it again".into() });
    });
    let failed = world.until_video("ada", name, |video| video.state() == video::State::Failed).await;
    assert!(!failed.playable && failed.playback_uri.is_empty() && failed.time_to_playable_seconds == 0.0);
    assert_eq!(reason(playback(&world, name).await), "VIDEO_NOT_READY");
}

/// What a job tells of one rung's progress, without a stored change.
fn report(world: &World, video: &str, percent: f64, frames: i64, segments_ready: i64) {
    let mut update = world.jobs.job_of(video);
    let job = update.job.as_mut().unwrap();
    let progress = Progress { percent, frames, segments_ready, fps: percent, ..Progress::default() };
    job.progress = Some(progress);
    job.renditions[0].progress = Some(progress);
    world.jobs.send(update);
}

async fn progress_never_goes_back(world: World) {
    let uploaded = world.upload("ada").await;
    let name = uploaded.name.as_str();
    world.jobs.change(name, run);
    let told = |fps: f64| {
        let world = &world;
        async move {
            let is_told = |video: &Video| video.progress.is_some_and(|progress| progress.fps == fps);
            world.until_video("ada", name, is_told).await
        }
    };
    report(&world, name, 40.0, 400, 3);
    told(40.0).await;
    // From a worker that took over what another had begun.
    report(&world, name, 25.0, 450, 2);
    let video = told(25.0).await;
    for progress in [video.progress, video.renditions[0].progress] {
        let progress = progress.unwrap();
        assert_eq!((progress.percent, progress.frames, progress.segments_ready), (40.0, 450, 3));
    }
    // Of a rung that is not told of for once, what was told holds.
    let mut silent = world.jobs.job_of(name);
    silent.job.as_mut().unwrap().progress = Some(Progress { percent: 50.0, fps: 1.0, ..Progress::default() });
    world.jobs.send(silent);
    let video = told(1.0).await;
    assert_eq!(video.renditions[0].progress.unwrap().segments_ready, 3);
    assert!(video.renditions[1].progress.is_none());
}

fn options() -> TranscodeOptions {
    TranscodeOptions {
        profile: Profile::Av1.into(),
        preset: Preset::Small.into(),
        rungs: vec![720, 480],
        keep_hdr: true,
        poster_time: Some(duration(Duration::from_millis(2500))),
    }
}

async fn the_way_of_encoding_reaches_the_job(world: World) {
    let uploaded = world.upload_with("ada", Some(options())).await;
    assert_eq!(uploaded.options, Some(options()));
    assert_eq!(world.jobs.created().pop().unwrap().options, Some(options()));

    world.jobs.set_away(true);
    let late = world.upload_with("ada", Some(options())).await;
    assert_eq!(late.job, "");
    world.jobs.set_away(false);
    world.until_video("ada", &late.name, |video| !video.job.is_empty()).await;
    let asked = world.jobs.created().pop().unwrap();
    assert_eq!((asked.video.as_str(), asked.options), (late.name.as_str(), Some(options())));

    let plain = world.upload("ada").await;
    assert_eq!((plain.options, world.jobs.created().pop().unwrap().options), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_of_encoding_that_cannot_be_is_refused() {
    let world = World::sqlite().await;
    let mut uploads = world.uploads("ada");
    let with = |options: TranscodeOptions| CreateUploadSessionRequest {
        options: Some(options),
        request_id: "once".to_owned(),
        ..new_file(10)
    };
    let early = prost_types::Duration { seconds: -1, nanos: 0 };
    for bad in [
        TranscodeOptions { rungs: vec![720, 63], ..options() },
        TranscodeOptions { rungs: vec![480; 17], ..options() },
        TranscodeOptions { poster_time: Some(early), ..options() },
        TranscodeOptions { profile: 77, ..options() },
    ] {
        assert_eq!(reason(uploads.create_upload_session(with(bad)).await), "FIELD_INVALID");
    }
    uploads.create_upload_session(with(options())).await.unwrap();
    uploads.create_upload_session(with(options())).await.unwrap();
    let other = TranscodeOptions { rungs: vec![720], ..options() };
    assert_eq!(reason(uploads.create_upload_session(with(other)).await), "FIELD_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_play_counts_from_the_call_that_completed_and_is_never_negative() {
    let world = World::sqlite().await;
    let (opened, signed) = world.create("ada", 1000).await;
    let parts = world.put_all(&opened, &signed, &content(1000)).await;
    // A call that came to nothing does not count.
    assert_eq!(reason(world.complete("ada", &opened.name, &[]).await), "PART_MISSING");
    world.clock.advance(Duration::from_secs(100));
    world.hold_heads(true);
    let request = CompleteUploadSessionRequest { name: opened.name.clone(), parts };
    let mut uploads = world.uploads("ada");
    let called = world.clock.now_millis();
    let slow = tokio::spawn(async move { uploads.complete_upload_session(request).await });
    let joined = || async { (world.keys("sources/").await.len() == 1).then_some(()) };
    eventually("the parts are joined", joined).await;
    world.clock.advance(Duration::from_secs(5));
    world.hold_heads(false);
    let slow = slow.await.unwrap().unwrap().into_inner().video.unwrap();
    world.jobs.change(&slow.name, play_from("a1", called + 6000));
    let playable = world.until_video("ada", &slow.name, |video| video.playable).await;
    assert_eq!(playable.time_to_playable_seconds, 6.0);

    // The job's clock is another machine's.
    let early = world.upload("ada").await;
    world.jobs.change(&early.name, play_from("a1", world.clock.now_millis() - 3000));
    let playable = world.until_video("ada", &early.name, |video| video.playable).await;
    assert_eq!(playable.time_to_playable_seconds, 0.0);

    // A job that ends without having said that it plays.
    let sudden = world.upload("ada").await;
    world.clock.advance(Duration::from_secs(7));
    world.jobs.change(&sudden.name, succeed);
    let ready = world.until_video("ada", &sudden.name, |video| video.state() == video::State::Ready).await;
    assert!(ready.playable && ready.time_to_playable_seconds == 7.0, "{ready:?}");
}
