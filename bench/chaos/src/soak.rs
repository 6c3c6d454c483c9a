//! `make soak`: hours of uploads, watchers, deletes and restarts. What is used at the end must be what was used in the
//! beginning.

use std::{
    path::Path,
    time::{Duration, Instant as StdInstant},
};

use anyhow::{Result, ensure};
use futures::future::join;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    audit,
    client::User,
    clips::{Clip, FAULTY},
    cluster::{Cluster, ROLES},
    options::Options,
    outputs::Outputs,
    report::Outcome,
    timeline::Timeline,
    usage::Usage,
};

/// Users, each of whom uploads, watches, plays and deletes in turn.
const USERS: usize = 3;
/// Pause of a user between two videos.
const PAUSE: Duration = Duration::from_secs(2);
/// Videos that a user keeps.
const KEPT: usize = 8;
/// Interval between restarts of a replica.
const RESTART_INTERVAL: Duration = Duration::from_secs(120);
/// Interval between samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);
/// Part of the time after which memory is compared, in percent: caches are full then.
const WARM_UP_PERCENT: u32 = 20;
/// Growth that is not explained by fragmentation or the moment of a sample.
const MAX_MEMORY_GROWTH: f64 = 0.25;
const MAX_HANDLES_GROWTH: u64 = 30;
const MAX_LATENCY_RATIO: f64 = 1.5;
/// Time for the commands of a user.
const COMMAND_TIME: Duration = Duration::from_secs(300);

/// What a user did.
#[derive(Default)]
struct Done {
    /// Seconds from the start until the video was uploaded, and from then until it was READY, in the order of upload.
    latencies: Vec<(f64, f64)>,
    deleted: usize,
    failed: usize,
}

/// Runs a soak; the outcome says what has grown.
pub async fn run(
    options: &Options,
    cluster: &Cluster,
    clips: &[Clip],
    folder: &Path,
    timeline: &Timeline,
) -> Result<Outcome> {
    let begin = StdInstant::now();
    let end = begin + options.soak;
    // The file that is faulty would only repeat one failure, and a long one would hide the latency of the others.
    let clips: Vec<&Clip> = clips.iter().filter(|clip| clip.name != FAULTY && clip.name != "long").collect();
    ensure!(!clips.is_empty(), "clips: a soak leaves out long and faulty");
    let http = reqwest::Client::new();
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(User::sign_up(&cluster.url(), folder, number).await?);
    }
    let use_all = futures::future::join_all(users.iter().enumerate().map(async |(number, user)| {
        let random = StdRng::seed_from_u64(options.seed * 1000 + number as u64);
        use_until(user, &clips, &http, random, begin, end).await
    }));
    let observe = async {
        let restarts = restart_until(cluster, timeline, end);
        let samples = sample_until(cluster, timeline, begin, options.soak);
        join(restarts, samples).await
    };
    let (done, (restarts, samples)) = join(use_all, observe).await;
    let (restarts, samples) = (restarts?, samples?);
    let mut all = Done::default();
    for done in done {
        let done = done?;
        all.latencies.extend(done.latencies);
        all.deleted += done.deleted;
        all.failed += done.failed;
    }
    let left = audit::leftovers(&cluster.servers).await?;
    Ok(report(timeline, options, &all, restarts, &samples, &left))
}

fn report(
    timeline: &Timeline,
    options: &Options,
    all: &Done,
    restarts: usize,
    samples: &(Usage, Usage),
    left: &[String],
) -> Outcome {
    let (first, last) = samples;
    // Of the replicas that were not restarted.
    let is_old = |name: &&String| name.ends_with("-1");
    let mut memory_growth = 0.0_f64;
    for (name, bytes) in last.memory.iter().filter(|(name, _)| is_old(name)) {
        let before = first.memory.get(name).copied().unwrap_or(*bytes);
        let growth = *bytes as f64 / before as f64 - 1.0;
        timeline.add(format!("{name}: {} MiB, then {} MiB", before >> 20, bytes >> 20));
        memory_growth = memory_growth.max(growth);
    }
    let mut handles_growth = 0;
    for (name, handles) in last.handles.iter().filter(|(name, _)| is_old(name)) {
        let before = first.handles.get(name).copied().unwrap_or(*handles);
        handles_growth = handles_growth.max(handles.saturating_sub(before));
    }
    for (table, count) in &last.rows {
        let before = first.rows.get(table).copied().unwrap_or_default();
        if *count != before {
            timeline.add(format!("{table}: {before} rows, then {count}"));
        }
    }
    let mut latencies = all.latencies.clone();
    latencies.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (early, late) = latencies.split_at(latencies.len() / 2);
    let latency_ratio = median(late) / median(early);
    let (seconds, videos) = (options.soak.as_secs(), all.latencies.len());
    let summary = format!(
        "soak: seconds {seconds} videos {videos} failed {} deleted {} restarts {restarts} memory-growth {:.0}% \
         handles-growth {handles_growth} latency-ratio {latency_ratio:.2} left {}",
        all.failed,
        all.deleted,
        memory_growth * 100.0,
        left.len(),
    );
    Outcome {
        is_clean: all.failed == 0
            && left.is_empty()
            && memory_growth <= MAX_MEMORY_GROWTH
            && handles_growth <= MAX_HANDLES_GROWTH
            && latency_ratio <= MAX_LATENCY_RATIO,
        result: json!({
            "seconds": seconds,
            "videos": videos,
            "failed": all.failed,
            "deleted": all.deleted,
            "restarts": restarts,
            "memory-growth": memory_growth,
            "handles-growth": handles_growth,
            "latency-ratio": latency_ratio,
            "left": left,
        }),
        details: left.iter().map(|object| format!("left: {object}")).collect(),
        summary,
    }
}

