//! `delete`.

use crate::support::ClientFixture;

#[tokio::test]
async fn delete_existing_video_prints_an_empty_object() {
    let client = ClientFixture::signed_in().await;
    let output = client.run("delete existing --json").await.assert_exit_code(0);
    assert_eq!(output.json(), serde_json::json!({}));
}

#[tokio::test]
async fn delete_unknown_video_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    client.run("delete nothing --json").await.assert_exit_code(4).assert_only_error("VIDEO_NOT_FOUND");
}

#[tokio::test]
async fn delete_help_says_when_it_does_not_ask() {
    let help = ClientFixture::new().await.run("delete --help").await.assert_exit_code(0).stdout;
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Without a terminal to ask on, or with --json, it does not ask"), "{help}");
}
