//! Segment upload: reads one track from the encoder's pipe, cuts it into segments as it arrives, puts each one
//! as soon as it is complete, and records them in order. A slow object store slows the encoder down; it does not
//! fill memory.

use std::{collections::VecDeque, path::PathBuf, time::Instant};

use bytes::{Bytes, BytesMut};
use reelmill_media::fragments::{Fragment, Fragments, Init, Part, Shift};
use tokio::{io::AsyncReadExt, net::unix::pipe};
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{
    output::{
        local_copy::LocalCopy,
        sink::{Content, Output, OutputKind, SinkError},
        upload_context::{UploadContext, UploadError},
    },
    progress::publisher::ProgressPublisher,
};

/// Uploads of one track that are in flight at the same time.
const MAX_TRACK_UPLOADS: usize = 2;
/// Capacity of a pipe, bytes.
const PIPE_BYTES: usize = 64 * 1024;
/// A stream that starts later than expected by more than this lacks a frame, seconds.
const MAX_START_DELAY: f64 = 0.005;
/// Content type of init and media segments, of video and audio.
const SEGMENT_CONTENT_TYPE: &str = "video/mp4";

/// How a track is uploaded.
pub(crate) struct TrackSpec {
    /// Rendition, and folder of its outputs: `720p`, `audio-0`.
    pub rendition: String,
    /// Index of its first segment in the rendition.
    pub first_segment: u32,
    /// Most segments; what follows belongs to the next part.
    pub max_segments: Option<u32>,
    /// A segment that stands in the rendition several times.
    pub held: Option<HeldSegment>,
    /// Number of its segments that are recorded already.
    pub recorded_segments: u32,
    /// Expected time of its first frame, seconds, if the encoder sought to it.
    pub expected_start: Option<f64>,
    /// Shift of its timestamps.
    pub shift: Shift,
    /// Where the progress of an audio track is published.
    pub audio_progress: Option<ProgressPublisher>,
    /// Where a copy of the stream is kept.
    pub copy_path: Option<PathBuf>,
    /// Largest copy, bytes. A larger one is deleted.
    pub max_copy_bytes: u64,
}

/// A segment that is encoded once and stands in the rendition several times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldSegment {
    /// Its index in the rendition.
    pub segment: u32,
    /// How many times it stands there, at least once.
    pub times: u32,
    /// Number of its frames.
    pub frames: u32,
}

/// A track (a rung, or audio) that was uploaded.
#[derive(Clone, Debug, Default)]
pub(crate) struct UploadedTrack {
    pub rendition: String,
    /// Number of media segments, recorded ones included.
    pub segments: u32,
    /// Size of the media segments, bytes.
    pub bytes: u64,
    /// Copy of the stream, if one was requested and did not get too large.
    pub copy: Option<PathBuf>,
}

/// An upload in flight, and its output, which is recorded after those before it.
type Upload = (Output, AbortOnDropHandle<Result<(), SinkError>>);

struct TrackUpload {
    context: UploadContext,
    spec: TrackSpec,
    track: UploadedTrack,
    /// Uploaded with the first segment: a track without segments has no outputs.
    init: Option<Init>,
    copy: Option<LocalCopy>,
    in_flight: VecDeque<Upload>,
    /// Number of segments that were encoded.
    encoded_segments: u32,
    /// How many more times the held segment stands in the rendition than it was encoded, and its duration.
    repetitions: u32,
    held_ticks: u64,
}

/// Uploads one track until its pipe is closed.
pub(crate) async fn upload_track(
    mut pipe: pipe::Receiver,
    spec: TrackSpec,
    context: UploadContext,
) -> Result<UploadedTrack, UploadError> {
    let copy = match &spec.copy_path {
        Some(path) => Some(LocalCopy::create(path.clone()).await.map_err(UploadError::Scratch)?),
        None => None,
    };
    let track = UploadedTrack { rendition: spec.rendition.clone(), ..UploadedTrack::default() };
    let mut reader = Fragments::shifted(spec.shift);
    let mut upload = TrackUpload {
        context,
        spec,
        track,
        init: None,
        copy,
        in_flight: VecDeque::new(),
        encoded_segments: 0,
        repetitions: 0,
        held_ticks: 0,
    };
    let mut chunk = BytesMut::with_capacity(PIPE_BYTES);
    loop {
        let read = tokio::select! {
            read = pipe.read_buf(&mut chunk) => read.map_err(UploadError::Pipe)?,
            // Record a segment as soon as it is uploaded, not only when the next one arrives.
            completed = upload.complete_first(), if !upload.in_flight.is_empty() => {
                completed?;
                continue;
            }
        };
        if read == 0 {
            break;
        }
        upload.context.activity().touch();
        for part in reader.push(&chunk)? {
            match part {
                Part::Init(init) => upload.init(init).await?,
                Part::Fragment(fragment) => upload.encoded(fragment).await?,
            }
        }
        chunk.clear();
    }
    reader.finish()?;
    upload.finish().await
}

