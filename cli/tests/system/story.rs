//! The main job, end to end, the same together and apart.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    client::{Person, clip, probe, probe_growing, seconds},
    playlists::{Playlists, http, made_by},
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
    assert_eq!(renditions(&video), ["720p", "480p", "360p", "audio-0"]);
    assert_eq!(video["renditions"][0]["height"], 720);
    assert_eq!(video["warnings"], Value::Array(Vec::new()));
    let name = video["name"].as_str().unwrap();

    plays(video["playbackUri"].as_str().unwrap()).await;
    plays_by_dash(video["dashUri"].as_str().unwrap()).await;
    shows_thumbnails(video["thumbnailsUri"].as_str().unwrap()).await;
    downloads(&sandbox, &ann, name).await;
    lists(&ann, name).await;
    others_see_nothing(&sandbox, name).await;
    deletes(&sandbox, &ann, &video).await;
    signs_out(&ann).await;
    sandbox.stop().await;
}

fn renditions(video: &Value) -> Vec<&str> {
    let all = video["renditions"].as_array().unwrap().iter();
    all.map(|rendition| rendition["renditionId"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_video_plays_while_it_is_processed() {
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "long.mp4", "1280x720", 50).await;
    let video = ann.upload_until_playable(&file).await;
    let mut playlists = Playlists::of(&video);
    playlists.look().await;
    let first = playlists.get("360p.m3u8").expect("the lowest rung comes first").segments().count();
    assert!((1..=3).contains(&first), "{first} segments when it became playable");
    let probed = probe_growing(video["playbackUri"].as_str().unwrap()).await;
    let kinds: Vec<_> =
        probed["streams"].as_array().unwrap().iter().map(|stream| &stream["codec_type"]).collect();
    assert!(kinds.contains(&&"video".into()) && kinds.contains(&&"audio".into()), "{probed}");

    let ready = playlists.until_ready(&ann, video["name"].as_str().unwrap()).await;
    assert_eq!(renditions(&ready), ["720p", "480p", "360p", "audio-0"]);
    assert_eq!(ready["timeToPlayableSeconds"], video["timeToPlayableSeconds"], "told once and for all");
    assert!(playlists.times_grown >= 3, "seen to grow {} times", playlists.times_grown);
    for rung in ["720p", "480p", "360p"] {
        // Four seconds each, the last two.
        assert_eq!(playlists.get(&format!("{rung}.m3u8")).unwrap().segments().count(), 13, "{rung}");
    }
    let probed = probe(ready["playbackUri"].as_str().unwrap()).await;
    assert!((seconds(&probed) - 50.0).abs() < 0.1, "{probed}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_is_encoded_as_its_owner_wishes() {
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "clip.mp4", "1280x720", 3).await.display().to_string();
    let wishes = ["--rungs", "360,240", "--profile", "hevc", "--preset", "fast", "--poster-time", "1"];
    let video =
        ann.run(&[&["upload", "--wait", "--json", &file][..], &wishes].concat()).await.ended(0).json();
    assert_eq!(video["state"], "READY", "{video}\n{}", sandbox.logs());
    assert_eq!(renditions(&video), ["360p", "240p", "audio-0"]);
    assert!(video["renditions"][0]["codecs"].as_str().unwrap().starts_with("hvc1."), "{video}");
    let probed = probe(video["playbackUri"].as_str().unwrap()).await;
    let pictures =
        probed["streams"].as_array().unwrap().iter().filter(|stream| stream["codec_type"] == "video");
    let shown: Vec<_> = pictures.map(|stream| (&stream["codec_name"], stream["height"].as_i64())).collect();
    assert!(shown.len() == 2 && shown.iter().all(|(codec, _)| *codec == "hevc"), "{shown:?}");
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
    let media = format!("{base}/{}", text.lines().find(|line| *line == "720p.m3u8").unwrap());
    let list = http.get(&media).send().await.unwrap().text().await.unwrap();
    let segment = list.lines().find(|line| line.ends_with(".m4s")).unwrap();
    assert_eq!(made_by(segment), (0, 1), "the first attempt at the only task");
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

async fn plays_by_dash(manifest: &str) {
    let answer = http().get(manifest).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/dash+xml");
    let probed = probe(manifest).await;
    assert!((seconds(&probed) - 9.0).abs() < 0.1, "{probed}");
    let streams = probed["streams"].as_array().unwrap();
    let mut heights: Vec<_> = streams.iter().filter_map(|stream| stream["height"].as_i64()).collect();
    heights.sort_unstable();
    assert_eq!(heights, [360, 480, 720]);
    assert!(streams.iter().any(|stream| stream["codec_type"] == "audio"), "{probed}");
}

/// One picture a second, all of them on one sheet.
async fn shows_thumbnails(index: &str) {
    let answer = http().get(index).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/vtt"));
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("WEBVTT\n"), "{text}");
    assert_eq!(text.matches(" --> ").count(), 9, "{text}");
    let (sheet, place) = text.lines().find_map(|line| line.split_once("#xywh=")).expect("a picture");
    assert_eq!(place, "0,0,160,90");
    let sheet = format!("{}/{sheet}", index.rsplit_once('/').unwrap().0);
    let shown = &probe(&sheet).await["streams"][0];
    assert_eq!((&shown["codec_name"], shown["width"].as_i64()), (&"mjpeg".into(), Some(5 * 160)), "{shown}");
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
