//! Access tokens that expire or are rejected.

use crate::support::{ClientFixture, wait_for_output, wait_until};

#[tokio::test]
async fn refresh_several_processes_refresh_an_expiring_token_once() {
    let client = ClientFixture::new().await;
    client.server.state().access_token_seconds = 10;
    client.run("sign-up --email a@b.c --password-file password").await.assert_exit_code(0);
    let processes: Vec<_> = (0..6).map(|_| client.start("videos --json")).collect();
    for process in processes {
        wait_for_output(process).await.assert_exit_code(0);
    }
    let state = client.server.state();
    assert_eq!((state.refreshes, state.replays), (1, 0));
}

#[tokio::test]
async fn refresh_rejected_token_is_refreshed_once() {
    let client = ClientFixture::signed_in().await;
    client.server.state().access_tokens.clear();
    client.run("videos").await.assert_exit_code(0);
    assert_eq!(client.server.state().refreshes, 1);
}

#[tokio::test]
async fn refresh_ended_session_is_reported_and_its_credentials_are_removed() {
    let client = ClientFixture::signed_in().await;
    client.server.state().access_tokens.clear();
    client.server.state().refresh_token = None;
    client.run("videos").await.assert_exit_code(4).assert_only_error("REFRESH_TOKEN_REPLAYED");
    client.run("videos").await.assert_exit_code(4).assert_only_error("NOT_SIGNED_IN");
}

#[tokio::test]
async fn refresh_whose_response_was_lost_is_repeated_by_the_same_command() {
    let client = ClientFixture::signed_in().await;
    client.server.state().access_tokens.clear();
    client.server.state().lost_refreshes = 1;
    client.run("videos").await.assert_exit_code(0);
    let state = client.server.state();
    assert_eq!((state.refreshes, state.replays), (2, 0));
}

#[tokio::test]
async fn refresh_whose_response_was_lost_with_the_command_is_repeated_by_the_next_one() {
    let client = ClientFixture::signed_in().await;
    client.server.state().access_tokens.clear();
    client.server.state().lost_refreshes = u32::MAX;
    let mut killed = client.start("videos");
    wait_until("a refresh", || client.server.state().refreshes > 0).await;
    killed.start_kill().unwrap();
    killed.wait().await.unwrap();
    client.server.state().lost_refreshes = 0;
    client.run("videos").await.assert_exit_code(0);
    client.server.state().access_tokens.clear();
    client.run("videos").await.assert_exit_code(0);
    assert_eq!(client.server.state().replays, 0);
}
