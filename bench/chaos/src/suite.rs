//! A run: an undisturbed upload of each clip, faults during many uploads, and the comparison.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::{join, join_all};
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    audit,
    client::User,
    clips::Clip,
    cluster::Cluster,
    fault::Fault,
    options::Options,
    outputs::Outputs,
    report::Report,
    schedule::{PlannedFault, PlannedUpload, Schedule},
    timeline::Timeline,
};

/// Users, whose videos compete.
const USERS: usize = 4;
/// Time for the undisturbed uploads.
const REFERENCE_TIMEOUT: Duration = Duration::from_secs(300);
/// Time for the deletion of all videos.
const DELETE_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause between two looks at the videos.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for the target of a fault, while another fault hits it.
const TARGET_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for a fault to end after its planned duration: a server has to start.
const FAULT_MARGIN: Duration = Duration::from_secs(90);

/// What an undisturbed system makes of a clip.
struct Reference {
    name: String,
    is_ready: bool,
    outputs: Outputs,
    objects: usize,
}

/// Videos with the indices of their users, by name.
type Videos = BTreeMap<String, (usize, Value)>;

/// What is needed during a run.
pub struct Suite<'a> {
    pub options: &'a Options,
    pub cluster: &'a Cluster,
    pub clips: &'a [Clip],
    pub folder: &'a Path,
    pub timeline: &'a Timeline,
    pub http: reqwest::Client,
}

