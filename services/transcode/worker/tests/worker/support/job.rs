//! Transcoding without the service: probes a source, plans it, encodes its work units in any order and with simulated
//! crashes, packages and publishes.

use super::engine::engine;
use super::file_server::FileServer;
use super::processes::wait_until;
use super::recorded_outputs::{Recorded, RecordedOutputs};
use reelmill_media::Failure;
use reelmill_media::plan::{Chunk, Options, Plan, WorkUnit, plan};
use reelmill_media::playlists::{Track, TrackKind};
use reelmill_media::probe::Source;
use reelmill_worker::engine::{
    Completion, Engine, Output, OutputKind, OutputSink, ProgressPublisher, Session, Snapshot, SourceAddress,
    TaskIo,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

/// Production options with the given rungs; none of them means the default ladder.
pub fn options(rungs: &[u32]) -> Options {
    Options { rungs: rungs.to_vec(), threads: 2, ..Options::default() }
}

/// A planned job.
pub struct Job {
    pub engine: Engine,
    pub address: SourceAddress,
    pub source: Source,
    pub plan: Plan,
    pub outputs: RecordedOutputs,
    pub scratch: TempDir,
    folder: TempDir,
    progress: ProgressPublisher,
    snapshots: watch::Receiver<Snapshot>,
}

impl Job {
    /// Probes and plans a source. A failure comes with the scratch folder.
    pub async fn new(
        engine: &Engine,
        address: SourceAddress,
        options: &Options,
    ) -> Result<Self, (Failure, TempDir)> {
        let (folder, scratch) = (TempDir::new().expect("folder"), TempDir::new().expect("scratch"));
        let probed = async {
            let session = engine.open(address.clone()).await?;
            engine.inspect(&session, None, scratch.path()).await
        };
        let source = match probed.await {
            Ok(source) => source,
            Err(failure) => return Err((failure, scratch)),
        };
        let (progress, snapshots) = ProgressPublisher::new();
        Ok(Self {
            engine: engine.clone(),
            address,
            plan: plan(&source, options),
            source,
            outputs: RecordedOutputs::new(folder.path()),
            scratch,
            folder,
            progress,
            snapshots,
        })
    }

    /// Probes and plans a source that must be accepted, with an engine of the test's own.
    pub async fn planned_with(engine: &Engine, address: SourceAddress, options: &Options) -> Self {
        let planned = Self::new(engine, address, options).await;
        planned.map_err(|(failure, _)| failure).expect("planned")
    }

    /// Probes and plans a file that must be accepted.
    pub async fn planned(file: &Path, options: &Options) -> Self {
        Self::planned_with(&engine(), FileServer::start().await.add(file), options).await
    }

    /// The same plan with a single chunk: one pass over the source encodes everything.
    pub fn into_single_chunk(mut self) -> Self {
        let video_plan = self.plan.video.as_mut().expect("video");
        video_plan.chunks = vec![Chunk { first_frame: 0, frames: None, first_segment: 0 }];
        let first = self.plan.work_units[0].clone();
        self.plan.work_units = vec![WorkUnit {
            rungs: (0..video_plan.rungs.len()).collect(),
            audio: (0..self.plan.audio.len()).collect(),
            subtitles: (0..self.plan.subtitles.len()).collect(),
            ..first
        }];
        self
    }

    /// Encodes a work unit in its first attempt, with nothing recorded before.
    pub async fn encode(&self, work_unit: usize) -> Result<Completion, Failure> {
        self.attempt(work_unit, &format!("{work_unit}.1"), &HashMap::new()).await
    }

    /// Encodes what is not recorded of a work unit. `recorded` counts segments by rendition.
    pub async fn attempt(
        &self,
        work_unit: usize,
        prefix: &str,
        recorded: &HashMap<String, u32>,
    ) -> Result<Completion, Failure> {
        let session = self.open().await?;
        let sink = self.outputs.sink(prefix, None);
        self.engine
            .encode(&session, &self.plan, &self.plan.work_units[work_unit], recorded, self.task_io(sink))
            .await
    }

    /// Begins a work unit, aborts it when `segments` of it are recorded, and continues it in a second attempt.
    pub async fn encode_with_crash(&self, work_unit: usize, segments: usize) {
        let prefix = format!("{work_unit}.1");
        let session = self.open().await.expect("open");
        let sink = self.outputs.sink(&prefix, Some(segments));
        let nothing = HashMap::new();
        let plan = &self.plan;
        let encoding =
            self.engine.encode(&session, plan, &plan.work_units[work_unit], &nothing, self.task_io(sink));
        let enough = wait_until(Duration::from_secs(60), "segments", || {
            let recorded = self.outputs.recorded();
            let of_attempt = recorded.iter().filter(|recorded| recorded.prefix == prefix);
            of_attempt.filter(|recorded| recorded.output.name.ends_with(".m4s")).count() >= segments
        });
        tokio::select! {
            ended = encoding => panic!("the work unit is complete before its worker crashes: {ended:?}"),
            () = enough => {}
        }
        let recorded = self.recorded_of(&plan.work_units[work_unit]);
        self.attempt(work_unit, &format!("{work_unit}.2"), &recorded).await.expect("second attempt");
    }

    /// Number of recorded segments of a work unit by rendition.
    fn recorded_of(&self, work_unit: &WorkUnit) -> HashMap<String, u32> {
        let mut counts = HashMap::new();
        let is_included = self.segments_of(work_unit);
        for Recorded { output: Output { rendition, kind, .. }, .. } in self.outputs.recorded() {
            if let OutputKind::Segment { sequence, .. } = kind
                && is_included(&rendition, sequence)
            {
                *counts.entry(rendition).or_insert(0) += 1;
            }
        }
        counts
    }

    /// A predicate: whether a segment, by rendition and sequence number, is part of a work unit.
    fn segments_of<'a>(&'a self, work_unit: &'a WorkUnit) -> impl Fn(&str, u32) -> bool + 'a {
        let chunks =
            self.plan.video.as_ref().map(|video_plan| video_plan.chunks.as_slice()).unwrap_or_default();
        let range = work_unit.chunk.map(|chunk| {
            let first = |chunk: usize| chunks.get(chunk).map_or(u32::MAX, |chunk| chunk.first_segment);
            first(chunk)..first(chunk + 1)
        });
        move |rendition, sequence| {
            let is_rung = |&rung: &usize| {
                self.plan.video.as_ref().is_some_and(|video_plan| video_plan.rungs[rung].id == rendition)
            };
            let is_audio = |&audio: &usize| self.plan.audio[audio].id == rendition;
            work_unit.rungs.iter().any(is_rung)
                && range.as_ref().is_some_and(|range| range.contains(&sequence))
                || work_unit.audio.iter().any(is_audio)
        }
    }

    /// Joins the recorded segments of each rung to a progressive file, as the last task of a chunked job does.
    pub async fn package(&self) -> Result<(), Failure> {
        let server = FileServer::start().await;
        let audio = self.plan.audio.iter().find(|audio| audio.default);
        let rungs = self.plan.video.iter().flat_map(|video_plan| &video_plan.rungs);
        for rung in rungs {
            let video = self.addresses(&server, &rung.id);
            let audio = audio.and_then(|audio| self.addresses(&server, &audio.id));
            let task_io = self.task_io(self.outputs.sink("package.1", None));
            self.engine.package(&rung.id, video, audio, task_io).await?;
        }
        Ok(())
    }

    fn addresses(&self, server: &FileServer, rendition: &str) -> Option<Vec<SourceAddress>> {
        let track = self.track(rendition);
        let uris = std::iter::once(&track.init).chain(track.segments.iter().map(|segment| &segment.uri));
        let parts: Vec<_> = uris.map(|uri| server.add(&self.folder.path().join(uri))).collect();
        (!track.segments.is_empty()).then_some(parts)
    }

    /// Encodes every work unit in the plan's order, packages and publishes.
    pub async fn run(&self) -> Result<Completion, Failure> {
        let mut all = Completion::default();
        for work_unit in 0..self.plan.work_units.len() {
            all.warnings.extend(self.encode(work_unit).await?.warnings);
        }
        if !self.plan.is_single() {
            self.package().await?;
        }
        self.outputs.publish(&self.plan);
        Ok(all)
    }

    async fn open(&self) -> Result<Session, Failure> {
        self.engine.open(self.address.clone()).await
    }

    fn task_io(&self, sink: Arc<dyn OutputSink>) -> TaskIo<'_> {
        TaskIo { scratch: self.scratch.path(), sink, progress: &self.progress }
    }

    /// A rendition as it was recorded.
    pub fn track(&self, id: &str) -> Track {
        let kind = TrackKind::Subtitles {
            language: String::new(),
            name: String::new(),
            default: false,
            forced: false,
        };
        self.outputs.track(kind, id, self.plan.presentation_time_offset())
    }

    /// Writes the init segment and all media segments of a rendition to one file: what a player receives.
    pub fn joined(&self, id: &str) -> PathBuf {
        let track = self.track(id);
        let uris = std::iter::once(&track.init).chain(track.segments.iter().map(|segment| &segment.uri));
        let bytes: Vec<u8> = uris.flat_map(|uri| std::fs::read(self.path(uri)).expect("object")).collect();
        let file = self.path(&format!("{id}.joined.mp4"));
        std::fs::write(&file, bytes).expect("write");
        file
    }

    /// Path of a name relative to the presentation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Content of a text file, such as a playlist.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    /// Path of a rendition's progressive file.
    pub fn progressive(&self, rendition: &str) -> PathBuf {
        self.file(|output| output.kind == OutputKind::Progressive && output.rendition == rendition)
            .unwrap_or_else(|| panic!("no progressive file of {rendition}"))
    }

    /// Path of the poster.
    pub fn poster(&self) -> PathBuf {
        self.file(|output| output.kind == OutputKind::Poster).expect("poster")
    }

    /// Path of the first recorded output that matches.
    pub fn file(&self, matches: impl Fn(&Output) -> bool) -> Option<PathBuf> {
        self.outputs.find(matches).map(|recorded| self.path(&recorded.uri()))
    }

    /// Latest progress of the task that was run last.
    pub fn progress(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// Encodes the first work unit and samples its progress at short intervals.
    pub async fn encode_sampling_progress(&self) -> Vec<Snapshot> {
        let mut samples = Vec::new();
        let mut encoding = std::pin::pin!(self.encode(0));
        loop {
            tokio::select! {
                result = &mut encoding => {
                    result.expect("encoded");
                    return samples;
                }
                () = tokio::time::sleep(Duration::from_millis(5)) => samples.push(self.progress()),
            }
        }
    }

    /// Ids of the rungs, highest first.
    pub fn rungs(&self) -> Vec<&str> {
        let rungs = self.plan.video.iter().flat_map(|video_plan| &video_plan.rungs);
        rungs.map(|rung| rung.id.as_str()).collect()
    }

    /// Number of recorded frames of a rung.
    pub fn frames(&self, rung: &str) -> u32 {
        let recorded = self.outputs.recorded();
        let of_rung = recorded.iter().filter(|recorded| recorded.output.rendition == rung);
        of_rung
            .map(
                |recorded| {
                    if let OutputKind::Segment { frames, .. } = recorded.output.kind { frames } else { 0 }
                },
            )
            .sum()
    }
}

/// A transcode that has ended.
pub struct Run {
    pub result: Result<Completion, Failure>,
    /// The job; `None` if the source was refused.
    pub job: Option<Job>,
    /// Scratch folder of a refused source.
    pub refused_scratch: Option<TempDir>,
}

impl Run {
    /// The job of a successful run.
    pub fn completed(&self) -> &Job {
        if let Err(failure) = &self.result {
            panic!("{failure}");
        }
        self.job.as_ref().expect("planned")
    }

    /// Path of the scratch folder.
    pub fn scratch(&self) -> &Path {
        let planned = self.job.as_ref().map(|job| &job.scratch);
        planned.or(self.refused_scratch.as_ref()).expect("one of the two").path()
    }
}

/// Transcodes a file with the default options.
pub async fn transcode(file: &Path) -> Run {
    transcode_with(&engine(), FileServer::start().await.add(file), &options(&[])).await
}

/// Transcodes a source with an engine of the test's own.
pub async fn transcode_with(engine: &Engine, source: SourceAddress, options: &Options) -> Run {
    match Job::new(engine, source, options).await {
        Ok(job) => Run { result: job.run().await, job: Some(job), refused_scratch: None },
        Err((failure, scratch)) => Run { result: Err(failure), job: None, refused_scratch: Some(scratch) },
    }
}

/// Transcodes a file, which must succeed.
pub async fn transcoded(file: &Path, options: &Options) -> Job {
    let job = Job::planned(file, options).await;
    job.run().await.unwrap_or_else(|failure| panic!("{}: {failure}", file.display()));
    job
}
