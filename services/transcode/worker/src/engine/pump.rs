//! From an encoder's pipe to the store: cuts the stream into segments as it comes and puts each one
//! as soon as it is whole. A slow store slows the encoder down; it does not fill memory.

use super::activity::Activity;
use super::sink::{Content, OutputSink, SinkError};
use bytes::{Bytes, BytesMut};
use reelmill_media::fragments::{FragmentError, Fragments, Part};
use reelmill_media::playlists::Segment;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Segments of one track on their way at once.
const TRACK_PUTS: usize = 2;
/// Segments of all tracks on their way at once.
pub(super) const TASK_PUTS: usize = 6;
/// The largest poster that is kept.
const MAX_POSTER_BYTES: u64 = 4 * 1024 * 1024;
/// Media segments are numbered from here.
const FIRST_SEGMENT: usize = 1;
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
    #[error("a put panicked")]
    Panicked,
}

/// What all pumps of a task share.
#[derive(Clone)]
pub(super) struct Outlet {
    pub sink: Arc<dyn OutputSink>,
    pub activity: Activity,
    pub permits: Arc<Semaphore>,
}

impl Outlet {
    pub fn new(sink: Arc<dyn OutputSink>, activity: Activity) -> Self {
        Self { sink, activity, permits: Arc::new(Semaphore::new(TASK_PUTS)) }
    }
}

/// A track (a rung, or the sound) as it was put.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Folder of its outputs: `720p`, `audio`.
    pub folder: String,
    /// RFC 6381 codec string; empty when nothing came.
    pub codec: String,
    /// Size of the initialisation segment, bytes.
    pub init_bytes: u64,
    /// The media segments, names relative to the folder.
    pub segments: Vec<Segment>,
    /// Frames in all.
    pub frames: u64,
    /// The same stream as one file in the scratch folder.
    pub scratch: PathBuf,
}

impl Track {
    /// Seconds in all.
    pub fn seconds(&self) -> f64 {
        self.segments.iter().map(|segment| segment.seconds).sum()
    }
}

struct Pump {
    outlet: Outlet,
    track: Track,
    scratch: File,
    puts: JoinSet<Result<(), SinkError>>,
}

/// Pumps one track until its pipe ends; `scratch` gets a copy for the progressive file.
pub(super) async fn track(
    mut pipe: pipe::Receiver,
    folder: String,
    scratch: PathBuf,
    outlet: Outlet,
) -> Result<Track, PumpError> {
    let file = File::create(&scratch).await.map_err(PumpError::Scratch)?;
    let track = Track { folder, scratch, ..Track::default() };
    let mut pump = Pump { outlet, track, scratch: file, puts: JoinSet::new() };
    let mut reader = Fragments::new();
    let mut chunk = BytesMut::with_capacity(256 * 1024);
    while pipe.read_buf(&mut chunk).await.map_err(PumpError::Pipe)? > 0 {
        pump.outlet.activity.touch();
        for part in reader.push(&chunk)? {
            pump.part(part).await?;
        }
        chunk.clear();
    }
    reader.finish()?;
    while !pump.puts.is_empty() {
        pump.put_ended().await?;
    }
    pump.scratch.flush().await.map_err(PumpError::Scratch)?;
    Ok(pump.track)
}

impl Pump {
    async fn part(&mut self, part: Part) -> Result<(), PumpError> {
        match part {
            Part::Init(init) => {
                self.track.codec = init.codec;
                self.track.init_bytes = init.bytes.len() as u64;
                self.put("init.mp4".into(), init.bytes).await
            }
            Part::Fragment(fragment) => {
                let name = format!("seg_{:05}.m4s", self.track.segments.len() + FIRST_SEGMENT);
                self.track.frames += u64::from(fragment.frames);
                let bytes = fragment.bytes.len() as u64;
                self.track.segments.push(Segment { name: name.clone(), seconds: fragment.seconds, bytes });
                self.put(name, fragment.bytes).await
            }
        }
    }

    /// Keeps a copy, and starts to put it once fewer than the allowed number are on their way.
    async fn put(&mut self, name: String, bytes: Bytes) -> Result<(), PumpError> {
        self.scratch.write_all(&bytes).await.map_err(PumpError::Scratch)?;
        while self.puts.len() >= TRACK_PUTS {
            self.put_ended().await?;
        }
        let outlet = self.outlet.clone();
        let name = format!("{}/{name}", self.track.folder);
        self.puts.spawn(async move {
            // The semaphore is never closed.
            let _permit = outlet.permits.acquire().await;
            let _waiting = outlet.activity.waiting();
            let put = outlet.sink.put(&name, Content::Bytes(bytes), SEGMENT_TYPE).await;
            outlet.activity.touch();
            put
        });
        Ok(())
    }

    async fn put_ended(&mut self) -> Result<(), PumpError> {
        match self.puts.join_next().await {
            Some(Ok(put)) => Ok(put?),
            Some(Err(_)) => Err(PumpError::Panicked),
            None => Ok(()),
        }
    }
}

/// Reads the whole poster; empty when there was no frame for it.
pub(super) async fn poster(pipe: pipe::Receiver) -> Result<Bytes, PumpError> {
    let mut image = Vec::new();
    pipe.take(MAX_POSTER_BYTES).read_to_end(&mut image).await.map_err(PumpError::Pipe)?;
    Ok(image.into())
}
