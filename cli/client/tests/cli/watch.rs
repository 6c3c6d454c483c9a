//! `watch`, and `upload` that waits for its video.

use reelmill_proto::{
    transcode::{Failure, Warning},
    upload::{Video, video::State},
};
use tonic::Code;

use crate::support::{ClientFixture, bytes, fake_server::ready_video};

fn processing(revision: i64) -> Video {
    Video { name: "videos/1".into(), state: State::Processing.into(), revision, ..Video::default() }
}

/// A playable video that is still being encoded.
fn playable(revision: i64) -> Video {
    Video {
        playable: true,
        time_to_playable_seconds: 2.125,
        playback_uri: "http://h/play/t/1/master.m3u8".into(),
        warnings: vec![Warning { reason: "AUDIO_SHORT".into(), message: "the audio ends early".into() }],
        ..processing(revision)
    }
}

fn failed(revision: i64) -> Video {
    let failure = Failure { reason: "NOT_A_VIDEO".into(), message: "this is text".into() };
    Video { state: State::Failed.into(), failure: Some(failure), ..processing(revision) }
}

/// A stream in which the video becomes playable and then READY.
fn playable_then_ready() -> Vec<Result<Video, Code>> {
    vec![Ok(processing(4)), Ok(playable(5)), Ok(ready_video("videos/1"))]
}

#[tokio::test]
async fn watch_broken_stream_is_resumed_from_the_last_revision() {
    let client = ClientFixture::signed_in().await;
    client.server.state().watch_streams.extend([
        vec![Ok(processing(4)), Err(Code::Unavailable)],
        vec![Ok(processing(5))],
        vec![Ok(processing(6)), Ok(ready_video("videos/1"))],
    ]);
    let output = client.run("watch 1 --json").await.assert_exit_code(0);
    assert_eq!(output.json()["playbackUri"], "http://h/play/t/master.m3u8");
    assert_eq!(output.stderr, "", "progress is shown only on a terminal");
    assert_eq!(client.server.state().watch_revisions, [0, 4, 5]);
}

#[tokio::test]
async fn watch_and_upload_until_playable_return_before_the_video_is_ready() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    for line in ["watch 1 --until playable --json", "upload a.mp4 --until playable --json"] {
        client.server.state().watch_streams.push_back(playable_then_ready());
        let output = client.run(line).await.assert_exit_code(0);
        let video = output.json();
        assert_eq!(video["state"], "PROCESSING", "{line}");
        assert_eq!(video["playable"], true, "{line}");
        assert_eq!(video["timeToPlayableSeconds"], 2.125, "{line}");
        assert_eq!(video["warnings"][0]["reason"], "AUDIO_SHORT", "{line}");
        assert_eq!(output.stderr, "", "{line}");
    }
}

#[tokio::test]
async fn watch_and_upload_until_ready_wait_for_the_whole_video() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    for line in ["watch 1 --json", "watch 1 --until ready --json", "upload a.mp4 --until ready --json"] {
        client.server.state().watch_streams.push_back(playable_then_ready());
        let output = client.run(line).await.assert_exit_code(0);
        let video = output.json();
        assert_eq!(video["state"], "READY", "{line}");
        assert_eq!(video["playable"], true, "{line}");
        assert_eq!(output.stderr, "", "{line}");
    }
}

#[tokio::test]
async fn watch_playable_video_prints_warnings_time_and_playback_url() {
    let client = ClientFixture::signed_in().await;
    client.server.state().watch_streams.push_back(playable_then_ready());
    let stdout = client.run("watch 1 --until playable").await.assert_exit_code(0).stdout;
    let end = "  warning: the audio ends early (AUDIO_SHORT)\n  playable after 2.1 s\nhttp://h/play/t/1/master.m3u8\n";
    assert!(stdout.ends_with(end), "{stdout}");
}

#[tokio::test]
async fn watch_until_playable_failed_video_exits_with_1() {
    let client = ClientFixture::signed_in().await;
    client.server.state().watch_streams.push_back(vec![Ok(processing(1)), Ok(failed(7))]);
    let output = client.run("watch 1 --until playable --json").await.assert_exit_code(1);
    let video = output.json();
    assert_eq!((&video["state"], &video["playable"]), (&"FAILED".into(), &false.into()));
}

#[tokio::test]
async fn watch_and_upload_failed_video_exit_with_1_and_print_the_reason() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    for line in ["watch videos/1 --json", "upload a.mp4 --wait --json"] {
        client.server.state().watch_streams.push_back(vec![Ok(processing(1)), Ok(failed(7))]);
        let output = client.run(line).await.assert_exit_code(1);
        assert_eq!(output.json()["failure"]["reason"], "NOT_A_VIDEO", "{line}");
        assert_eq!(output.stderr, "error: videos/1 failed: this is text (NOT_A_VIDEO)\n", "{line}");
    }
}

#[tokio::test]
async fn watch_video_deleted_while_watching_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    let streams = [vec![Ok(processing(4))], vec![Err(Code::NotFound)]];
    client.server.state().watch_streams.extend(streams);
    client.run("watch 1 --json").await.assert_exit_code(4).assert_only_error("BROKEN_ON_PURPOSE");
}

#[tokio::test]
async fn upload_video_that_can_not_be_watched_is_printed_as_uploaded() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    client.server.state().watch_streams.push_back(vec![Err(Code::NotFound)]);
    let output = client.run("upload a.mp4 --wait --json").await.assert_exit_code(4);
    assert_eq!(output.json()["name"], "videos/1");
    assert!(output.stderr.contains("(BROKEN_ON_PURPOSE)"), "{output:?}");
}
