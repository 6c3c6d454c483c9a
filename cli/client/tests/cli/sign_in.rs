//! `sign-up`, `sign-in` and `sign-out`.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::ClientFixture;

const SIGN_UP: &str = "sign-up --email a@b.c --password-file password";
const SIGN_IN: &str = "sign-in --email a@b.c --password-file password";

#[tokio::test]
async fn sign_up_prints_the_user_and_no_token() {
    let client = ClientFixture::new().await;
    let output = client.run(&format!("--json {SIGN_UP}")).await.assert_exit_code(0);
    assert_eq!(output.json()["name"], "users/u");
    assert_eq!(output.stderr, "");
    assert!(!output.stdout.contains("access-"));
}

#[tokio::test]
async fn sign_up_saves_credentials_private_to_their_owner() {
    let client = ClientFixture::new().await;
    client.run(SIGN_UP).await.assert_exit_code(0);
    let mode = |name| std::fs::metadata(client.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("profile/credentials.json"), mode("profile")), (0o600, 0o700));
    client.run("videos --json").await.assert_exit_code(0);
}

#[tokio::test]
async fn sign_up_existing_account_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    client.run(SIGN_UP).await.assert_exit_code(4).assert_only_error("EMAIL_TAKEN");
}

#[tokio::test]
async fn sign_out_ends_the_session_and_removes_the_credentials() {
    let client = ClientFixture::signed_in().await;
    assert_eq!(client.run("sign-out --json").await.assert_exit_code(0).json(), json!({}));
    assert_eq!(client.saved_credentials()["servers"], json!({}));
    assert!(client.server.state().refresh_token.is_none());
    client.run("videos").await.assert_exit_code(4).assert_only_error("NOT_SIGNED_IN");
}

#[tokio::test]
async fn sign_out_not_signed_in_succeeds() {
    let client = ClientFixture::signed_in().await;
    client.run("sign-out").await.assert_exit_code(0);
    client.run("sign-out").await.assert_exit_code(0);
}

#[tokio::test]
async fn sign_out_session_that_has_ended_removes_the_credentials() {
    let client = ClientFixture::signed_in().await;
    client.server.state().access_tokens.clear();
    client.server.state().refresh_token = None;
    client.run("sign-out").await.assert_exit_code(0);
    assert_eq!(client.saved_credentials()["servers"], json!({}));
}

#[tokio::test]
async fn sign_in_after_sign_out_succeeds() {
    let client = ClientFixture::signed_in().await;
    client.run("sign-out").await.assert_exit_code(0);
    client.run(SIGN_IN).await.assert_exit_code(0);
    client.run("videos").await.assert_exit_code(0);
}

#[tokio::test]
async fn sign_in_while_signed_in_ends_the_replaced_session() {
    let client = ClientFixture::signed_in().await;
    client.run(SIGN_IN).await.assert_exit_code(0);
    assert_eq!(client.server.state().access_tokens.iter().collect::<Vec<_>>(), ["access-2"]);
    client.run("videos").await.assert_exit_code(0);
}

#[tokio::test]
async fn sign_in_without_terminal_and_options_exits_with_2() {
    let client = ClientFixture::new().await;
    client.run("sign-in").await.assert_exit_code(2).assert_only_error("NOT_INTERACTIVE");
}

#[tokio::test]
async fn sign_in_empty_password_file_exits_with_2() {
    let client = ClientFixture::new().await;
    client.write_file("empty", b"");
    let output = client.run("sign-in --email a@b.c --password-file empty --json").await;
    output.assert_exit_code(2).assert_only_error("PASSWORD_EMPTY");
}

#[tokio::test]
async fn sign_in_wrong_password_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    client.write_file("wrong", b"wrong");
    let output = client.run("sign-in --email a@b.c --password-file wrong --json").await;
    output.assert_exit_code(4).assert_only_error("CREDENTIALS_WRONG");
}
