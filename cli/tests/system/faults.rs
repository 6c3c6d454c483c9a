//! Processes killed in the middle of things.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher as _,
    hash::RandomState,
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::{
    client::{Person, clip, frames_are},
    playlists::{Playlist, Playlists, made_by},
    sandbox::Sandbox,
};

const SOON: Duration = Duration::from_secs(60);

/// Waits until somebody's only job is in a state.
async fn job_is(person: &Person, state: &str, logs: impl Fn() -> String) {
    let seen = timeout(SOON, async {
        loop {
            let jobs = person.run(&["jobs", "--json"]).await.ended(0).json();
            if jobs["jobs"][0]["state"] == state && has_plan(&jobs, state) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(seen.await.is_ok(), "no job became {state}\n{}", logs());
}

/// A running job has a plan once its encoding has begun.
fn has_plan(jobs: &Value, state: &str) -> bool {
    state != "RUNNING" || jobs["jobs"][0]["renditions"].as_array().is_some_and(|rungs| !rungs.is_empty())
}

async fn uploaded(person: &Person, file: &Path) -> String {
    let answer = person.run(&["upload", "--json", &file.display().to_string()]).await.ended(0);
    answer.json()["name"].as_str().unwrap().to_owned()
}

async fn downloaded(person: &Person, video: &str, rung: &str, folder: &Path) -> Vec<u8> {
    let file = folder.join(format!("{}-{rung}.mp4", video.trim_start_matches("videos/")));
    let output = file.display().to_string();
    person.run(&["download", video, "--rendition", rung, "-o", &output, "--json"]).await.ended(0);
    std::fs::read(file).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_goes_on_where_a_killed_one_was() {
    let mut sandbox = Sandbox::apart().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "long.mp4", "1280x720", 50).await;
    let video = ann.upload_until_playable(&file).await;
    let mut playlists = Playlists::of(&video);
    // Chunks begin with the segments 0, 1, 3 and 7, of 13: it is in the middle of one.
    playlists.until("360p.m3u8", |segments| (4..7).contains(&segments) || (8..12).contains(&segments)).await;
    sandbox.take("worker").kill().await;
    sandbox.start("worker").await;
    // What was listed stays as it was listed.
    playlists.until_ready(&ann, video["name"].as_str().unwrap()).await;
    let segments = playlists.all().flat_map(Playlist::segments).filter(|segment| segment.ends_with(".m4s"));
    let attempts: BTreeSet<(u32, u32)> = segments.map(made_by).collect();
    let by_two = attempts.iter().any(|&(task, attempt)| attempts.contains(&(task, attempt + 1)));
    assert!(by_two, "a chunk of which both made a part: {attempts:?}");
    for rung in ["720p", "480p", "360p"] {
        frames_are(&playlists.address(&format!("{rung}.m3u8")), 30.0, 1500).await;
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_thrice_leaves_every_frame_at_its_place() {
    let mut sandbox = Sandbox::apart().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "long.mp4", "1280x720", 50).await;
    let name = uploaded(&ann, &file).await;
    job_is(&ann, "RUNNING", || sandbox.logs()).await;
    let mut moments = Vec::new();
    for _ in 0..3 {
        let moment = Duration::from_millis(RandomState::new().hash_one(0) % 4000);
        moments.push(moment);
        sleep(moment).await;
        sandbox.take("worker").kill().await;
        sandbox.start("worker").await;
    }
    let video = ann.run(&["watch", &name, "--until", "playable", "--json"]).await.ended(0).json();
    let mut playlists = Playlists::of(&video);
    let video = playlists.until_ready(&ann, &name).await;
    assert_eq!(video["warnings"], Value::Array(Vec::new()), "killed after {moments:?}");
    for rung in ["720p", "360p"] {
        frames_are(&playlists.address(&format!("{rung}.m3u8")), 30.0, 1500).await;
    }
    // And every byte: as of a worker that nobody kills.
    let again = ann.run(&["upload", "--json", "--wait", "--no-resume", &file.display().to_string()]).await;
    let again = again.ended(0).json();
    for rung in ["720p", "480p", "360p"] {
        let (killed, whole) = (
            downloaded(&ann, &name, rung, sandbox.folder.path()).await,
            downloaded(&ann, again["name"].as_str().unwrap(), rung, sandbox.folder.path()).await,
        );
        assert!(killed == whole, "{rung} differs, killed after {moments:?}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_system_loses_no_video() {
    let mut sandbox = Sandbox::together().await;
    let mut ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "clip.mp4", "1280x720", 8).await;
    // Moments from before the first answer to the middle of the encoding.
    let mut names = Vec::new();
    for moment in [0_u64, 60, 250, 700, 1500] {
        let started = ann.command(&["upload", "--json", &file.display().to_string()]).spawn().unwrap();
        sleep(Duration::from_millis(moment)).await;
        sandbox.take("up").kill().await;
        drop(started);
        sandbox.up("127.0.0.1:0").await;
        let server = sandbox.server.clone();
        ann.moved(&server);
        ann.run(&["sign-in", "--email", &ann.email, "--password-file", &ann.password_file()]).await.ended(0);
        names.push(uploaded(&ann, &file).await);
    }
    for name in names {
        let video = ann.run(&["watch", &name, "--json"]).await.ended(0).json();
        assert_eq!(video["state"], "READY", "{video}\n{}", sandbox.logs());
    }
    // Whatever the kills cut short has come to an end too: nothing stays PROCESSING.
    let settled = timeout(SOON, async {
        loop {
            let videos = ann.run(&["videos", "--json"]).await.ended(0).json();
            let states = videos["videos"].as_array().unwrap().iter().map(|video| video["state"].clone());
            if states.clone().all(|state| state != "PROCESSING") {
                return states.filter(|state| state == "READY").count();
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    assert!(settled.await.expect("everything ends") >= 5);
    sandbox.stop().await;
}

/// How far a video and its renditions are, by name: percent, frames, segments. Nothing where it is not known.
fn reached(video: &Value) -> BTreeMap<String, [f64; 3]> {
    let of = |one: &Value| {
        // JSON writes 64-bit numbers as text, and leaves zeros out.
        let number = |key: &str| match &one["progress"][key] {
            Value::String(text) => text.parse().unwrap(),
            value => value.as_f64().unwrap_or(0.0),
        };
        one["progress"].is_object().then(|| [number("percent"), number("frames"), number("segmentsReady")])
    };
    let renditions = video["renditions"].as_array().into_iter().flatten();
    let named = renditions.map(|one| (one["renditionId"].as_str().unwrap().to_owned(), one));
    let all = named.chain([("video".to_owned(), video)]);
    all.filter_map(|(name, one)| Some((name, of(one)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_system_takes_nothing_back_of_what_it_told() {
    let mut sandbox = Sandbox::together().await;
    let mut ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "long.mp4", "640x360", 36).await;
    uploaded(&ann, &file).await;
    let mut most: BTreeMap<String, [f64; 3]> = BTreeMap::new();
    let mut looks_after = 0;
    // Seen to its end, killed in the middle of the second and of a later chunk.
    let mut kills = vec![12.0, 45.0];
    let seen = timeout(SOON * 4, async {
        loop {
            let videos = ann.run(&["videos", "--json"]).await.ended(0).json();
            let video = &videos["videos"][0];
            let now = reached(video);
            for (name, [percent, frames, segments]) in &now {
                let [most_percent, most_frames, most_segments] = most.get(name).copied().unwrap_or_default();
                assert!(
                    *percent >= most_percent && *frames >= most_frames && *segments >= most_segments,
                    "{name}: {now:?} after {most:?}"
                );
            }
            if video["state"] == "READY" {
                return;
            }
            let percent = now.get("video").map_or(0.0, |video| video[0]);
            looks_after += usize::from(kills.is_empty() && now.contains_key("video"));
            most.extend(now);
            if kills.first().is_some_and(|kill| percent >= *kill) {
                kills.remove(0);
                sandbox.take("up").kill().await;
                sandbox.up("127.0.0.1:0").await;
                let server = sandbox.server.clone();
                ann.moved(&server);
                ann.run(&["sign-in", "--email", &ann.email, "--password-file", &ann.password_file()])
                    .await
                    .ended(0);
            }
        }
    });
    assert!(seen.await.is_ok(), "never READY: {most:?}\n{}", sandbox.logs());
    assert!(kills.is_empty() && looks_after > 3, "{kills:?} {looks_after}");
    let [_, frames, segments] = most["360p"];
    assert!(frames > 0.0 && segments > 0.0, "{most:?}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_upload_is_resumed() {
    let sandbox = Sandbox::together().await;
    let ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "big.mp4", "640x360", 10).await;
    // Padding after the last box makes many parts without making a long video.
    let padded = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    padded.set_len(std::fs::metadata(&file).unwrap().len() + (200 << 20)).unwrap();
    let mut upload = ann.command(&["upload", "--json", "--parallel", "1", &file.display().to_string()]);
    let mut started = upload.stdout(std::process::Stdio::null()).spawn().unwrap();
    let objects = sandbox.folder.path().join("data/objects");
    let begun = timeout(SOON, async {
        while folder_size(&objects) < 40 << 20 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    begun.await.expect("parts arrive");
    started.kill().await.unwrap();
    let answer = ann.run(&["upload", "--wait", "--json", &file.display().to_string()]).await.ended(0);
    assert_eq!(answer.json()["state"], "READY", "{answer:?}");
    let videos = ann.run(&["videos", "--json"]).await.ended(0).json();
    assert_eq!(videos["videos"].as_array().unwrap().len(), 1, "the same upload went on");
    sandbox.stop().await;
}

fn folder_size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_hands_the_work_back() {
    let mut sandbox = Sandbox::together().await;
    let mut ann = Person::signed_up(&sandbox, "ann").await;
    let file = clip(sandbox.folder.path(), "long.mp4", "1920x1080", 30).await;
    let name = uploaded(&ann, &file).await;
    job_is(&ann, "RUNNING", || sandbox.logs()).await;
    let mut role = sandbox.take("up");
    assert_eq!(role.terminate().await, Some(0), "{}", role.log());
    sandbox.up("127.0.0.1:0").await;
    let server = sandbox.server.clone();
    ann.moved(&server);
    ann.run(&["sign-in", "--email", &ann.email, "--password-file", &ann.password_file()]).await.ended(0);
    let video = ann.run(&["watch", &name, "--json"]).await.ended(0).json();
    assert_eq!(video["state"], "READY", "{video}");
    sandbox.stop().await;
}
