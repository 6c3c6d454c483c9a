//! Errors that any command can end with: wrong usage, an unreachable server, a failing server.

use std::time::Duration;

use tonic::Code;

use crate::support::{
    ClientFixture,
    fake_server::{error, rate_limited},
    unused_url,
};

const RETRY_DELAY: Duration = Duration::from_millis(10);

#[tokio::test]
async fn any_command_unknown_command_exits_with_2() {
    let client = ClientFixture::new().await;
    client.run("fly").await.assert_exit_code(2);
}

#[tokio::test]
async fn any_command_invalid_server_address_exits_with_2() {
    let client = ClientFixture::new().await;
    let output = client.run_at("not-an-address", "videos").await;
    output.assert_exit_code(2).assert_only_error("SERVER_ADDRESS_INVALID");
}

#[tokio::test]
async fn any_command_internal_server_error_exits_with_1() {
    let client = ClientFixture::signed_in().await;
    client.server.state().errors.push_back(error(Code::Internal, "INTERNAL"));
    client.run("videos --json").await.assert_exit_code(1).assert_only_error("INTERNAL");
}

#[tokio::test]
async fn sign_in_unreachable_server_exits_with_3() {
    let client = ClientFixture::new().await;
    let line = "sign-in --email a@b.c --password-file password --json";
    let output = client.run_at(&unused_url(), line).await.assert_exit_code(3);
    assert!(output.stderr.contains("refused"), "{output:?}");
    output.assert_only_error("SERVER_UNREACHABLE");
}

/// Commands that need credentials.
const AUTHENTICATED_COMMANDS: [&str; 6] =
    ["videos --json", "jobs", "watch 1", "download 1", "delete 1 --yes", "upload password --json"];

#[tokio::test]
async fn authenticated_commands_not_signed_in_and_unreachable_server_exit_with_3() {
    let client = ClientFixture::new().await;
    let url = unused_url();
    for line in AUTHENTICATED_COMMANDS {
        let output = client.run_at(&url, line).await.assert_exit_code(3);
        assert!(output.stderr.contains("refused"), "{line}: {output:?}");
        output.assert_only_error("SERVER_UNREACHABLE");
    }
}

#[tokio::test]
async fn authenticated_commands_not_signed_in_exit_with_4() {
    let client = ClientFixture::new().await;
    for line in AUTHENTICATED_COMMANDS {
        client.run(line).await.assert_exit_code(4).assert_only_error("NOT_SIGNED_IN");
    }
}

#[tokio::test]
async fn any_command_exhausted_quota_is_retried() {
    let client = ClientFixture::signed_in().await;
    client.server.state().errors.extend((0..2).map(|_| rate_limited(RETRY_DELAY)));
    client.run("videos").await.assert_exit_code(0);
}

#[tokio::test]
async fn any_command_permanently_exhausted_quota_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    client.server.state().errors.extend((0..50).map(|_| rate_limited(RETRY_DELAY)));
    client.run("videos --json").await.assert_exit_code(4).assert_only_error("RATE_LIMITED");
}
