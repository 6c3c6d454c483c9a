//! The page in a real browser: signing in, uploading, watching it become ready, playing to the end.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{
    client::{PASSWORD, Person, clip},
    sandbox::Sandbox,
};

/// Where screenshots go: beside the test binaries, to be looked at.
const SCREENSHOTS: &str = env!("CARGO_TARGET_TMPDIR");

/// Runs a browser on the page; answers what it reports.
async fn play(sandbox: &Sandbox, person: &Person, name: &str, more: &[&str]) -> Value {
    let screenshots = Path::new(SCREENSHOTS).join(name).display().to_string();
    let own = ["--email", &person.email, "--password", PASSWORD, "--screenshots", &screenshots];
    browse(sandbox, "play.mjs", &[&own, more].concat()).await
}

/// Runs one of the scripts that drive a browser; answers what it reports.
async fn browse(sandbox: &Sandbox, script: &str, args: &[&str]) -> Value {
    let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/test"));
    let ran = Command::new("node")
        .arg(scripts.join(script))
        .args(["--server", &sandbox.server])
        .args(args)
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(260), ran).await.expect("the browser hangs").unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        sandbox.logs()
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_plays_to_the_end_in_a_browser() {
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "clip.mp4", "1280x720", 8).await;
    let video = ann.upload(&file).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", sandbox.logs());
    play(&sandbox, &ann, "plays", &["--video", video["name"].as_str().unwrap()]).await;
    sandbox.stop().await;
}

/// What players of others make of the same playlists and segments.
#[tokio::test(flavor = "multi_thread")]
async fn shaka_plays_hls_and_dash_through_every_rung() {
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "clip.mp4", "1280x720", 12).await;
    let video = ann.upload(&file).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", sandbox.logs());
    let uri = |name: &str| video[name].as_str().unwrap().to_owned();
    let (hls, dash) = (uri("playbackUri"), uri("dashUri"));
    let report = browse(&sandbox, "players.mjs", &["--hls", &hls, "--dash", &dash]).await;
    for kind in ["hls", "dash"] {
        assert_eq!(report[kind]["heights"], serde_json::json!([360, 480, 720]), "{report}");
        assert!((report[kind]["duration"].as_f64().unwrap() - 12.0).abs() < 0.2, "{report}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_uploaded_in_the_page_becomes_ready_and_plays() {
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "from the page.mp4", "640x360", 6).await;
    play(&sandbox, &ann, "uploads", &["--upload", &file.display().to_string()]).await;
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_plays_in_the_page_while_it_is_processed() {
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "long.mp4", "1280x720", 50).await.display().to_string();
    let early = ["--upload", &file, "--early", "--levels", "3", "--seconds", "240"];
    let report = play(&sandbox, &ann, "early", &early).await;
    let length = report["playback"]["duration"].as_f64().unwrap();
    assert!((length - 50.0).abs() < 0.2, "{report}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_files_become_ready_and_play_in_a_browser() {
    let Ok(media) = std::env::var("REELMILL_MEDIA") else {
        // Past the test harness, which would keep it to itself.
        let words = b"skipped: real_files_become_ready_and_play_in_a_browser, for want of REELMILL_MEDIA\n";
        std::io::Write::write_all(&mut std::io::stderr(), words).unwrap();
        return;
    };
    let media = Path::new(&media).join("valid");
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    // A phone's MOV, held upright; 1080p with sound; WebM.
    let files = [
        ("phone", "PHP-FFMpeg+PHP-FFMpeg/portrait.MOV"),
        ("full", "Vanilagy+mediabunny/rotate-buck-bunny.mp4"),
        ("webm", "debian-renpy-demo/oa4_launch.webm"),
    ];
    for (name, file) in files {
        let video = ann.upload(&media.join(file)).await;
        assert_eq!(video["state"], "READY", "{video}\n{}", sandbox.logs());
        let rung = &video["renditions"][0];
        let upright = rung["height"].as_i64() > rung["width"].as_i64();
        assert_eq!(upright, name != "webm", "{video}");
        assert!(!video["source"]["audioCodec"].as_str().unwrap().is_empty(), "{video}");
        play(&sandbox, &ann, name, &["--video", video["name"].as_str().unwrap()]).await;
    }
    sandbox.stop().await;
}
