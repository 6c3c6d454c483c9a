//! One of the databases is restored to an earlier state, as after a backup, while the others are not.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::support::{
    cli_user::CliUser,
    deployment::{Deployment, admin},
    media::clip,
    playlists::Playlists,
};

const WAIT_LIMIT: Duration = Duration::from_secs(90);

const ROLES: [&str; 4] = ["auth", "transcode", "upload", "worker"];

/// Replaces a database by a copy, with all roles stopped that use one.
async fn replace_database(deployment: &mut Deployment, from: &str, to: &str) {
    for role in ROLES {
        deployment.take(role).kill().await;
    }
    let postgres = &deployment.backends().postgres;
    // Connections of killed processes end a moment later.
    let copied = timeout(WAIT_LIMIT, async {
        loop {
            let dropped = postgres.execute("postgres", &format!("DROP DATABASE IF EXISTS {to}")).await;
            let sql = format!("CREATE DATABASE {to} TEMPLATE {from}");
            if dropped.is_ok() && postgres.execute("postgres", &sql).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    copied.await.expect("the database is copied");
    for role in ROLES {
        deployment.start(role).await;
    }
    deployment.wait_until_ready().await;
}

/// The videos of a user by name, with their states.
async fn states(user: &CliUser) -> Vec<(String, String)> {
    let listed = user.run(&["videos", "--json"]).await.expect_exit(0).json();
    let videos = listed["videos"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    videos.map(|video| (text(&video["name"]), text(&video["state"]))).collect()
}

/// READY videos stay READY and playable. A video whose job is not in the restored database gets another one.
#[tokio::test(flavor = "multi_thread")]
async fn transcode_database_restored_to_an_earlier_state_loses_no_video() {
    let mut deployment = Deployment::distributed().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "320x180", 4).await;
    let long = clip(deployment.folder.path(), "long.mp4", "1280x720", 50).await;
    ann.upload(&file).await;
    replace_database(&mut deployment, "transcode", "backup").await;

    let ready_since = ann.upload(&file).await;
    let processing = ann.upload_until_playable(&long).await;
    replace_database(&mut deployment, "backup", "transcode").await;
    let reconciled = admin(&deployment, &["reconcile"]).await;
    assert_eq!(reconciled["videos"]["videosWithoutJob"], 1, "{reconciled}\n{}", deployment.logs());
    let name = processing["name"].as_str().unwrap();
    let ended = ann.run(&["watch", name, "--json"]).await.expect_exit(0).json();
    assert_eq!(ended["state"], "READY", "{ended}\n{}", deployment.logs());
    for (video, state) in states(&ann).await {
        assert_eq!(state, "READY", "{video}\n{}", deployment.logs());
    }
    let name = ready_since["name"].as_str().unwrap();
    let video = ann.run(&["watch", name, "--json"]).await.expect_exit(0).json();
    Playlists::of(&video).fetch().await;
    assert_eq!(ann.upload(&file).await["state"], "READY");
    deployment.stop().await;
}

/// Videos uploaded since are gone; the others, and new ones, are not affected.
#[tokio::test(flavor = "multi_thread")]
async fn upload_database_restored_to_an_earlier_state_keeps_earlier_videos() {
    let mut deployment = Deployment::distributed().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "320x180", 4).await;
    let earlier = ann.upload(&file).await;
    replace_database(&mut deployment, "upload", "backup").await;
    let lost = ann.upload(&file).await;
    replace_database(&mut deployment, "backup", "upload").await;
    let reconciled = admin(&deployment, &["reconcile"]).await;
    let id = lost["name"].as_str().unwrap().trim_start_matches("videos/");
    let unknown = [format!("outputs/{id}/"), format!("sources/{id}/")];
    assert_eq!(reconciled["storage"]["unknownPrefixes"], serde_json::json!(unknown), "{reconciled}");
    let name = earlier["name"].as_str().unwrap().to_owned();
    assert_eq!(states(&ann).await, [(name.clone(), "READY".to_owned())]);
    let video = ann.run(&["watch", &name, "--json"]).await.expect_exit(0).json();
    Playlists::of(&video).fetch().await;
    assert_eq!(ann.upload(&file).await["state"], "READY", "{}", deployment.logs());
    deployment.stop().await;
}
