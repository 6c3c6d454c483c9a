//! Starting and stopping. Every failure is one clear line and a non-zero exit code.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::support::{
    cli_user::CliUser,
    deployment::{Deployment, RoleProcess},
    media::clip,
};

/// Runs `reelmill ARGS`, which must fail, and returns its single line of output.
async fn start_error(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reelmill"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.envs(variables.iter().copied());
    let output = timeout(Duration::from_secs(20), command.output()).await.expect("an exit in time").unwrap();
    assert!(!output.status.success(), "{args:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[tokio::test]
async fn up_with_a_locked_folder_or_used_port_is_an_error() {
    let deployment = Deployment::single_process().await;
    let folder = deployment.folder.path();
    let line = start_error(folder, &["up", "--listen", "127.0.0.1:0"], &[]).await;
    assert!(line.contains("in use by another reelmill"), "{line}");
    let port = deployment.server.strip_prefix("http://").unwrap();
    let line = start_error(folder, &["up", "--data-dir", "other", "--listen", port], &[]).await;
    assert!(line.contains(port) && line.contains("in use"), "{line}");
    deployment.stop().await;
}

#[tokio::test]
async fn up_without_ffmpeg_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = [("REELMILL_WORKER__FFMPEG", "/nowhere/ffmpeg")];
    let line = start_error(folder.path(), &["up", "--listen", "127.0.0.1:0"], &missing).await;
    assert!(line.contains("/nowhere/ffmpeg"), "{line}");
}

#[tokio::test]
async fn up_with_an_unusable_data_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("file"), "").unwrap();
    let line = start_error(path, &["up", "--data-dir", "file/data"], &[]).await;
    assert!(line.contains("file/data"), "{line}");
    std::fs::create_dir(path.join("newer")).unwrap();
    std::fs::write(path.join("newer/format"), "99\n").unwrap();
    let line = start_error(path, &["up", "--data-dir", "newer"], &[]).await;
    assert!(line.contains("newer Reelmill"), "{line}");
    // Even root cannot create a folder here.
    let line = start_error(path, &["up", "--data-dir", "/proc/data"], &[]).await;
    assert!(line.contains("/proc/data"), "{line}");
    // Root may write here, so this checks something for other users only.
    let closed = path.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(closed.join("probe"), "").is_err() {
        let line = start_error(path, &["up", "--data-dir", "closed"], &[]).await;
        assert!(line.contains("closed"), "{line}");
    }
}

#[tokio::test]
async fn start_with_an_invalid_configuration_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "[gateway]\nport = 1\n").unwrap();
    let line = start_error(folder.path(), &["up", "--config", "bad.toml"], &[]).await;
    assert!(line.contains("port"), "{line}");
    let line = start_error(folder.path(), &["gateway"], &[]).await;
    assert!(line.contains("shared_state.url"), "{line}");
    let remote = [
        ("REELMILL_AUTH__DATABASE_URL", "postgres://u:p@127.0.0.1:9/x"),
        ("REELMILL_SHARED_STATE__URL", "memory:x"),
    ];
    let line = start_error(folder.path(), &["auth"], &remote).await;
    assert!(line.contains("secrets.mesh_key is required"), "{line}");
    for (variable, value) in [
        ("REELMILL_SECRETS__PLAYBACK_KEY_FILE", "/dev/null"),
        ("REELMILL_SECRETS__MESH_KEY_FILE", "/dev/null"),
        ("REELMILL_SECRETS__SIGNING_KEY_FILE", "/dev/null"),
        ("REELMILL_SECRETS__PLAYBACK_KEY", "short"),
    ] {
        let line = start_error(folder.path(), &["up", "--listen", "127.0.0.1:0"], &[(variable, value)]).await;
        assert!(line.contains("secrets."), "{variable}: {line}");
    }
}

#[tokio::test]
async fn start_with_an_invalid_backend_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let invalid = [("REELMILL_SHARED_STATE__URL", "radish://:secret@127.0.0.1:9/0")];
    let line = start_error(folder.path(), &["auth"], &invalid).await;
    assert!(line.contains("shared_state.url (radish://:(hidden)@127.0.0.1:9/0)"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_start_while_redis_and_sqs_are_unavailable_and_serve_when_they_come() {
    let mut deployment = Deployment::backends_only().await;
    let backends = deployment.backends();
    backends.redis.stop().await.unwrap();
    backends.sqs.stop().await.unwrap();
    deployment.start_all().await;
    let serving = timeout(Duration::from_secs(30), async {
        loop {
            let (status, body) = deployment.readiness().await;
            assert_eq!(status, 503, "{body}");
            if body.contains(r#""unavailable":["shared_state"]"#) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    serving.await.unwrap_or_else(|_| panic!("the roles start:\n{}", deployment.logs()));
    let backends = deployment.backends();
    backends.redis.restart().await.unwrap();
    backends.sqs.restart().await.unwrap();
    deployment.wait_until_ready().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "320x180", 4).await;
    assert_eq!(ann.upload(&file).await["state"], "READY", "{}", deployment.logs());
    // A later outage is shown, but what does not need it is served.
    deployment.backends().redis.stop().await.unwrap();
    let (status, body) = deployment.readiness().await;
    assert_eq!((status, body.contains("shared_state")), (200, true), "{body}");
    deployment.backends().redis.restart().await.unwrap();
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_start_while_postgres_is_unavailable_and_serve_when_it_comes() {
    let mut deployment = Deployment::backends_only().await;
    deployment.backends().postgres.stop().await.unwrap();
    deployment.start_all().await;
    let waiting = timeout(Duration::from_secs(30), async {
        while deployment.logs().matches("waiting for it").count() < 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waiting.await.unwrap_or_else(|_| panic!("three roles wait:\n{}", deployment.logs()));
    deployment.backends().postgres.restart().await.unwrap();
    deployment.wait_until_ready().await;
    CliUser::sign_up(&deployment, "ann").await;
    deployment.stop().await;
}

#[tokio::test]
async fn up_after_a_restart_keeps_sessions() {
    let mut deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let mut first = deployment.take("up");
    assert_eq!(first.interrupt().await, Some(0), "{}", first.log());
    let listen = deployment.server.strip_prefix("http://").unwrap().to_owned();
    deployment.up(&listen).await;
    // The session is still valid: secrets and databases were kept.
    ann.run(&["videos"]).await.expect_exit(0);
    deployment.stop().await;
}

#[tokio::test]
async fn config_hides_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("REELMILL_SECRETS__MESH_KEY".to_owned(), "do-not-print-this".to_owned())];
    let role = RoleProcess::start(folder.path(), &["config"], &variables);
    let output = role.child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("mesh_key = \"(hidden)\"") && !text.contains("do-not-print-this"), "{text}");
}
