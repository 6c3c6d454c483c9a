//! Watching, and the end of an upload.

use reelmill_proto::{
    transcode::{Failure, Warning},
    upload::{Video, video::State},
};
use tonic::Code;

use crate::{Desk, bytes, services::ready};

fn processing(revision: i64) -> Video {
    Video { name: "videos/1".into(), state: State::Processing.into(), revision, ..Video::default() }
}

#[tokio::test]
async fn a_broken_watch_goes_on_where_it_was() {
    let desk = Desk::signed_in().await;
    desk.fake.state().watches.extend([
        vec![Ok(processing(4)), Err(Code::Unavailable)],
        vec![Ok(processing(5))],
        vec![Ok(processing(6)), Ok(ready("videos/1"))],
    ]);
    let ended = desk.run("watch 1 --json").await.expect(0);
    assert_eq!(ended.json()["playbackUri"], "http://h/play/t/master.m3u8");
    assert_eq!(ended.stderr, "", "progress is for terminals");
    assert_eq!(desk.fake.state().watch_revisions, [0, 4, 5]);
}

/// Plays, and is still being encoded.
fn playable(revision: i64) -> Video {
    Video {
        playable: true,
        time_to_playable_seconds: 2.125,
        playback_uri: "http://h/play/t/1/master.m3u8".into(),
        warnings: vec![Warning { reason: "AUDIO_SHORT".into(), message: "the sound ends early".into() }],
        ..processing(revision)
    }
}

#[tokio::test]
async fn a_video_is_followed_until_it_is_playable_or_ready() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(10));
    let script = || vec![Ok(processing(4)), Ok(playable(5)), Ok(ready("videos/1"))];
    for (line, state) in [
        ("watch 1 --until playable --json", "PROCESSING"),
        ("upload a.mp4 --until playable --json", "PROCESSING"),
        ("watch 1 --json", "READY"),
        ("watch 1 --until ready --json", "READY"),
        ("upload a.mp4 --until ready --json", "READY"),
    ] {
        desk.fake.state().watches.push_back(script());
        let ended = desk.run(line).await.expect(0);
        let video = ended.json();
        assert_eq!(video["state"], state, "{line}");
        assert_eq!(video["playable"], true, "{line}");
        if state == "PROCESSING" {
            assert_eq!(video["timeToPlayableSeconds"], 2.125, "{line}");
            assert_eq!(video["warnings"][0]["reason"], "AUDIO_SHORT", "{line}");
        }
        assert_eq!(ended.stderr, "", "{line}");
    }
    desk.fake.state().watches.push_back(script());
    let told = desk.run("watch 1 --until playable").await.expect(0).stdout;
    let end = "  warning: the sound ends early (AUDIO_SHORT)\n  playable after 2.1 s\nhttp://h/play/t/1/master.m3u8\n";
    assert!(told.ends_with(end), "{told}");
}

#[tokio::test]
async fn a_video_that_fails_before_it_plays_ends_with_1() {
    let desk = Desk::signed_in().await;
    let failure = Failure { reason: "NOT_A_VIDEO".into(), message: "this is text".into() };
    let failed = Video { state: State::Failed.into(), failure: Some(failure), ..processing(7) };
    desk.fake.state().watches.push_back(vec![Ok(processing(1)), Ok(failed)]);
    let ended = desk.run("watch 1 --until playable --json").await.expect(1);
    assert_eq!((&ended.json()["state"], &ended.json()["playable"]), (&"FAILED".into(), &false.into()));
}

#[tokio::test]
async fn a_failed_video_ends_with_1_and_its_reason() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(10));
    let failure = Failure { reason: "NOT_A_VIDEO".into(), message: "this is text".into() };
    let failed = Video { state: State::Failed.into(), failure: Some(failure), ..processing(7) };
    for line in ["watch videos/1 --json", "upload a.mp4 --wait --json"] {
        desk.fake.state().watches.push_back(vec![Ok(processing(1)), Ok(failed.clone())]);
        let ended = desk.run(line).await.expect(1);
        assert_eq!(ended.json()["failure"]["reason"], "NOT_A_VIDEO", "{line}");
        assert_eq!(ended.stderr, "error: videos/1 failed: this is text (NOT_A_VIDEO)\n", "{line}");
    }
}

#[tokio::test]
async fn a_video_that_is_deleted_meanwhile_is_told() {
    let desk = Desk::signed_in().await;
    desk.fake.state().watches.extend([vec![Ok(processing(4))], vec![Err(Code::NotFound)]]);
    desk.run("watch 1 --json").await.expect(4).told("BROKEN_ON_PURPOSE");
}
