//! The engine of one task: a source in, segments and files out, through ffmpeg in a jail. It knows nothing of
//! queues and leases. Dropping what runs kills what it started.

mod activity;
mod encode;
mod inspect;
mod join;
mod process;
mod progress;
mod proxy;
mod pump;
mod recorder;
mod seek;
mod sink;
mod source;
mod steady;
mod stills;
mod trial;
mod verdict;

pub use process::Jail;
pub use progress::{Progress, Snapshot};
pub use sink::{Content, Output, OutputSink, Role, SinkError};

use activity::Activity;
use encode::Encoded;
use proxy::SourceProxy;
use pump::Outlet;
use recorder::Recorder;
use reelmill_media::plan::{Plan, WorkUnit};
use reelmill_media::probe::Source;
use reelmill_media::{Failure, FailureKind};
use source::{SourceError, SourceReader};
use std::collections::HashMap;
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
    /// What holds both.
    pub jail: Jail,
    /// How long things may take, and how large they may be.
    pub bounds: Bounds,
    /// Reads the source.
    pub http: reqwest::Client,
}

/// How long things may take, and how large they may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The probe, of wall time and of CPU time.
    pub probe: Duration,
    /// An encoder without any sign of life.
    pub silence: Duration,
    /// How long a store that is away is tried again, for a part of the source or an output.
    pub patience: Duration,
    /// The largest progressive MP4, bytes: what an object store takes in one request. A copy in the scratch folder is
    /// never larger.
    pub download: u64,
    /// The longest list of packets that is read of a source, bytes.
    pub list: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            patience: Duration::from_secs(100),
            download: 5 << 30,
            list: 16 << 20,
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

/// What is to be said of a task that is done; what it made is recorded.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// What is not as one may expect.
    pub warnings: Vec<Failure>,
}

/// An open source: read through a cache, and served to ffmpeg on the loopback. Used for all that one task does with it.
pub struct Session {
    reader: Arc<SourceReader>,
    proxy: SourceProxy,
    activity: Activity,
}

/// Where a task's outputs go.
#[derive(Clone)]
pub struct Place<'a> {
    /// A folder that exists, and is the caller's to remove.
    pub scratch: &'a Path,
    /// The store.
    pub sink: Arc<dyn OutputSink>,
    /// Where it is told how far the task is.
    pub progress: &'a Progress,
}

impl Engine {
    /// Opens a source.
    ///
    /// # Errors
    /// When the loopback cannot be used.
    pub async fn open(&self, source: SourceAddress) -> Result<Session, Failure> {
        let activity = Activity::new();
        let (http, patience) = (self.http.clone(), self.bounds.patience);
        let reader = SourceReader::new(http, source.uri, source.size_bytes, patience, activity.clone());
        let reader = Arc::new(reader);
        let proxy = SourceProxy::start(Arc::clone(&reader)).await.map_err(|error| crashed(&error))?;
        Ok(Session { reader, proxy, activity })
    }

    /// Looks at a source.
    ///
    /// # Errors
    /// A reason and a sentence for people; [`FailureKind::retryable`] tells whether to try again.
    pub async fn inspect(&self, session: &Session, scratch: &Path) -> Result<Source, Failure> {
        inspect::inspect(self, session, scratch).await
    }

    /// Makes a share of a plan. Of renditions in `recorded` the first so many segments of the share are in
    /// the store already: they are made again, since nothing else gives the same bytes after them, but not put again.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub async fn encode(
        &self,
        session: &Session,
        plan: &Plan,
        work_unit: &WorkUnit,
        recorded: &HashMap<String, u32>,
        place: Place<'_>,
    ) -> Result<Done, Failure> {
        place.progress.begin(plan, work_unit);
        let recorder = Recorder::start(Arc::clone(&place.sink), self.bounds.patience);
        let outlet = Outlet::new(Arc::clone(&place.sink), recorder.handle(), session.activity.clone());
        let mut warnings = Vec::new();
        let mut less = without(plan, work_unit).into_iter();
        let mut work_unit = work_unit.clone();
        let encoded = loop {
            session.activity.touch();
            let work =
                encode::Work { engine: self, session, plan, work_unit: &work_unit, recorded, place: &place };
            match encode::encode(&work, &outlet).await {
                Ok(encoded) => break encoded,
                // What cannot be decoded stops ffmpeg before the first frame. A video without some of its sound or its
                // text is better than none.
                Err(failure)
                    if matches!(failure.kind, FailureKind::DecodeFailed | FailureKind::CodecUnsupported) =>
                {
                    match less.next() {
                        Some((rest, what)) => {
                            work_unit = rest;
                            warnings = what.into_iter().map(left_out).collect();
                        }
                        None if work_unit.rungs.is_empty() && plan.video.is_some() => {
                            warnings = vec![left_out("sound")];
                            break Encoded::default();
                        }
                        None => return Err(failure),
                    }
                }
                Err(failure) => return Err(failure),
            }
        };
        if encoded.audio.iter().any(|(_, track)| track.segments == 0) {
            warnings.push(left_out("sound"));
        }
        warnings.extend(encoded.warning());
        if work_unit.priority == 0 {
            warnings.extend(remarks(&plan.source));
        }
        if plan.is_single() {
            warnings.extend(join::join_local(self, plan, &encoded, &outlet, &place).await?);
        }
        drop(outlet);
        recorder.finish().await?;
        place.progress.finished();
        Ok(Done { warnings })
    }

    /// Encodes a second of test pictures in the jail, and writes to the scratch folder.
    ///
    /// # Errors
    /// What keeps this machine from encoding anything, for its log.
    pub async fn trial(&self, scratch: &Path) -> Result<(), String> {
        trial::trial(self, scratch).await
    }

    /// Joins the recorded segments of a rendition with those of the sound into a progressive MP4.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub async fn package(
        &self,
        rendition: &str,
        video: Option<Vec<SourceAddress>>,
        audio: Option<Vec<SourceAddress>>,
        place: Place<'_>,
    ) -> Result<Done, Failure> {
        let recorder = Recorder::start(Arc::clone(&place.sink), self.bounds.patience);
        let outlet = Outlet::new(Arc::clone(&place.sink), recorder.handle(), Activity::new());
        let warnings = join::join_stored(self, rendition, video, audio, &outlet, &place).await?;
        drop(outlet);
        recorder.finish().await?;
        place.progress.finished();
        Ok(Done { warnings: warnings.into_iter().collect() })
    }
}

