//! From an encoder's pipe to the store: cuts the stream into segments as it comes, puts each one as soon as it is
//! whole, and records them in their order. A slow store slows the encoder down; it does not fill memory.

use super::activity::Activity;
use super::progress::Progress;
use super::recorder::Recording;
use super::sink::{Content, Output, OutputSink, Role, SinkError};
use bytes::{Bytes, BytesMut};
use reelmill_media::fragments::{Fragment, FragmentError, Fragments, Init, Part, Shift};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Segments of one track on their way at once.
const TRACK_PUTS: usize = 2;
/// Segments of all tracks on their way at once.
const TASK_PUTS: usize = 6;
/// What a pipe holds.
const PIPE_BYTES: usize = 64 * 1024;
/// Bytes on their way to a file.
const FILE_BUFFER: usize = 128 * 1024;
/// A stream that begins so much later than it should lacks a frame, seconds.
const LATE: f64 = 0.005;
/// Segments hold video, audio or both in MP4 boxes.
const SEGMENT_TYPE: &str = "video/mp4";

/// What went wrong between pipe and store.
#[derive(Debug, thiserror::Error)]
pub(super) enum PumpError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Stream(#[from] FragmentError),
    #[error("scratch: {0}")]
    Scratch(io::Error),
    #[error("pipe: {0}")]
    Pipe(io::Error),
    #[error("the stream begins later than it should")]
    Late,
    #[error("a put panicked")]
    Panicked,
}

/// What all pumps of a task share.
#[derive(Clone)]
pub(super) struct Outlet {
    pub sink: Arc<dyn OutputSink>,
    pub recording: Recording,
    pub activity: Activity,
    permits: Arc<Semaphore>,
}

impl Outlet {
    pub fn new(sink: Arc<dyn OutputSink>, recording: Recording, activity: Activity) -> Self {
        Self { sink, recording, activity, permits: Arc::new(Semaphore::new(TASK_PUTS)) }
    }

    /// Puts and records one output.
    pub async fn put(
        &self,
        output: Output,
        content: Content,
        content_type: &'static str,
    ) -> Result<(), SinkError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let _waiting = self.activity.waiting();
        let put = self.sink.put(&output.name, content, content_type).await;
        self.activity.touch();
        put.map(|()| self.recording.record(output))
    }
}

/// What a track is to become.
pub(super) struct TrackPlan {
    /// The rendition, and folder of its outputs: `720p`, `audio-0`.
    pub rendition: String,
    /// Place of its first segment in the rendition.
    pub first_segment: u32,
    /// So many of its segments are recorded already.
    pub recorded: u32,
    /// When its first frame is due, seconds, where a seek may have gone too far.
    pub due: Option<f64>,
    /// How its times are moved.
    pub shift: Shift,
    /// Where it is told how far sound is that has no picture beside it.
    pub heard: Option<Progress>,
    /// Where a copy of the whole stream is kept.
    pub copy: Option<PathBuf>,
    /// Bytes of the longest copy. A longer one is given up, so that a long stream does not fill the disk.
    pub longest_copy: u64,
}

/// A track (a rung, or sound) as it was put.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// The rendition.
    pub rendition: String,
    /// Media segments in it.
    pub segments: u32,
    /// Bytes of them.
    pub bytes: u64,
    /// The same stream as one file, where a copy was wanted and did not get too long.
    pub copy: Option<PathBuf>,
}

/// A put on its way; what it put is recorded when those before it are.
type Put = (Output, AbortOnDropHandle<Result<(), SinkError>>);

struct Pump {
    outlet: Outlet,
    plan: TrackPlan,
    track: Track,
    init: Option<Init>,
    copy: Option<File>,
    puts: VecDeque<Put>,
}

/// A new file that holds little in memory.
pub(super) async fn scratch_file(path: &Path) -> io::Result<File> {
    let mut file = File::create(path).await?;
    file.set_max_buf_size(FILE_BUFFER);
    Ok(file)
}