/// Uploads, watches, plays and deletes videos.
async fn use_until(
    user: &User,
    clips: &[&Clip],
    http: &reqwest::Client,
    mut random: StdRng,
    begin: StdInstant,
    end: StdInstant,
) -> Result<Done> {
    let mut done = Done::default();
    let mut kept: Vec<String> = Vec::new();
    while StdInstant::now() < end {
        let clip = clips[random.random_range(0..clips.len())];
        let started = StdInstant::now();
        let path = clip.path.display().to_string();
        // A replica that restarts may answer UNAVAILABLE: the command is repeated, as a user would.
        let deadline = Instant::now() + COMMAND_TIME;
        let video = user.run_until(deadline, &["upload", "--no-resume", "--wait", "--json", &path]).await?;
        let seconds = started.elapsed().as_secs_f64();
        if video["state"] == "READY" && Outputs::fetch(http, &video).await.is_ok() {
            done.latencies.push(((started - begin).as_secs_f64(), seconds));
        } else {
            done.failed += 1;
        }
        kept.extend(video["name"].as_str().map(str::to_owned));
        if kept.len() > KEPT {
            delete(user, &kept.remove(0), &mut done).await?;
        }
        sleep(PAUSE).await;
    }
    // Also those of repeated commands.
    for video in user.videos(Instant::now() + COMMAND_TIME).await? {
        if let Some(name) = video["name"].as_str() {
            delete(user, name, &mut done).await?;
        }
    }
    Ok(done)
}

async fn delete(user: &User, name: &str, done: &mut Done) -> Result<()> {
    let _: Value =
        user.run_until(Instant::now() + COMMAND_TIME, &["delete", name, "--yes", "--json"]).await?;
    done.deleted += 1;
    Ok(())
}

/// Restarts the second replica of each role in turn, by SIGTERM; returns how often.
async fn restart_until(cluster: &Cluster, timeline: &Timeline, end: StdInstant) -> Result<usize> {
    for restarts in 0.. {
        sleep(RESTART_INTERVAL.min(end.saturating_duration_since(StdInstant::now()))).await;
        if StdInstant::now() >= end {
            return Ok(restarts);
        }
        let (role, ..) = ROLES[restarts % ROLES.len()];
        let mut process = cluster.replica(role, 2).await?;
        process.terminate().await?;
        process.start(&[])?;
        timeline.add(format!("restarted {role}-2"));
    }
    Ok(0)
}

/// The first sample after the warm-up, and the last one.
async fn sample_until(
    cluster: &Cluster,
    timeline: &Timeline,
    begin: StdInstant,
    length: Duration,
) -> Result<(Usage, Usage)> {
    sleep(length * WARM_UP_PERCENT / 100).await;
    let first = Usage::measure(cluster).await?;
    let mut last = first.clone();
    while begin.elapsed() + SAMPLE_INTERVAL < length {
        sleep(SAMPLE_INTERVAL).await;
        // A process that is being restarted cannot be measured.
        if let Ok(usage) = Usage::measure(cluster).await {
            let memory: u64 = usage.memory.values().sum();
            let rows: u64 = usage.rows.values().sum();
            timeline.add(format!("{} MiB, {rows} rows, {} objects", memory >> 20, usage.objects));
            last = usage;
        }
    }
    Ok((first, last))
}

fn median(latencies: &[(f64, f64)]) -> f64 {
    let mut seconds: Vec<f64> = latencies.iter().map(|(_, seconds)| *seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}