/// A share without what may be why nothing was decoded, and what that is: the text, some of the sound, all of it, a
/// cover. The least first.
fn without(plan: &Plan, work_unit: &WorkUnit) -> Vec<(WorkUnit, Vec<&'static str>)> {
    let mut tries: Vec<(WorkUnit, Vec<&'static str>)> = Vec::new();
    let is_song = work_unit.rungs.is_empty() && plan.video.is_none();
    let (mut rest, mut what) = (work_unit.clone(), Vec::new());
    let has_more = |work_unit: &WorkUnit| !work_unit.rungs.is_empty() || !work_unit.audio.is_empty();
    if !rest.subtitles.is_empty() && has_more(&rest) {
        rest.subtitles.clear();
        what.push("subtitles");
        tries.push((rest.clone(), what.clone()));
    }
    if is_song && rest.poster {
        rest.poster = false;
        what.push("cover");
        tries.push((rest.clone(), what.clone()));
    }
    // Which one it is nobody tells: the main one alone, or all the others.
    what.push("sound");
    if let [main, others @ ..] = &work_unit.audio[..]
        && !others.is_empty()
    {
        tries.push((WorkUnit { audio: vec![*main], ..rest.clone() }, what.clone()));
        tries.push((WorkUnit { audio: others.to_vec(), ..rest.clone() }, what.clone()));
    }
    if !rest.rungs.is_empty() && !rest.audio.is_empty() {
        tries.push((WorkUnit { audio: Vec::new(), ..rest }, what));
    }
    tries
}

/// What to tell of a source that is not served as one may expect, though nothing of it is broken.
fn remarks(source: &Source) -> Vec<Failure> {
    let mut remarks = Vec::new();
    let left_out = match source.skipped {
        0 => None,
        1 => Some("A sound or subtitle track was left out".to_owned()),
        more => Some(format!("{more} sound or subtitle tracks were left out")),
    };
    if let Some(left_out) = left_out {
        let why = "at most eight of a kind are kept, if they can be decoded, and subtitles only where they are text";
        remarks.push(Failure::new(FailureKind::TrackSkipped, format!("{left_out}: {why}.")));
    }
    if source.video.as_ref().is_some_and(|video| video.needs_dolby_vision) {
        remarks.push(Failure::new(
            FailureKind::ColoursWrong,
            "The colours of this kind of Dolby Vision can't be converted and look wrong. Export the video as \
             HDR10, HLG or SDR.",
        ));
    }
    remarks
}

fn left_out(what: &str) -> Failure {
    Failure::new(FailureKind::TrackSkipped, format!("The {what} could not be decoded and was left out."))
}

/// A fault of the worker itself: logged, not told.
fn crashed(error: &dyn Display) -> Failure {
    tracing::warn!(%error, "the encoder failed");
    Failure::new(FailureKind::EncoderCrashed, "The worker failed. It is tried again.")
}

fn unreadable(error: &SourceError) -> Failure {
    tracing::warn!(%error, "the source cannot be read");
    Failure::new(FailureKind::SourceUnreadable, "The uploaded file could not be read. It is tried again.")
}

/// Outputs cannot be put.
fn store_unavailable(error: &SinkError) -> Failure {
    tracing::warn!(%error, "an output could not be put");
    Failure::new(
        FailureKind::ObjectStoreUnavailable,
        "The object store did not take the outputs. It is tried again.",
    )
}
