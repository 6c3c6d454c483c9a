//! Where the profile folder is.

use crate::support::{ClientFixture, CommandOutput, wait_for_output};

/// Runs a command with a profile folder named by the environment.
async fn run_with_environment(client: &ClientFixture, line: &str) -> CommandOutput {
    let mut command = client.command(&client.server.url(), line);
    // The default folder is redirected too, so that the test never uses the real home folder.
    command.env("XDG_CONFIG_HOME", client.path("default")).env("REELMILL_PROFILE_DIR", client.path("named"));
    wait_for_output(command.spawn().unwrap()).await
}

const SIGN_UP: &str = "sign-up --email a@b.c --password-file password";

#[tokio::test]
async fn profile_dir_environment_variable_replaces_the_default() {
    let client = ClientFixture::new().await;
    run_with_environment(&client, SIGN_UP).await.assert_exit_code(0);
    assert!(client.path("named/credentials.json").exists() && !client.path("default").exists());
    run_with_environment(&client, "videos").await.assert_exit_code(0);
}

#[tokio::test]
async fn profile_dir_option_overrides_the_environment_variable() {
    let client = ClientFixture::new().await;
    run_with_environment(&client, SIGN_UP).await.assert_exit_code(0);
    let output = run_with_environment(&client, "videos --profile-dir other").await;
    output.assert_exit_code(4).assert_only_error("NOT_SIGNED_IN");
}
