//! `cancel`, `retry` and `priority`.

use reelmill_proto::{
    transcode::{Waiting, transcode_options::Profile},
    upload::{Video, video::State},
};

use crate::support::{ClientFixture, fake_server::ready_video};

#[tokio::test]
async fn retry_failed_video_prints_it_as_processing() {
    let client = ClientFixture::signed_in().await;
    client.server.state().is_failed = true;
    let output = client.run("retry 1 --json").await.assert_exit_code(0);
    assert_eq!(output.json()["state"], "PROCESSING");
    let retried = client.server.state().retried.clone();
    assert_eq!((retried[0].name.as_str(), &retried[0].options), ("jobs/1", &None), "the same options");
}

#[tokio::test]
async fn retry_with_wait_and_options_follows_the_video() {
    let client = ClientFixture::signed_in().await;
    client.server.state().is_failed = true;
    let waiting = Waiting { reason: "SOURCE_UNREADABLE".into(), message: "403".into(), since_time: None };
    let processing = Video {
        name: "videos/1".into(),
        state: State::Processing.into(),
        waiting: Some(waiting),
        ..Video::default()
    };
    client.server.state().watch_streams.push_back(vec![Ok(processing), Ok(ready_video("videos/1"))]);
    let output = client.run("retry 1 --wait --profile hevc --json").await.assert_exit_code(0);
    assert_eq!(output.json()["state"], "READY");
    let options = client.server.state().retried[0].options.clone().unwrap();
    assert_eq!(options.profile(), Profile::Hevc);
}

#[tokio::test]
async fn cancel_processing_video_prints_it_as_failed() {
    let client = ClientFixture::signed_in().await;
    client.server.state().is_encoding = true;
    let output = client.run("cancel 1 --json").await.assert_exit_code(0);
    assert_eq!(output.json()["state"], "FAILED");
}

#[tokio::test]
async fn retry_video_without_job_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    client.run("retry 1 --json").await.assert_exit_code(4).assert_only_error("VIDEO_WITHOUT_JOB");
    client.run("cancel 1 --json").await.assert_exit_code(4).assert_only_error("VIDEO_WITHOUT_JOB");
}

#[tokio::test]
async fn priority_sets_that_of_the_videos_job() {
    let client = ClientFixture::signed_in().await;
    client.server.state().is_encoding = true;
    let output = client.run("priority 1 high --json").await.assert_exit_code(0);
    let job = output.json();
    assert_eq!((&job["name"], &job["priority"]), (&"jobs/1".into(), &"HIGH".into()));
    client.run("priority 1 urgent").await.assert_exit_code(2);
}
