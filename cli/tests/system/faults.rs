//! Processes killed at arbitrary times.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher as _,
    hash::RandomState,
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::{
    cli_user::CliUser,
    deployment::{Deployment, try_admin},
    media::{assert_frames, clip},
    playlists::{Playlist, Playlists, task_and_attempt_of},
};

const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// Waits until the only job of a user is in a state.
async fn wait_for_job(user: &CliUser, state: &str, logs: impl Fn() -> String) {
    let reached = timeout(WAIT_LIMIT, async {
        loop {
            let jobs = user.run(&["jobs", "--json"]).await.expect_exit(0).json();
            if jobs["jobs"][0]["state"] == state && has_plan(&jobs, state) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(reached.await.is_ok(), "no job became {state}\n{}", logs());
}

/// A running job has a plan once its encoding has begun.
fn has_plan(jobs: &Value, state: &str) -> bool {
    state != "RUNNING" || jobs["jobs"][0]["renditions"].as_array().is_some_and(|rungs| !rungs.is_empty())
}

async fn upload(user: &CliUser, file: &Path) -> String {
    let output = user.run(&["upload", "--json", &file.display().to_string()]).await.expect_exit(0);
    output.json()["name"].as_str().unwrap().to_owned()
}

async fn download(user: &CliUser, video: &str, rung: &str, folder: &Path) -> Vec<u8> {
    let file = folder.join(format!("{}-{rung}.mp4", video.trim_start_matches("videos/")));
    let output = file.display().to_string();
    user.run(&["download", video, "--rendition", rung, "-o", &output, "--json"]).await.expect_exit(0);
    std::fs::read(file).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_killed_in_a_chunk_is_continued_by_another() {
    let mut deployment = Deployment::distributed().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "long.mp4", "1280x720", 50).await;
    let video = ann.upload_until_playable(&file).await;
    let mut playlists = Playlists::of(&video);
    // Chunks start with the segments 0, 1, 3 and 7, of 13: this is in the middle of one.
    playlists.until("360p.m3u8", |segments| (4..7).contains(&segments) || (8..12).contains(&segments)).await;
    deployment.take("worker").kill().await;
    deployment.start("worker").await;
    // Listed segments do not change.
    playlists.watch_until_ready(&ann, video["name"].as_str().unwrap()).await;
    let segments = playlists.all().flat_map(Playlist::segments).filter(|segment| segment.ends_with(".m4s"));
    let attempts: BTreeSet<(u32, u32)> = segments.map(task_and_attempt_of).collect();
    let is_shared = attempts.iter().any(|&(task, attempt)| attempts.contains(&(task, attempt + 1)));
    assert!(is_shared, "no chunk with segments of both workers: {attempts:?}");
    for rung in ["720p", "480p", "360p"] {
        assert_frames(&playlists.address(&format!("{rung}.m3u8")), 30.0, 1500).await;
    }
    deployment.stop().await;
}

/// Number of running tasks; 0 while the dispatcher starts.
async fn running_tasks(deployment: &Deployment) -> usize {
    let Ok(workers) = try_admin(deployment, &["workers"]).await else { return 0 };
    let workers = workers["workers"].as_array().unwrap();
    workers.iter().map(|worker| worker["tasks"].as_array().map_or(0, Vec::len)).sum()
}

async fn wait_for_four_tasks(deployment: &Deployment) {
    let reached = timeout(WAIT_LIMIT, async {
        while running_tasks(deployment).await < 4 {
            sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(reached.await.is_ok(), "four tasks run\n{}", deployment.logs());
}

/// Four tasks run while the dispatcher is killed and started again, and then its database: no lease is lost, and no attempt
/// fails.
#[tokio::test(flavor = "multi_thread")]
async fn dispatcher_and_database_restarted_under_running_tasks_lose_no_lease() {
    let mut deployment = Deployment::distributed().await;
    deployment.start("worker").await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "long.mp4", "1280x720", 60).await;
    let mut names = Vec::new();
    for _ in 0..2 {
        names.push(upload(&ann, &file).await);
    }
    wait_for_four_tasks(&deployment).await;
    let killed = deployment.take("transcode");
    let log_of_first = killed.log();
    killed.kill().await;
    sleep(Duration::from_secs(3)).await;
    deployment.start("transcode").await;
    wait_for_four_tasks(&deployment).await;
    deployment.backends().postgres.stop().await.unwrap();
    sleep(Duration::from_secs(8)).await;
    deployment.backends().postgres.restart().await.unwrap();
    for name in &names {
        let video = ann.run(&["watch", name, "--json"]).await.expect_exit(0).json();
        assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    }
    let logs = format!("{log_of_first}{}", deployment.logs());
    for lost in ["a worker was lost", "a task is retried", "the lease was lost"] {
        assert!(!logs.contains(lost), "{lost}:\n{logs}");
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_killed_three_times_gives_identical_output() {
    let mut deployment = Deployment::distributed().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "long.mp4", "1280x720", 50).await;
    let name = upload(&ann, &file).await;
    wait_for_job(&ann, "RUNNING", || deployment.logs()).await;
    let mut delays = Vec::new();
    for _ in 0..3 {
        let delay = Duration::from_millis(RandomState::new().hash_one(0) % 4000);
        delays.push(delay);
        sleep(delay).await;
        deployment.take("worker").kill().await;
        deployment.start("worker").await;
    }
    let video = ann.run(&["watch", &name, "--until", "playable", "--json"]).await.expect_exit(0).json();
    let mut playlists = Playlists::of(&video);
    let video = playlists.watch_until_ready(&ann, &name).await;
    assert_eq!(video["warnings"], Value::Array(Vec::new()), "killed after {delays:?}");
    for rung in ["720p", "360p"] {
        assert_frames(&playlists.address(&format!("{rung}.m3u8")), 30.0, 1500).await;
    }
    // Byte for byte like the output of a worker that is not killed.
    let again = ann.run(&["upload", "--json", "--wait", "--no-resume", &file.display().to_string()]).await;
    let again = again.expect_exit(0).json();
    for rung in ["720p", "480p", "360p"] {
        let (interrupted, undisturbed) = (
            download(&ann, &name, rung, deployment.folder.path()).await,
            download(&ann, again["name"].as_str().unwrap(), rung, deployment.folder.path()).await,
        );
        assert!(interrupted == undisturbed, "{rung} differs, killed after {delays:?}");
    }
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn system_killed_at_any_time_loses_no_video() {
    let mut deployment = Deployment::single_process().await;
    let mut ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "clip.mp4", "1280x720", 8).await;
    // From before the first response to the middle of the encoding.
    let mut names = Vec::new();
    for delay_millis in [0_u64, 60, 250, 700, 1500] {
        let started = ann.command(&["upload", "--json", &file.display().to_string()]).spawn().unwrap();
        sleep(Duration::from_millis(delay_millis)).await;
        deployment.take("up").kill().await;
        drop(started);
        deployment.up("127.0.0.1:0").await;
        let server = deployment.server.clone();
        ann.set_server(&server);
        ann.run(&["sign-in", "--email", &ann.email, "--password-file", &ann.password_file()])
            .await
            .expect_exit(0);
        names.push(upload(&ann, &file).await);
    }
    for name in names {
        let video = ann.run(&["watch", &name, "--json"]).await.expect_exit(0).json();
        assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    }
    // Interrupted uploads end, too: nothing stays PROCESSING.
    let settled = timeout(WAIT_LIMIT, async {
        loop {
            let videos = ann.run(&["videos", "--json"]).await.expect_exit(0).json();
            let states = videos["videos"].as_array().unwrap().iter().map(|video| video["state"].clone());
            if states.clone().all(|state| state != "PROCESSING") {
                return states.filter(|state| state == "READY").count();
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    assert!(settled.await.expect("all videos end") >= 5);
    deployment.stop().await;
}

/// Progress of a video and its renditions, by name: percent, frames, segments.
fn progress(video: &Value) -> BTreeMap<String, [f64; 3]> {
    let of = |one: &Value| {
        // 64-bit numbers are strings in proto3 JSON.
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
async fn system_killed_while_encoding_keeps_progress_monotonic() {
    let mut deployment = Deployment::single_process().await;
    let mut ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "long.mp4", "640x360", 36).await;
    upload(&ann, &file).await;
    let mut watermarks: BTreeMap<String, [f64; 3]> = BTreeMap::new();
    let mut observations_after = 0;
    // Percentages at which to kill: in the middle of the second and of a later chunk.
    let mut kills = vec![12.0, 45.0];
    let ended = timeout(WAIT_LIMIT * 4, async {
        loop {
            let videos = ann.run(&["videos", "--json"]).await.expect_exit(0).json();
            let video = &videos["videos"][0];
            let now = progress(video);
            for (name, [percent, frames, segments]) in &now {
                let [most_percent, most_frames, most_segments] =
                    watermarks.get(name).copied().unwrap_or_default();
                assert!(
                    *percent >= most_percent && *frames >= most_frames && *segments >= most_segments,
                    "{name}: {now:?} after {watermarks:?}"
                );
            }
            if video["state"] == "READY" {
                return;
            }
            let percent = now.get("video").map_or(0.0, |video| video[0]);
            observations_after += usize::from(kills.is_empty() && now.contains_key("video"));
            watermarks.extend(now);
            if kills.first().is_some_and(|kill| percent >= *kill) {
                kills.remove(0);
                deployment.take("up").kill().await;
                deployment.up("127.0.0.1:0").await;
                let server = deployment.server.clone();
                ann.set_server(&server);
                ann.run(&["sign-in", "--email", &ann.email, "--password-file", &ann.password_file()])
                    .await
                    .expect_exit(0);
            }
        }
    });
    assert!(ended.await.is_ok(), "never READY: {watermarks:?}\n{}", deployment.logs());
    assert!(kills.is_empty() && observations_after > 3, "{kills:?} {observations_after}");
    let [_, frames, segments] = watermarks["360p"];
    assert!(frames > 0.0 && segments > 0.0, "{watermarks:?}");
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_after_interruption_resumes() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "big.mp4", "640x360", 10).await;
    // Padding after the last box gives many parts without a long video.
    let padded = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    padded.set_len(std::fs::metadata(&file).unwrap().len() + (200 << 20)).unwrap();
    let mut upload = ann.command(&["upload", "--json", "--parallel", "1", &file.display().to_string()]);
    let mut started = upload.stdout(std::process::Stdio::null()).spawn().unwrap();
    let objects = deployment.folder.path().join("data/objects");
    let started_parts = timeout(WAIT_LIMIT, async {
        while folder_size(&objects) < 40 << 20 {
            sleep(Duration::from_millis(10)).await;
        }
    });
    started_parts.await.expect("parts are uploaded");
    started.kill().await.unwrap();
    let output = ann.run(&["upload", "--wait", "--json", &file.display().to_string()]).await.expect_exit(0);
    assert_eq!(output.json()["state"], "READY", "{output:?}");
    let videos = ann.run(&["videos", "--json"]).await.expect_exit(0).json();
    assert_eq!(videos["videos"].as_array().unwrap().len(), 1, "the same upload was resumed");
    deployment.stop().await;
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
async fn system_stopped_while_encoding_finishes_after_restart() {
    let mut deployment = Deployment::single_process().await;
    let mut ann = CliUser::sign_up(&deployment, "ann").await;
    let file = clip(deployment.folder.path(), "long.mp4", "1920x1080", 30).await;
    let name = upload(&ann, &file).await;
    wait_for_job(&ann, "RUNNING", || deployment.logs()).await;
    let mut role = deployment.take("up");
    assert_eq!(role.terminate().await, Some(0), "{}", role.log());
    deployment.up("127.0.0.1:0").await;
    let server = deployment.server.clone();
    ann.set_server(&server);
    ann.run(&["sign-in", "--email", &ann.email, "--password-file", &ann.password_file()])
        .await
        .expect_exit(0);
    let video = ann.run(&["watch", &name, "--json"]).await.expect_exit(0).json();
    assert_eq!(video["state"], "READY", "{video}");
    deployment.stop().await;
}
