//! Starting and stopping: what goes wrong is one clear line and a non-zero exit.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::sandbox::{Role, Sandbox};

/// Runs `reelmill ARGS` where it must not start; answers its one line.
async fn fails(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reelmill"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.envs(variables.iter().copied());
    let output = timeout(Duration::from_secs(20), command.output()).await.expect("it must end").unwrap();
    assert!(!output.status.success(), "{args:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[tokio::test]
async fn a_second_instance_and_a_used_port_are_named() {
    let sandbox = Sandbox::together().await;
    let folder = sandbox.folder.path();
    let line = fails(folder, &["up", "--listen", "127.0.0.1:0"], &[]).await;
    assert!(line.contains("in use by another reelmill"), "{line}");
    let port = sandbox.server.strip_prefix("http://").unwrap();
    let line = fails(folder, &["up", "--data-dir", "other", "--listen", port], &[]).await;
    assert!(line.contains(port) && line.contains("in use"), "{line}");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_missing_ffmpeg_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = [("REELMILL_WORKER__FFMPEG", "/nowhere/ffmpeg")];
    let line = fails(folder.path(), &["up", "--listen", "127.0.0.1:0"], &missing).await;
    assert!(line.contains("/nowhere/ffmpeg"), "{line}");
}

#[tokio::test]
async fn folders_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("file"), "").unwrap();
    let line = fails(path, &["up", "--data-dir", "file/data"], &[]).await;
    assert!(line.contains("file/data"), "{line}");
    std::fs::create_dir(path.join("newer")).unwrap();
    std::fs::write(path.join("newer/format"), "99\n").unwrap();
    let line = fails(path, &["up", "--data-dir", "newer"], &[]).await;
    assert!(line.contains("newer Reelmill"), "{line}");
    // A place where even root can't make a folder.
    let line = fails(path, &["up", "--data-dir", "/proc/data"], &[]).await;
    assert!(line.contains("/proc/data"), "{line}");
    // Root may write anywhere else, so this one shows something to other users only.
    let closed = path.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(closed.join("probe"), "").is_err() {
        let line = fails(path, &["up", "--data-dir", "closed"], &[]).await;
        assert!(line.contains("closed"), "{line}");
    }
}

#[tokio::test]
async fn wrong_configuration_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[gateway]\nport = 1\n").unwrap();
    let line = fails(folder.path(), &["up", "--config", "bad.toml"], &[]).await;
    assert!(line.contains("port"), "{line}");
    let line = fails(folder.path(), &["gateway"], &[]).await;
    assert!(line.contains("shared_state.url"), "{line}");
    let remote = [
        ("REELMILL_AUTH__DATABASE_URL", "postgres://u:p@127.0.0.1:9/x"),
        ("REELMILL_SHARED_STATE__URL", "memory:x"),
    ];
    let line = fails(folder.path(), &["auth"], &remote).await;
    assert!(line.contains("secrets.mesh_key is required"), "{line}");
}

#[tokio::test]
async fn backends_that_are_away_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let away = [("REELMILL_SHARED_STATE__URL", "redis://:secret@127.0.0.1:9/0")];
    let line = fails(folder.path(), &["auth"], &away).await;
    assert!(line.contains("shared_state.url (redis://:(hidden)@127.0.0.1:9/0)"), "{line}");
    let away = [
        ("REELMILL_OBJECTS__ENDPOINT", "http://127.0.0.1:9"),
        ("REELMILL_OBJECTS__ACCESS_KEY_ID", "key"),
        ("REELMILL_OBJECTS__SECRET_ACCESS_KEY", "secret"),
    ];
    let line = fails(folder.path(), &["up", "--listen", "127.0.0.1:0"], &away).await;
    assert!(line.contains("objects.endpoint") && line.contains("refused"), "{line}");
}

#[tokio::test]
async fn the_second_start_keeps_everything() {
    let mut sandbox = Sandbox::together().await;
    let ann = crate::client::Person::signed_up(&sandbox, "ann").await;
    let mut first = sandbox.take("up");
    assert_eq!(first.interrupt().await, Some(0), "{}", first.log());
    let listen = sandbox.server.strip_prefix("http://").unwrap().to_owned();
    sandbox.up(&listen).await;
    // The same session goes on: secrets and databases were kept.
    ann.run(&["videos"]).await.ended(0);
    sandbox.stop().await;
}

#[tokio::test]
async fn the_effective_configuration_hides_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("REELMILL_SECRETS__MESH_KEY".to_owned(), "do-not-print-this".to_owned())];
    let role = Role::start(folder.path(), &["config"], &variables);
    let output = role.child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("mesh_key = \"(hidden)\"") && !text.contains("do-not-print-this"), "{text}");
}
