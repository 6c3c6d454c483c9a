//! The main job, end to end, the same together and apart.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    client::{Person, clip, probe, seconds},
    sandbox::Sandbox,
};

#[tokio::test(flavor = "multi_thread")]
async fn together() {
    tell(Sandbox::together().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apart() {
    tell(Sandbox::apart().await).await;
}

async fn tell(sandbox: Sandbox) {
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "a clip.mp4", "1280x720", 9).await;
    let video = ann.upload(&file).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", sandbox.logs());
    let heights: Vec<_> =
        video["renditions"].as_array().unwrap().iter().map(|rung| rung["height"].as_i64().unwrap()).collect();
    assert_eq!(heights, [720, 480, 360]);
    let name = video["name"].as_str().unwrap();

    plays(video["playbackUri"].as_str().unwrap()).await;
    downloads(&sandbox, &ann, name).await;
    lists(&ann, name).await;
    others_see_nothing(&sandbox, name).await;
    deletes(&sandbox, &ann, &video).await;
    signs_out(&ann).await;
    sandbox.stop().await;
}

/// The playlists and segments are right as HTTP and as media.
async fn plays(master: &str) {
    let http = http();
    let answer = http.get(master).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/vnd.apple.mpegurl");
    let text = answer.text().await.unwrap();
    assert!(text.contains("RESOLUTION=1280x720") && text.contains("CODECS=\"avc1."), "{text}");
    let base = master.rsplit_once('/').unwrap().0;
    let media = format!("{base}/{}", text.lines().find(|line| line.contains("720p/")).unwrap());
    let list = http.get(&media).send().await.unwrap().text().await.unwrap();
    let segment = list.lines().find(|line| line.ends_with(".m4s")).unwrap();
    let segment = format!("{}/{segment}", media.rsplit_once('/').unwrap().0);
    let part = http.get(&segment).header("range", "bytes=4-7").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-type"], "video/mp4");
    assert!(part.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(part.bytes().await.unwrap().len(), 4);
    let probed = probe(master).await;
    assert!((seconds(&probed) - 9.0).abs() < 0.1, "{probed}");
    let forged = master.replacen("/play/", "/play/x", 1);
    assert_eq!(http.get(&forged).send().await.unwrap().status(), 403);
    assert_eq!(http.get(format!("{base}/missing.m4s")).send().await.unwrap().status(), 404);
}

async fn downloads(sandbox: &Sandbox, ann: &Person, name: &str) {
    let out: PathBuf = sandbox.folder.path().join("out.mp4");
    let out = out.display().to_string();
    ann.run(&["download", name, "--rendition", "480p", "-o", &out]).await.ended(0);
    let probed = probe(&out).await;
    let streams = probed["streams"].as_array().unwrap();
    let of = |kind: &str| streams.iter().find(|stream| stream["codec_type"] == kind).unwrap();
    assert_eq!(of("video")["height"], 480);
    assert_eq!(of("video")["width"], 854);
    assert_eq!(of("audio")["codec_name"], "aac");
    assert!((seconds(&probed) - 9.0).abs() < 0.1);
    ann.run(&["download", name, "--rendition", "4320p", "-o", &out]).await.ended(4);
}

async fn lists(ann: &Person, name: &str) {
    let videos = ann.run(&["videos", "--json"]).await.ended(0).json();
    assert_eq!(videos["videos"][0]["name"], name);
    let jobs = ann.run(&["jobs", "--json"]).await.ended(0).json();
    assert_eq!(jobs["jobs"][0]["state"], "SUCCEEDED");
    let watched = ann.run(&["watch", name, "--json"]).await.ended(0).json();
    assert_eq!(watched["state"], "READY");
}

async fn others_see_nothing(sandbox: &Sandbox, name: &str) {
    let bob = Person::signed_up(sandbox, "bob").await;
    assert_eq!(bob.run(&["videos", "--json"]).await.ended(0).json()["videos"], Value::Array(Vec::new()));
    for command in [vec!["watch", name], vec!["delete", name, "--yes"], vec!["download", name, "-o", "x"]] {
        let answer = bob.run(&command).await.ended(4);
        assert!(answer.stderr.contains("VIDEO_NOT_FOUND"), "{answer:?}");
    }
}

async fn deletes(sandbox: &Sandbox, ann: &Person, video: &Value) {
    let name = video["name"].as_str().unwrap();
    ann.run(&["delete", name, "--yes"]).await.ended(0);
    ann.run(&["watch", name]).await.ended(4);
    let master = video["playbackUri"].as_str().unwrap();
    let http = http();
    // The objects go in the background, soon.
    let gone = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while http.get(master).send().await.unwrap().status() != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    assert!(gone.await.is_ok(), "what was deleted still plays\n{}", sandbox.logs());
}

async fn signs_out(ann: &Person) {
    ann.run(&["sign-out"]).await.ended(0);
    ann.run(&["videos"]).await.ended(4);
    let answer =
        ann.run(&["sign-in", "--json", "--email", &ann.email, "--password-file", &ann.password_file()]).await;
    answer.ended(0);
    ann.run(&["videos"]).await.ended(0);
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}