impl Suite<'_> {
    /// Runs everything; the report says what was lost.
    pub async fn run(&self) -> Result<Report> {
        let mut users = Vec::new();
        for number in 0..USERS {
            users.push(User::sign_up(&self.cluster.url(), self.folder, number).await?);
        }
        audit::install(&self.cluster.servers).await?;
        let available = self.available_faults();
        ensure!(
            self.options.faults == 0 || !available.is_empty(),
            "no fault can be injected on this machine"
        );
        let references = self.references(&users[0]).await?;
        let weights: Vec<u32> = self.clips.iter().map(|clip| clip.weight).collect();
        let schedule = Schedule::draw(self.options, &available, &weights, users.len());
        let begin = Instant::now();
        let deadline = begin + self.options.end_of_faults() + self.options.settle;
        let uploads = self.upload_all(&users, &schedule.uploads, begin, deadline);
        let (uploaded, injected) = join(uploads, self.inject_all(&schedule.faults, begin)).await;
        self.timeline.add("all faults have ended");
        ensure!(injected > 0 || schedule.faults.is_empty(), "no fault was injected");
        // A fault may have begun late, because another one hit the same.
        let deadline = Instant::now() + self.options.settle;
        let ended = self.wait_until_ended(&users, deadline).await?;
        self.timeline.add("waiting for videos has ended");
        let mut report = self.compare(&schedule.uploads, &uploaded, &ended, &references, deadline).await?;
        self.delete_all(&users, &ended, deadline).await;
        report.orphans.extend(audit::leftovers(&self.cluster.servers).await?);
        (report.faults, report.injected) = (schedule.faults.len(), injected);
        for process in self.cluster.ended().await {
            self.timeline.add(format!("ended by itself: {process}"));
        }
        Ok(report)
    }

    fn available_faults(&self) -> Vec<Fault> {
        let mut available = Vec::new();
        for fault in Fault::all().into_iter().filter(|fault| self.options.wants(&fault.name())) {
            match fault.unavailable(self.cluster) {
                None => available.push(fault),
                Some(reason) => self.timeline.add(format!("left out: {}: {reason}", fault.name())),
            }
        }
        available
    }

    /// Uploads each clip once and waits for its end.
    async fn references(&self, user: &User) -> Result<Vec<Reference>> {
        let deadline = Instant::now() + REFERENCE_TIMEOUT;
        let mut names = Vec::new();
        for clip in self.clips {
            let video = user.run(&["upload", "--json", &clip.path.display().to_string()]).await?;
            names.push(name_of(&video)?);
        }
        let ended = self.wait_until_ended(std::slice::from_ref(user), deadline).await?;
        // Second cleanups have nothing to do here, but are awaited by the comparison, too.
        let objects = self.object_counts().await?;
        let mut references = Vec::new();
        for (clip, name) in self.clips.iter().zip(names) {
            let (_, video) = ended.get(&name).with_context(|| format!("{} did not end", clip.name))?;
            ensure!(has_ended(video), "{} did not end", clip.name);
            let is_ready = video["state"] == "READY";
            let outputs =
                if is_ready { Outputs::fetch(&self.http, video).await? } else { Outputs::default() };
            self.timeline.add(format!("undisturbed: {} is {}", clip.name, video["state"]));
            let objects = count_of(&objects, &name);
            references.push(Reference { name, is_ready, outputs, objects });
        }
        Ok(references)
    }

    /// Uploads at the planned times; returns the name of each video.
    async fn upload_all(
        &self,
        users: &[User],
        planned: &[PlannedUpload],
        begin: Instant,
        deadline: Instant,
    ) -> Vec<Result<String>> {
        let uploads = planned.iter().enumerate().map(async |(index, upload)| {
            sleep_until(begin + upload.at).await;
            let file = self.copy_of(&self.clips[upload.clip], index)?;
            let user = &users[upload.user];
            let arguments = ["upload", "--json", &file.display().to_string()];
            let video = user.run_until(deadline, &arguments).await;
            std::fs::remove_file(&file)?;
            let name = name_of(&video?)?;
            self.timeline.add(format!("uploaded {}: {name}", file_name(&file)));
            Ok(name)
        });
        join_all(uploads).await
    }

    /// A file of its own for each upload: an interrupted upload of a file is resumed.
    fn copy_of(&self, clip: &Clip, index: usize) -> Result<PathBuf> {
        let path = self.folder.join(format!("{index}-{}", file_name(&clip.path)));
        std::fs::copy(&clip.path, &path)?;
        Ok(path)
    }

    /// Injects all faults; returns how many began and ended as planned.
    async fn inject_all(&self, planned: &[PlannedFault], begin: Instant) -> usize {
        let targets = Mutex::new(HashSet::new());
        let injected = join_all(planned.iter().map(async |planned| {
            sleep_until(begin + planned.at).await;
            let (name, target) = (planned.fault.name(), planned.fault.target(planned.replica));
            let wait = Instant::now() + TARGET_TIMEOUT;
            while !lock(&targets).insert(target.clone()) {
                if Instant::now() > wait {
                    self.timeline.add(format!("left out: {name}: {target} was always under another fault"));
                    return false;
                }
                sleep(Duration::from_millis(200)).await;
            }
            let seconds = planned.duration.as_secs_f64();
            let length =
                if planned.fault.is_instant() { String::new() } else { format!(" for {seconds:.1} s") };
            self.timeline.add(format!("begin {name} on {target}{length}"));
            let fault = planned.fault.inject(self.cluster, planned.replica, planned.duration);
            let failure = match timeout(planned.duration + FAULT_MARGIN, fault).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some("took too long".to_owned()),
            };
            let shown = failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
            self.timeline.add(format!("end {name} on {target}{shown}"));
            lock(&targets).remove(&target);
            failure.is_none()
        }))
        .await;
        injected.into_iter().filter(|is_injected| *is_injected).count()
    }

    /// Waits until all videos are READY or FAILED; returns all videos by name.
    async fn wait_until_ended(&self, users: &[User], deadline: Instant) -> Result<Videos> {
        loop {
            let mut videos = Videos::new();
            for (index, user) in users.iter().enumerate() {
                for video in user.videos(deadline).await? {
                    videos.insert(name_of(&video)?, (index, video));
                }
            }
            if videos.values().all(|(_, video)| has_ended(video)) || Instant::now() > deadline {
                return Ok(videos);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Compares with the undisturbed system.
    async fn compare(
        &self,
        planned: &[PlannedUpload],
        uploaded: &[Result<String>],
        ended: &Videos,
        references: &[Reference],
        deadline: Instant,
    ) -> Result<Report> {
        let mut report = Report { jobs: uploaded.len(), ..Report::default() };
        let objects = self.object_counts_after_cleanup().await?;
        for (upload, name) in planned.iter().zip(uploaded) {
            let (clip, reference) = (&self.clips[upload.clip], &references[upload.clip]);
            let name = match name {
                Ok(name) => name,
                Err(error) => {
                    report.stuck.push(format!("upload of {}: {error:#}", clip.name));
                    continue;
                }
            };
            let Some((_, video)) = ended.get(name) else {
                report.lost.push(format!("{name} ({}) is gone", clip.name));
                continue;
            };
            let shown = format!("{name} ({}, {})", clip.name, video["job"].as_str().unwrap_or_default());
            match video["state"].as_str() {
                Some("READY") if reference.is_ready => {
                    report.ready += 1;
                    let difference = match self.fetch(video, deadline).await {
                        Ok(outputs) => outputs.difference(&reference.outputs),
                        Err(error) => Some(format!("{error:#}")),
                    };
                    let (count, expected) = (count_of(&objects, name), reference.objects);
                    let counts = format!("{count} objects instead of {expected}");
                    let missing = (count < expected).then(|| counts.clone());
                    let wrong: Vec<String> = difference.into_iter().chain(missing).collect();
                    if !wrong.is_empty() {
                        report.wrong_bytes.push(format!("{shown}: {}", wrong.join("; ")));
                    }
                    if count > expected {
                        report.orphans.push(format!("{shown}: {counts}"));
                    }
                }
                Some("FAILED") if !reference.is_ready => report.failed_own_fault += 1,
                Some("FAILED") => report.lost.push(format!("{shown}: {}", failure_of(video))),
                Some("READY") => report.wrong_bytes.push(format!("{shown}: READY instead of FAILED")),
                _ => report.stuck.push(format!("{shown}: {}", video["state"])),
            }
        }
        let known: HashSet<&String> =
            uploaded.iter().flatten().chain(references.iter().map(|reference| &reference.name)).collect();
        let unknown = ended.iter().filter(|(name, _)| !known.contains(name));
        report.doubled.extend(unknown.map(|(name, (_, video))| {
            format!("{name}: a second video of {}: {}", video["displayName"], video["state"])
        }));
        report.doubled.extend(audit::videos_with_several_jobs(&self.cluster.servers).await?);
        report.re_encoded.extend(audit::completed_twice(&self.cluster.servers).await?);
        Ok(report)
    }

    async fn fetch(&self, video: &Value, deadline: Instant) -> Result<Outputs> {
        loop {
            match Outputs::fetch(&self.http, video).await {
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(POLL_INTERVAL).await,
                found => return found,
            }
        }
    }

    /// Number of objects of each video.
    async fn object_counts(&self) -> Result<HashMap<String, usize>> {
        let mut counts = HashMap::new();
        for key in self.cluster.servers.object_keys().await? {
            if let Some((id, _)) = key.strip_prefix("outputs/").and_then(|key| key.split_once('/')) {
                *counts.entry(format!("videos/{id}")).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// The same after the cleanups that are due later.
    async fn object_counts_after_cleanup(&self) -> Result<HashMap<String, usize>> {
        audit::clean_up_now(&self.cluster.servers).await?;
        self.object_counts().await
    }

    async fn delete_all(&self, users: &[User], videos: &Videos, deadline: Instant) {
        let deadline = deadline + DELETE_TIMEOUT;
        for (name, (user, _)) in videos {
            let deleted = users[*user].run_until(deadline, &["delete", name, "--yes", "--json"]).await;
            if let Err(error) = deleted {
                self.timeline.add(format!("{name} was not deleted: {error:#}"));
            }
        }
        self.timeline.add("all videos are deleted");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn count_of(counts: &HashMap<String, usize>, video: &str) -> usize {
    counts.get(video).copied().unwrap_or(0)
}

fn has_ended(video: &Value) -> bool {
    video["state"] == "READY" || video["state"] == "FAILED"
}

/// Why a video is FAILED.
fn failure_of(video: &Value) -> String {
    let failure = &video["failure"];
    match (failure["reason"].as_str(), failure["message"].as_str()) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        _ => failure.to_string(),
    }
}

fn name_of(video: &Value) -> Result<String> {
    match video["name"].as_str() {
        Some(name) => Ok(name.to_owned()),
        None => bail!("a video without a name: {video}"),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