/// Pumps one track until its pipe ends.
pub(super) async fn track(
    mut pipe: pipe::Receiver,
    plan: TrackPlan,
    outlet: Outlet,
) -> Result<Track, PumpError> {
    let copy = match &plan.copy {
        Some(path) => Some(scratch_file(path).await.map_err(PumpError::Scratch)?),
        None => None,
    };
    let track = Track { rendition: plan.rendition.clone(), copy: plan.copy.clone(), ..Track::default() };
    let mut reader = Fragments::shifted(plan.shift);
    let mut pump = Pump { outlet, plan, track, init: None, copy, puts: VecDeque::new() };
    let mut chunk = BytesMut::with_capacity(PIPE_BYTES);
    loop {
        let read = tokio::select! {
            read = pipe.read_buf(&mut chunk) => read.map_err(PumpError::Pipe)?,
            // What is put counts at once, not only when there is more to put.
            put = pump.put_ended(), if !pump.puts.is_empty() => {
                put?;
                continue;
            }
        };
        if read == 0 {
            break;
        }
        pump.outlet.activity.touch();
        for part in reader.push(&chunk)? {
            match part {
                Part::Init(init) => pump.init(init).await?,
                Part::Fragment(fragment) => pump.fragment(fragment).await?,
            }
        }
        chunk.clear();
    }
    reader.finish()?;
    while !pump.puts.is_empty() {
        pump.put_ended().await?;
    }
    if let Some(copy) = &mut pump.copy {
        copy.flush().await.map_err(PumpError::Scratch)?;
    }
    Ok(pump.track)
}

impl Pump {
    /// Kept until there is a segment: a track without any is no track.
    async fn init(&mut self, init: Init) -> Result<(), PumpError> {
        self.keep(&init.bytes).await?;
        self.init = Some(init);
        Ok(())
    }

    async fn fragment(&mut self, fragment: Fragment) -> Result<(), PumpError> {
        let place = self.track.segments;
        if place == 0 && self.plan.due.is_some_and(|due| fragment.start > due + LATE) {
            return Err(PumpError::Late);
        }
        if let Some(progress) = &self.plan.heard {
            progress.heard(fragment.start + fragment.seconds, Instant::now());
        }
        self.keep(&fragment.bytes).await?;
        self.track.segments += 1;
        self.track.bytes += fragment.bytes.len() as u64;
        let init = self.init.take();
        if place < self.plan.recorded {
            return Ok(());
        }
        if let Some(init) = init {
            let role = Role::Init { codec: init.codec };
            self.put("init.mp4", role, init.bytes).await?;
        }
        let sequence = self.plan.first_segment + place;
        let role = Role::Segment {
            sequence,
            start: fragment.start,
            seconds: fragment.seconds,
            frames: fragment.frames,
            keyframe_bytes: fragment.keyframe_bytes,
        };
        self.put(&format!("seg_{:05}.m4s", sequence + 1), role, fragment.bytes).await
    }

    async fn keep(&mut self, bytes: &Bytes) -> Result<(), PumpError> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        if self.track.bytes + bytes.len() as u64 <= self.plan.longest_copy {
            return copy.write_all(bytes).await.map_err(PumpError::Scratch);
        }
        self.copy = None;
        match self.track.copy.take() {
            Some(path) => fs::remove_file(path).await.map_err(PumpError::Scratch),
            None => Ok(()),
        }
    }

    /// Starts to put once fewer than the allowed number are on their way.
    async fn put(&mut self, file: &str, role: Role, bytes: Bytes) -> Result<(), PumpError> {
        while self.puts.len() >= TRACK_PUTS {
            self.put_ended().await?;
        }
        let rendition = self.plan.rendition.clone();
        let name = format!("{rendition}/{file}");
        let output = Output { name: name.clone(), size_bytes: bytes.len() as u64, rendition, role };
        let outlet = self.outlet.clone();
        let put = tokio::spawn(async move {
            // The semaphore is never closed.
            let _permit = outlet.permits.acquire().await;
            let _waiting = outlet.activity.waiting();
            let put = outlet.sink.put(&name, Content::Bytes(bytes), SEGMENT_TYPE).await;
            outlet.activity.touch();
            put
        });
        self.puts.push_back((output, AbortOnDropHandle::new(put)));
        Ok(())
    }

    /// Waits for the earliest put and records what it put. It may be dropped and begun again.
    async fn put_ended(&mut self) -> Result<(), PumpError> {
        let Some((_, put)) = self.puts.front_mut() else { return Ok(()) };
        let ended = put.await;
        let Some((output, _)) = self.puts.pop_front() else { return Ok(()) };
        ended.map_err(|_| PumpError::Panicked)??;
        self.outlet.recording.record(output);
        Ok(())
    }
}
