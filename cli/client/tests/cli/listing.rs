//! `videos` and `jobs`.

use reelmill_proto::{transcode::job::State, upload::Video};

use crate::support::ClientFixture;

/// A client whose server has five videos, on three pages, with titles that contain escape sequences.
async fn client_with_videos() -> ClientFixture {
    let client = ClientFixture::signed_in().await;
    let title = |n: usize| format!("title {n} \x1b[31m映画\nnext");
    let video = |n| Video { name: format!("videos/{n}"), display_name: title(n), ..Video::default() };
    client.server.state().videos = (0..5).map(video).collect();
    client
}

#[tokio::test]
async fn videos_json_contains_all_pages() {
    let client = client_with_videos().await;
    let list = client.run("videos --json").await.assert_exit_code(0).json();
    assert_eq!(list["videos"].as_array().unwrap().len(), 5);
    assert_eq!(list["videos"][4]["name"], "videos/4");
    assert_eq!(list["nextPageToken"], "");
}

#[tokio::test]
async fn videos_table_has_sanitized_titles() {
    let client = client_with_videos().await;
    let table = client.run("videos").await.assert_exit_code(0).stdout;
    assert!(table.lines().count() == 6 && !table.contains('\x1b') && table.contains("映画"), "{table}");
}

#[tokio::test]
async fn jobs_json_contains_the_jobs() {
    let client = ClientFixture::signed_in().await;
    let list = client.run("jobs --json").await.assert_exit_code(0).json();
    assert_eq!(list["jobs"][0]["state"], "RUNNING");
}

#[tokio::test]
async fn jobs_with_filters_requests_them() {
    let client = ClientFixture::signed_in().await;
    let line = "jobs --state queued --state running --video abc --last-hours 2 --oldest-first --json";
    client.run(line).await.assert_exit_code(0);
    let request = client.server.state().listed_jobs[0].clone();
    assert_eq!(request.states().collect::<Vec<_>>(), [State::Queued, State::Running]);
    assert_eq!((request.video.as_str(), request.order_by.as_str()), ("videos/abc", "create_time"));
    assert!(request.created_after.is_some() && request.created_before.is_none());
}