impl TrackUpload {
    async fn init(&mut self, init: Init) -> Result<(), UploadError> {
        self.append_to_copy(&init.bytes).await?;
        self.init = Some(init);
        Ok(())
    }

    /// Uploads a segment that was encoded, as often as it stands in the rendition.
    async fn encoded(&mut self, fragment: Fragment) -> Result<(), UploadError> {
        let number = self.spec.first_segment + self.encoded_segments;
        self.encoded_segments += 1;
        let Some(held) = self.spec.held.filter(|held| number >= held.segment) else {
            return self.segment(fragment).await;
        };
        if number == held.segment {
            // A segment that is cut short is the end of the stream.
            let is_whole = fragment.frames == held.frames;
            self.repetitions = if is_whole { held.times - 1 } else { 0 };
            self.held_ticks = fragment.ticks;
        }
        let first = if number == held.segment { 0 } else { self.repetitions };
        for times in first..=self.repetitions {
            self.segment(fragment.delayed(times, u64::from(times) * self.held_ticks)?).await?;
        }
        Ok(())
    }

    async fn segment(&mut self, fragment: Fragment) -> Result<(), UploadError> {
        let index = self.track.segments;
        if self.spec.max_segments.is_some_and(|max| index >= max) {
            return Ok(());
        }
        let is_late = |expected: f64| fragment.start > expected + MAX_START_DELAY;
        if index == 0 && self.spec.expected_start.is_some_and(is_late) {
            return Err(UploadError::StartsLate);
        }
        if let Some(progress) = &self.spec.audio_progress {
            progress.audio_encoded(fragment.start + fragment.seconds, Instant::now());
        }
        self.append_to_copy(&fragment.bytes).await?;
        self.track.segments += 1;
        self.track.bytes += fragment.bytes.len() as u64;
        let init = self.init.take();
        if index < self.spec.recorded_segments {
            return Ok(());
        }
        if let Some(init) = init {
            let kind = OutputKind::Init { codec: init.codec };
            self.begin_upload("init.mp4", kind, init.bytes).await?;
        }
        let sequence = self.spec.first_segment + index;
        let kind = OutputKind::Segment {
            sequence,
            start: fragment.start,
            seconds: fragment.seconds,
            frames: fragment.frames,
            keyframe_bytes: fragment.keyframe_bytes,
        };
        self.begin_upload(&format!("seg_{:05}.m4s", sequence + 1), kind, fragment.bytes).await
    }

    async fn append_to_copy(&mut self, bytes: &Bytes) -> Result<(), UploadError> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        if self.track.bytes + bytes.len() as u64 <= self.spec.max_copy_bytes {
            return copy.append(bytes).await.map_err(UploadError::Scratch);
        }
        match self.copy.take() {
            Some(copy) => copy.delete().await.map_err(UploadError::Scratch),
            None => Ok(()),
        }
    }

    /// Begins an upload once fewer than the allowed number are in flight.
    async fn begin_upload(&mut self, file: &str, kind: OutputKind, bytes: Bytes) -> Result<(), UploadError> {
        while self.in_flight.len() >= MAX_TRACK_UPLOADS {
            self.complete_first().await?;
        }
        let rendition = self.spec.rendition.clone();
        let name = format!("{rendition}/{file}");
        let output = Output { name: name.clone(), size_bytes: bytes.len() as u64, rendition, kind };
        let context = self.context.clone();
        let put = async move { context.put(&name, Content::Bytes(bytes), SEGMENT_CONTENT_TYPE).await };
        self.in_flight.push_back((output, AbortOnDropHandle::new(tokio::spawn(put))));
        Ok(())
    }

    /// Waits for the earliest upload and records its output. Cancel-safe.
    async fn complete_first(&mut self) -> Result<(), UploadError> {
        let Some((_, upload)) = self.in_flight.front_mut() else { return Ok(()) };
        let joined = upload.await;
        let Some((output, _)) = self.in_flight.pop_front() else { return Ok(()) };
        joined.map_err(|_| UploadError::Panicked)??;
        self.context.record(output);
        Ok(())
    }

    async fn finish(mut self) -> Result<UploadedTrack, UploadError> {
        while !self.in_flight.is_empty() {
            self.complete_first().await?;
        }
        if let Some(copy) = self.copy {
            self.track.copy = Some(copy.finish().await.map_err(UploadError::Scratch)?);
        }
        Ok(self.track)
    }
}
