//! The page in a real browser: sign in, upload, follow the processing, play to the end.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::support::{
    cli_user::{CliUser, PASSWORD},
    deployment::Deployment,
    media::{clip, uneven_clip},
};

/// Folder for screenshots, for review.
const SCREENSHOTS: &str = env!("CARGO_TARGET_TMPDIR");

/// Runs a browser on the page and returns its report.
async fn play(deployment: &Deployment, user: &CliUser, name: &str, more: &[&str]) -> Value {
    let screenshots = Path::new(SCREENSHOTS).join(name).display().to_string();
    let own = ["--email", &user.email, "--password", PASSWORD, "--screenshots", &screenshots];
    browse(deployment, "play.mjs", &[&own, more].concat()).await
}

/// Runs a script that drives a browser, and returns its report.
async fn browse(deployment: &Deployment, script: &str, args: &[&str]) -> Value {
    let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/test"));
    let ran = Command::new("node")
        .arg(scripts.join(script))
        .args(["--server", &deployment.server])
        .args(args)
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(260), ran).await.expect("the browser ends in time").unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        deployment.logs()
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_plays_a_video_to_the_end() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "1280x720", 8).await;
    let video = ann.upload(&file).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    play(&deployment, &ann, "plays", &["--video", video["name"].as_str().unwrap()]).await;
    deployment.stop().await;
}

/// Another player for the same playlists and segments.
#[tokio::test(flavor = "multi_thread")]
async fn shaka_plays_every_rung_by_hls_and_dash() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "1280x720", 12).await;
    let video = ann.upload(&file).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    let uri = |name: &str| video[name].as_str().unwrap().to_owned();
    let (hls, dash) = (uri("playbackUri"), uri("dashUri"));
    let report = browse(&deployment, "players.mjs", &["--hls", &hls, "--dash", &dash]).await;
    for kind in ["hls", "dash"] {
        assert_eq!(report[kind]["heights"], serde_json::json!([360, 480, 720]), "{report}");
        assert!((report[kind]["duration"].as_f64().unwrap() - 12.0).abs() < 0.2, "{report}");
    }
    deployment.stop().await;
}

/// Where one track ended before the others, players stopped there for ever.
#[tokio::test(flavor = "multi_thread")]
async fn players_reach_the_end_of_a_video_whose_tracks_differ_in_length() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    for (name, picture, sound) in [("short sound.mp4", 18, 3), ("short picture.mp4", 3, 18)] {
        let file = uneven_clip(deployment.folder.path(), name, picture, sound).await;
        let video = ann.upload(&file).await;
        assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
        assert_eq!(video["warnings"], serde_json::json!([]), "{name}");
        let uri = |name: &str| video[name].as_str().unwrap().to_owned();
        let report =
            browse(&deployment, "players.mjs", &["--hls", &uri("playbackUri"), "--dash", &uri("dashUri")])
                .await;
        for kind in ["hls", "dash"] {
            assert!((report[kind]["duration"].as_f64().unwrap() - 18.0).abs() < 0.2, "{name}: {report}");
        }
        play(&deployment, &ann, &name.replace(' ', "-"), &["--video", video["name"].as_str().unwrap()]).await;
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_uploads_and_plays_a_video() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "from the page.mp4", "640x360", 6).await;
    play(&deployment, &ann, "uploads", &["--upload", &file.display().to_string()]).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_plays_a_video_while_it_is_processed() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "long.mp4", "1280x720", 50).await.display().to_string();
    let early = ["--upload", &file, "--early", "--levels", "3", "--seconds", "240"];
    let report = play(&deployment, &ann, "early", &early).await;
    let length = report["playback"]["duration"].as_f64().unwrap();
    assert!((length - 50.0).abs() < 0.2, "{report}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_plays_real_files() {
    let Ok(media) = std::env::var("REELMILL_MEDIA") else {
        // Not captured by the test harness.
        let words = b"skipped: page_plays_real_files, REELMILL_MEDIA is not set\n";
        std::io::Write::write_all(&mut std::io::stderr(), words).unwrap();
        return;
    };
    let media = Path::new(&media).join("valid");
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    // A portrait MOV of a phone; 1080p with audio; WebM.
    let files = [
        ("phone", "PHP-FFMpeg+PHP-FFMpeg/portrait.MOV"),
        ("full", "Vanilagy+mediabunny/rotate-buck-bunny.mp4"),
        ("webm", "debian-renpy-demo/oa4_launch.webm"),
    ];
    for (name, file) in files {
        let video = ann.upload(&media.join(file)).await;
        assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
        let rung = &video["renditions"][0];
        let upright = rung["height"].as_i64() > rung["width"].as_i64();
        assert_eq!(upright, name != "webm", "{video}");
        assert!(!video["source"]["audioCodec"].as_str().unwrap().is_empty(), "{video}");
        play(&deployment, &ann, name, &["--video", video["name"].as_str().unwrap()]).await;
    }
    deployment.stop().await;
}
