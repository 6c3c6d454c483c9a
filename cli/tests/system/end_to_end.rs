//! The whole workflow by the client, on both deployments.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{
    cli_user::CliUser,
    deployment::Deployment,
    media::{clip, probe, probe_growing, seconds},
    playlists::{Playlists, http, task_and_attempt_of},
};

#[tokio::test(flavor = "multi_thread")]
async fn workflow_in_a_single_process() {
    run_workflow(Deployment::single_process().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workflow_distributed() {
    run_workflow(Deployment::distributed().await).await;
}

async fn run_workflow(deployment: Deployment) {
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "a clip.mp4", "1280x720", 9).await;
    let video = ann.upload(&file).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    assert_eq!(renditions(&video), ["720p", "480p", "360p", "audio-0"]);
    assert_eq!(video["renditions"][0]["height"], 720);
    assert_eq!(video["warnings"], Value::Array(Vec::new()));
    let name = video["name"].as_str().unwrap();

    check_hls(video["playbackUri"].as_str().unwrap()).await;
    check_dash(video["dashUri"].as_str().unwrap()).await;
    check_thumbnails(video["thumbnailsUri"].as_str().unwrap()).await;
    check_download(&deployment, &ann, name).await;
    check_lists(&ann, name).await;
    check_isolation(&deployment, name).await;
    check_delete(&deployment, &ann, &video).await;
    check_sign_out(&ann).await;
    deployment.stop().await;
}

fn renditions(video: &Value) -> Vec<&str> {
    let all = video["renditions"].as_array().unwrap().iter();
    all.map(|rendition| rendition["renditionId"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_of_a_long_video_is_playable_while_processing() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "long.mp4", "1280x720", 50).await;
    let video = ann.upload_until_playable(&file).await;
    let mut playlists = Playlists::of(&video);
    playlists.fetch().await;
    let first = playlists.get("360p.m3u8").expect("the lowest rung comes first").segments().count();
    assert!((1..=3).contains(&first), "{first} segments when it became playable");
    let probed = probe_growing(video["playbackUri"].as_str().unwrap()).await;
    let kinds: Vec<_> =
        probed["streams"].as_array().unwrap().iter().map(|stream| &stream["codec_type"]).collect();
    assert!(kinds.contains(&&"video".into()) && kinds.contains(&&"audio".into()), "{probed}");

    let ready = playlists.watch_until_ready(&ann, video["name"].as_str().unwrap()).await;
    assert_eq!(renditions(&ready), ["720p", "480p", "360p", "audio-0"]);
    assert_eq!(ready["timeToPlayableSeconds"], video["timeToPlayableSeconds"], "it does not change later");
    assert!(playlists.growths >= 3, "{} growths seen", playlists.growths);
    for rung in ["720p", "480p", "360p"] {
        // Four seconds each, and two seconds for the last one.
        assert_eq!(playlists.get(&format!("{rung}.m3u8")).unwrap().segments().count(), 13, "{rung}");
    }
    let probed = probe(ready["playbackUri"].as_str().unwrap()).await;
    assert!((seconds(&probed) - 50.0).abs() < 0.1, "{probed}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_with_options_is_encoded_accordingly() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "1280x720", 3).await.display().to_string();
    let options = ["--rungs", "360,240", "--profile", "hevc", "--preset", "fast", "--poster-time", "1"];
    let video =
        ann.run(&[&["upload", "--wait", "--json", &file][..], &options].concat()).await.expect_exit(0).json();
    assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    assert_eq!(renditions(&video), ["360p", "240p", "audio-0"]);
    assert!(video["renditions"][0]["codecs"].as_str().unwrap().starts_with("hvc1."), "{video}");
    let probed = probe(video["playbackUri"].as_str().unwrap()).await;
    let videos =
        probed["streams"].as_array().unwrap().iter().filter(|stream| stream["codec_type"] == "video");
    let codecs: Vec<_> = videos.map(|stream| (&stream["codec_name"], stream["height"].as_i64())).collect();
    assert!(codecs.len() == 2 && codecs.iter().all(|(codec, _)| *codec == "hevc"), "{codecs:?}");
    deployment.stop().await;
}

/// Checks playlists and segments, as HTTP and as media.
async fn check_hls(master: &str) {
    let http = http();
    let response = http.get(master).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/vnd.apple.mpegurl");
    let text = response.text().await.unwrap();
    assert!(text.contains("RESOLUTION=1280x720") && text.contains("CODECS=\"avc1."), "{text}");
    let base = master.rsplit_once('/').unwrap().0;
    let media = format!("{base}/{}", text.lines().find(|line| *line == "720p.m3u8").unwrap());
    let list = http.get(&media).send().await.unwrap().text().await.unwrap();
    let segment = list.lines().find(|line| line.ends_with(".m4s")).unwrap();
    assert_eq!(task_and_attempt_of(segment).1, 1, "the first attempt at its task");
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

async fn check_dash(manifest: &str) {
    let response = http().get(manifest).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/dash+xml");
    let probed = probe(manifest).await;
    assert!((seconds(&probed) - 9.0).abs() < 0.1, "{probed}");
    let streams = probed["streams"].as_array().unwrap();
    let mut heights: Vec<_> = streams.iter().filter_map(|stream| stream["height"].as_i64()).collect();
    heights.sort_unstable();
    assert_eq!(heights, [360, 480, 720]);
    assert!(streams.iter().any(|stream| stream["codec_type"] == "audio"), "{probed}");
}

/// Checks that there is one thumbnail a second, all in one sheet.
async fn check_thumbnails(index: &str) {
    let response = http().get(index).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/vtt"));
    let text = response.text().await.unwrap();
    assert!(text.starts_with("WEBVTT\n"), "{text}");
    assert_eq!(text.matches(" --> ").count(), 9, "{text}");
    let (sheet, region) = text.lines().find_map(|line| line.split_once("#xywh=")).expect("a thumbnail");
    assert_eq!(region, "0,0,160,90");
    let sheet = format!("{}/{sheet}", index.rsplit_once('/').unwrap().0);
    let image = &probe(&sheet).await["streams"][0];
    assert_eq!((&image["codec_name"], image["width"].as_i64()), (&"mjpeg".into(), Some(5 * 160)), "{image}");
}

async fn check_download(deployment: &Deployment, ann: &CliUser, name: &str) {
    let out: PathBuf = deployment.folder.path().join("out.mp4");
    let out = out.display().to_string();
    ann.run(&["download", name, "--rendition", "480p", "-o", &out]).await.expect_exit(0);
    let probed = probe(&out).await;
    let streams = probed["streams"].as_array().unwrap();
    let of = |kind: &str| streams.iter().find(|stream| stream["codec_type"] == kind).unwrap();
    assert_eq!(of("video")["height"], 480);
    assert_eq!(of("video")["width"], 854);
    assert_eq!(of("audio")["codec_name"], "aac");
    assert!((seconds(&probed) - 9.0).abs() < 0.1);
    ann.run(&["download", name, "--rendition", "4320p", "-o", &out]).await.expect_exit(4);
}

async fn check_lists(ann: &CliUser, name: &str) {
    let videos = ann.run(&["videos", "--json"]).await.expect_exit(0).json();
    assert_eq!(videos["videos"][0]["name"], name);
    let jobs = ann.run(&["jobs", "--json"]).await.expect_exit(0).json();
    assert_eq!(jobs["jobs"][0]["state"], "SUCCEEDED");
    let watched = ann.run(&["watch", name, "--json"]).await.expect_exit(0).json();
    assert_eq!(watched["state"], "READY");
}

async fn check_isolation(deployment: &Deployment, name: &str) {
    let bob = CliUser::sign_up(deployment, "bob").await;
    assert_eq!(
        bob.run(&["videos", "--json"]).await.expect_exit(0).json()["videos"],
        Value::Array(Vec::new())
    );
    for command in [vec!["watch", name], vec!["delete", name, "--yes"], vec!["download", name, "-o", "x"]] {
        let response = bob.run(&command).await.expect_exit(4);
        assert!(response.stderr.contains("VIDEO_NOT_FOUND"), "{response:?}");
    }
}

async fn check_delete(deployment: &Deployment, ann: &CliUser, video: &Value) {
    let name = video["name"].as_str().unwrap();
    ann.run(&["delete", name, "--yes"]).await.expect_exit(0);
    ann.run(&["watch", name]).await.expect_exit(4);
    let master = video["playbackUri"].as_str().unwrap();
    let http = http();
    // Objects are deleted in the background.
    let deleted = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        while http.get(master).send().await.unwrap().status() != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    assert!(deleted.await.is_ok(), "a deleted video still plays\n{}", deployment.logs());
}

async fn check_sign_out(ann: &CliUser) {
    ann.run(&["sign-out"]).await.expect_exit(0);
    ann.run(&["videos"]).await.expect_exit(4);
    let response =
        ann.run(&["sign-in", "--json", "--email", &ann.email, "--password-file", &ann.password_file()]).await;
    response.expect_exit(0);
    ann.run(&["videos"]).await.expect_exit(0);
}
