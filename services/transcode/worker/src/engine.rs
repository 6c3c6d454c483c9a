//! The engine of one task: a source in, renditions out, through one ffmpeg. It knows nothing of
//! queues and leases. Dropping a running [`Engine::transcode`] kills what it started.

mod activity;
mod encode;
mod inspect;
mod package;
mod process;
mod progress;
mod proxy;
mod pump;
mod sink;
mod source;
mod verdict;

pub use progress::{Progress, Snapshot, Work};
pub use sink::{Content, OutputSink, SinkError};

use activity::Activity;
use proxy::SourceProxy;
use pump::Outlet;
use reelmill_media::geometry::Size;
use reelmill_media::plan::{Plan, plan};
use reelmill_media::playlists::Bandwidth;
use reelmill_media::probe::Source;
use reelmill_media::{Failure, Reason};
use source::{SourceError, SourceReader};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What turns sources into renditions.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The encoder: a name on the path, or a path.
    pub ffmpeg: String,
    /// The prober.
    pub ffprobe: String,
    /// Threads an encoder.
    pub threads: u32,
    /// How long things may take.
    pub bounds: Bounds,
    /// Reads the source.
    pub http: reqwest::Client,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The probe, of wall time and of CPU time.
    pub probe: Duration,
    /// An encoder without any sign of life.
    pub silence: Duration,
    /// How long a store that is away is tried again, for a part of the source or an output.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            patience: Duration::from_secs(100),
        }
    }
}

/// A file to transcode.
#[derive(Clone, Debug)]
pub struct SourceAddress {
    /// Where it is read by ranged GET.
    pub uri: String,
    /// Its size, bytes.
    pub size_bytes: u64,
}

/// What was made of a source.
#[derive(Clone, Debug)]
pub struct Transcoded {
    /// What the source is.
    pub source: Source,
    /// What was put.
    pub outcome: Outcome,
}

/// What was put.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The rungs, highest first.
    pub rungs: Vec<RungOutcome>,
    /// Name of the master playlist.
    pub master_playlist: String,
    /// Name of the poster; empty when there is none.
    pub poster: String,
    /// Every output.
    pub outputs: Vec<Output>,
}

/// A finished rung.
#[derive(Clone, Debug)]
pub struct RungOutcome {
    /// Short name, as `720p`.
    pub id: String,
    /// Pixels.
    pub size: Size,
    /// Frames a second.
    pub frame_rate: f64,
    /// RFC 6381 codec strings of video and audio.
    pub codecs: String,
    /// Bit rates of video and audio together.
    pub bandwidth: Bandwidth,
    /// Size of the progressive MP4, bytes.
    pub size_bytes: u64,
    /// Frames.
    pub frames: u64,
}

/// One output.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its size, bytes.
    pub size_bytes: u64,
}

impl Engine {
    /// Makes every rendition of `source`, using the folder `scratch` (which exists, and is the
    /// caller's to remove), putting outputs in `sink` as they are made.
    ///
    /// # Errors
    /// A reason and a sentence for people; [`Reason::retryable`] tells whether to try again.
    pub async fn transcode(
        &self,
        source: SourceAddress,
        scratch: &Path,
        sink: Arc<dyn OutputSink>,
        progress: &Progress,
    ) -> Result<Transcoded, Failure> {
        let activity = Activity::new();
        let (http, patience) = (self.http.clone(), self.bounds.patience);
        let reader = SourceReader::new(http, source.uri, source.size_bytes, patience, activity.clone());
        let reader = Arc::new(reader);
        let proxy = SourceProxy::start(Arc::clone(&reader)).await.map_err(|error| crashed(&error))?;
        let source = inspect::inspect(self, &reader, &activity, &proxy, scratch).await?;
        let mut plan = plan(&source, self.threads);
        progress.planned(&source, &plan);
        let outlet = Outlet::new(sink, activity);
        let encode = async |plan: &Plan| {
            outlet.activity.touch();
            encode::encode(self, plan, proxy.address(), &reader, scratch, &outlet, progress).await
        };
        let mut tracks = encode(&plan).await;
        if plan.audio_index.is_some()
            && tracks.as_ref().is_err_and(|failure| audio_may_be_why(failure.reason))
        {
            // Sound that cannot be decoded stops ffmpeg before the first frame. A silent video is
            // better than none.
            plan.audio_index = None;
            tracks = encode(&plan).await;
        }
        let outcome = package::package(self, &plan, &tracks?, scratch, &outlet, progress).await?;
        Ok(Transcoded { source, outcome })
    }
}

fn audio_may_be_why(reason: Reason) -> bool {
    matches!(reason, Reason::DecodeFailed | Reason::CodecUnsupported)
}

/// A fault of the worker itself: logged, not told.
fn crashed(error: &dyn Display) -> Failure {
    tracing::warn!(%error, "the encoder failed");
    Failure::new(Reason::EncoderCrashed, "The worker failed. It is tried again.")
}

fn unreadable(error: &SourceError) -> Failure {
    tracing::warn!(%error, "the source cannot be read");
    Failure::new(Reason::SourceUnreadable, "The uploaded file could not be read. It is tried again.")
}
