//! A small dispatch of the tests' own: looks at a source, plans it, has the shares encoded in whatever order and with
//! whatever deaths, joins and publishes.

use crate::board::{Board, Recorded};
use crate::support::{Store, engine, wait_until};
use reelmill_media::Failure;
use reelmill_media::plan::{Chunk, Options, Plan, WorkUnit, plan};
use reelmill_media::playlists::{Track, TrackKind};
use reelmill_media::probe::Source;
use reelmill_worker::engine::{
    Completion, Engine, Output, OutputKind, OutputSink, Progress, Session, Snapshot, SourceAddress, TaskIo,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

/// As in production.
pub fn options(rungs: &[u32]) -> Options {
    Options { rungs: rungs.to_vec(), threads: 2, ..Options::default() }
}

/// A planned job.
pub struct Job {
    pub engine: Engine,
    pub address: SourceAddress,
    pub source: Source,
    pub plan: Plan,
    pub board: Board,
    pub scratch: TempDir,
    folder: TempDir,
    progress: Progress,
    snapshots: watch::Receiver<Snapshot>,
}

impl Job {
    /// Looks at a source and plans it.
    pub async fn new(
        engine: &Engine,
        address: SourceAddress,
        options: &Options,
    ) -> Result<Self, (Failure, TempDir)> {
        let (folder, scratch) = (TempDir::new().expect("folder"), TempDir::new().expect("scratch"));
        let inspected = async {
            let session = engine.open(address.clone()).await?;
            engine.inspect(&session, scratch.path()).await
        };
        let source = match inspected.await {
            Ok(source) => source,
            Err(failure) => return Err((failure, scratch)),
        };
        let (progress, snapshots) = Progress::new();
        Ok(Self {
            engine: engine.clone(),
            address,
            plan: plan(&source, options),
            source,
            board: Board::new(folder.path()),
            scratch,
            folder,
            progress,
            snapshots,
        })
    }

    /// Of a file whose plan cannot fail.
    pub async fn of(file: &Path, options: &Options) -> Self {
        let store = Store::start().await;
        let planned = Self::new(&engine(), store.add(file), options).await;
        planned.map_err(|(failure, _)| failure).expect("planned")
    }

    /// The same plan for one worker that never stops: what a single pass over the source gives.
    pub fn in_one_pass(mut self) -> Self {
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

    /// Encodes a share under a prefix of its own, with nothing recorded before.
    pub async fn encode(&self, work_unit: usize) -> Result<Completion, Failure> {
        self.attempt(work_unit, &format!("{work_unit}.1"), &HashMap::new()).await
    }

    /// Encodes what is missing of a share.
    pub async fn attempt(
        &self,
        work_unit: usize,
        prefix: &str,
        recorded: &HashMap<String, u32>,
    ) -> Result<Completion, Failure> {
        let session = self.open().await?;
        let sink = self.board.sink(prefix, None);
        self.engine
            .encode(&session, &self.plan, &self.plan.work_units[work_unit], recorded, self.place(sink))
            .await
    }

    /// Begins a share, kills its worker once `segments` are recorded of it, and has another one go on.
    pub async fn encode_with_a_death(&self, work_unit: usize, segments: usize) {
        let prefix = format!("{work_unit}.1");
        let session = self.open().await.expect("open");
        let sink = self.board.sink(&prefix, Some(segments));
        let nothing = HashMap::new();
        let plan = &self.plan;
        let working =
            self.engine.encode(&session, plan, &plan.work_units[work_unit], &nothing, self.place(sink));
        let killed = wait_until(Duration::from_secs(60), "segments", || {
            let recorded = self.board.recorded();
            let of_it = recorded.iter().filter(|recorded| recorded.prefix == prefix);
            of_it.filter(|recorded| recorded.output.name.ends_with(".m4s")).count() >= segments
        });
        tokio::select! {
            ended = working => panic!("the share is done before its worker dies: {ended:?}"),
            () = killed => {}
        }
        let recorded = self.recorded_of(&plan.work_units[work_unit]);
        self.attempt(work_unit, &format!("{work_unit}.2"), &recorded).await.expect("done by the successor");
    }

    /// How many segments of a share are recorded, by rendition.
    pub fn recorded_of(&self, work_unit: &WorkUnit) -> HashMap<String, u32> {
        let mut counts = HashMap::new();
        let own = self.segments_of(work_unit);
        for Recorded { output: Output { rendition, kind, .. }, .. } in self.board.recorded() {
            if let OutputKind::Segment { sequence, .. } = kind
                && own(&rendition, sequence)
            {
                *counts.entry(rendition).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Whether a segment is one of a share's.
    fn segments_of<'a>(&'a self, work_unit: &'a WorkUnit) -> impl Fn(&str, u32) -> bool + 'a {
        let chunks =
            self.plan.video.as_ref().map(|video_plan| video_plan.chunks.as_slice()).unwrap_or_default();
        let range = work_unit.chunk.map(|chunk| {
            let first = |chunk: usize| chunks.get(chunk).map_or(u32::MAX, |chunk| chunk.first_segment);
            first(chunk)..first(chunk + 1)
        });
        move |rendition, sequence| {
            let of_rung = |&rung: &usize| {
                self.plan.video.as_ref().is_some_and(|video_plan| video_plan.rungs[rung].id == rendition)
            };
            let of_audio = |&audio: &usize| self.plan.audio[audio].id == rendition;
            work_unit.rungs.iter().any(of_rung)
                && range.as_ref().is_some_and(|range| range.contains(&sequence))
                || work_unit.audio.iter().any(of_audio)
        }
    }

    /// Joins each rendition's recorded segments into a progressive file, as the last task of a cut video does.
    pub async fn package(&self) -> Result<(), Failure> {
        let store = Store::start().await;
        let sound = self.plan.audio.iter().find(|audio| audio.default);
        let rungs = self.plan.video.iter().flat_map(|video_plan| &video_plan.rungs);
        for rung in rungs {
            let video = self.addresses(&store, &rung.id);
            let audio = sound.and_then(|sound| self.addresses(&store, &sound.id));
            let place = self.place(self.board.sink("package.1", None));
            self.engine.package(&rung.id, video, audio, place).await?;
        }
        Ok(())
    }

    fn addresses(&self, store: &Store, rendition: &str) -> Option<Vec<SourceAddress>> {
        let track = self.track(rendition);
        let uris = std::iter::once(&track.init).chain(track.segments.iter().map(|segment| &segment.uri));
        let parts: Vec<_> = uris.map(|uri| store.add(&self.folder.path().join(uri))).collect();
        (!track.segments.is_empty()).then_some(parts)
    }

    /// Encodes every share in the plan's order, packages and publishes.
    pub async fn run(&self) -> Result<Completion, Failure> {
        let mut all = Completion::default();
        for work_unit in 0..self.plan.work_units.len() {
            all.warnings.extend(self.encode(work_unit).await?.warnings);
        }
        if !self.plan.is_single() {
            self.package().await?;
        }
        self.board.publish(&self.plan);
        Ok(all)
    }

    async fn open(&self) -> Result<Session, Failure> {
        self.engine.open(self.address.clone()).await
    }

    fn place(&self, sink: Arc<dyn OutputSink>) -> TaskIo<'_> {
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
        self.board.track(kind, id, self.plan.presentation_time_offset())
    }

    /// One file of a rendition's initialisation segment and all its media segments, as players see it.
    pub fn joined(&self, id: &str) -> PathBuf {
        let track = self.track(id);
        let uris = std::iter::once(&track.init).chain(track.segments.iter().map(|segment| &segment.uri));
        let bytes: Vec<u8> = uris.flat_map(|uri| std::fs::read(self.path(uri)).expect("object")).collect();
        let file = self.path(&format!("{id}.joined.mp4"));
        std::fs::write(&file, bytes).expect("write");
        file
    }

    /// Path of what is named relative to the presentation.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A playlist's text.
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

    /// Path of an output that counts.
    pub fn file(&self, is: impl Fn(&Output) -> bool) -> Option<PathBuf> {
        self.board.one(is).map(|recorded| self.path(&recorded.uri()))
    }

    /// How far the last share is.
    pub fn progress(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }

    /// Encodes the first share, and says how far it was at each moment.
    pub async fn told(&self) -> Vec<Snapshot> {
        let mut told = Vec::new();
        let mut running = std::pin::pin!(self.encode(0));
        loop {
            tokio::select! {
                done = &mut running => {
                    done.expect("done");
                    return told;
                }
                () = tokio::time::sleep(Duration::from_millis(5)) => told.push(self.progress()),
            }
        }
    }

    /// Ids of the rungs, highest first.
    pub fn rungs(&self) -> Vec<&str> {
        let rungs = self.plan.video.iter().flat_map(|video_plan| &video_plan.rungs);
        rungs.map(|rung| rung.id.as_str()).collect()
    }

    /// Frames that were recorded of a rung.
    pub fn frames(&self, rung: &str) -> u32 {
        let recorded = self.board.recorded();
        let of_it = recorded.iter().filter(|recorded| recorded.output.rendition == rung);
        of_it
            .map(
                |recorded| {
                    if let OutputKind::Segment { frames, .. } = recorded.output.kind { frames } else { 0 }
                },
            )
            .sum()
    }
}

/// A transcoding that ended.
pub struct Run {
    /// What it came to.
    pub result: Result<Completion, Failure>,
    /// The job, unless the source was refused.
    pub job: Option<Job>,
    /// What was left in the scratch folder of a refused one.
    pub scratch: Option<TempDir>,
}

impl Run {
    /// The job of a success.
    pub fn done(&self) -> &Job {
        if let Err(failure) = &self.result {
            panic!("{failure}");
        }
        self.job.as_ref().expect("planned")
    }

    /// The scratch folder.
    pub fn scratch(&self) -> &Path {
        let own = self.job.as_ref().map(|job| &job.scratch);
        own.or(self.scratch.as_ref()).expect("one of the two").path()
    }
}

/// Transcodes `file` by the default options.
pub async fn transcode(file: &Path) -> Run {
    transcode_with(&engine(), Store::start().await.add(file), &options(&[])).await
}

/// Transcodes what is at an address with an engine of the test's own.
pub async fn transcode_with(engine: &Engine, source: SourceAddress, options: &Options) -> Run {
    match Job::new(engine, source, options).await {
        Ok(job) => Run { result: job.run().await, job: Some(job), scratch: None },
        Err((failure, scratch)) => Run { result: Err(failure), job: None, scratch: Some(scratch) },
    }
}

/// Transcodes a file that must succeed.
pub async fn done(file: &Path, options: &Options) -> Job {
    let job = Job::of(file, options).await;
    job.run().await.unwrap_or_else(|failure| panic!("{}: {failure}", file.display()));
    job
}
