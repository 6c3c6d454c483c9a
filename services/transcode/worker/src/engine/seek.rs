//! Where a chunk's decoding begins, with the last keyframe that is shown at or before its first frame; and where the last
//! one's picture ends.

use super::{Engine, Session, inspect, unreadable, verdict};
use reelmill_media::plan::{Plan, WorkUnit};
use reelmill_media::seek::{self, Keyframe, last_keyframe, lists_keyframes, seek_to, seek_with_margin};
use reelmill_media::{Failure, FailureKind, command};
use std::path::Path;
use std::time::Duration;

/// How far back the keyframe is looked for, seconds; at last from the beginning. The first packets after a seek may
/// carry guessed times, so that the first window is wider than groups of pictures usually are.
const WINDOWS: [f64; 3] = [30.0, 120.0, 600.0];
/// Where the container lists its keyframes, a demuxer begins with the last one before the window: a short one reads
/// little. The others follow, for a keyframe that is decoded before the moment and shown after it.
const SHORT_WINDOW: f64 = 1.0;
/// How far beyond the moment packets are read: they are stored in the order of decoding.
const BEYOND: f64 = 1.0;
/// Seconds before and after the stated end in which the last pictures are looked for.
const TAIL: f64 = 2.0;
/// Seconds of CPU that a list may take.
const CPU_SECONDS: u64 = 60;
/// How long it may take to be read, from a slow store too.
const LONGEST: Duration = Duration::from_secs(600);

/// Ways to begin, from the quickest to the surest. A demuxer that lands behind the keyframe makes fewer frames than
/// were asked for; then the next way is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As exactly as the container allows.
    Exact,
    /// With a wide margin.
    Safe,
    /// From the beginning of the file.
    Whole,
}

impl Way {
    /// The next surer one.
    pub fn surer(self) -> Option<Self> {
        match self {
            Self::Exact => Some(Self::Safe),
            Self::Safe => Some(Self::Whole),
            Self::Whole => None,
        }
    }
}

/// Seconds after the file's start to seek to for the plan's moment; none to begin at the beginning.
pub(super) async fn seek(
    engine: &Engine,
    session: &Session,
    plan: &Plan,
    moment: f64,
    way: Way,
    scratch: &Path,
) -> Result<Option<f64>, Failure> {
    if moment <= 0.0 || way == Way::Whole {
        return Ok(None);
    }
    let found = keyframe(engine, session, plan, moment + plan.time_origin, scratch).await?;
    let rule = if way == Way::Exact { seek_to } else { seek_with_margin };
    Ok(found.and_then(|key| rule(&plan.source, &key)))
}

/// When the last picture ends, in the file's own times, for the share that encodes it; none where ffmpeg knows it, or the
/// container can't be believed.
pub(super) async fn end(
    engine: &Engine,
    session: &Session,
    plan: &Plan,
    work_unit: &WorkUnit,
    scratch: &Path,
) -> Result<Option<f64>, Failure> {
    // Only of an index is the end read at once; and others may show the last picture later than its packet says.
    let (Some(video_plan), Some(video), true) =
        (&plan.video, &plan.source.video, lists_keyframes(&plan.source))
    else {
        return Ok(None);
    };
    let chunk = work_unit.chunk.and_then(|chunk| video_plan.chunks.get(chunk));
    let is_last = chunk.is_some_and(|chunk| chunk.frames.is_none());
    let Some(stated) = video.stated_end.filter(|_| is_last) else { return Ok(None) };
    let list = packets(engine, session, video.index, stated - TAIL, stated + TAIL, scratch).await?;
    Ok(seek::last_frame_end(&list, stated, video_plan.rate.seconds_of(1)))
}

async fn keyframe(
    engine: &Engine,
    session: &Session,
    plan: &Plan,
    moment: f64,
    scratch: &Path,
) -> Result<Option<Keyframe>, Failure> {
    let Some(video) = &plan.source.video else { return Ok(None) };
    let short = lists_keyframes(&plan.source).then_some(SHORT_WINDOW);
    for window in short.into_iter().chain(WINDOWS) {
        let from = (moment - window).max(plan.source.start_time);
        let list = packets(engine, session, video.index, from, moment + BEYOND, scratch).await?;
        let found = last_keyframe(&list, moment);
        if found.is_some() || from <= plan.source.start_time {
            return Ok(found);
        }
    }
    // Only a file without keyframes comes here, or one that can't be sought in.
    Ok(None)
}

async fn packets(
    engine: &Engine,
    session: &Session,
    index: u32,
    from: f64,
    to: f64,
    scratch: &Path,
) -> Result<String, Failure> {
    let args = command::packets(session.proxy.address(), index, from, to);
    let asked = inspect::ask(engine, session, &args, CPU_SECONDS, engine.bounds.list, scratch);
    let (ended, list) = tokio::time::timeout(LONGEST, asked).await.map_err(|_| {
        Failure::new(FailureKind::EncoderStalled, "The source was not read in time. It is tried again.")
    })??;
    if let Some(error) = session.reader.fault() {
        return Err(unreadable(&error));
    }
    // What writes more than is read ends of that. The list counts as far as it was read.
    let is_cut = list.len() as u64 >= engine.bounds.list;
    let failure = verdict::killed(&ended).filter(|_| !is_cut);
    failure.map_or_else(|| Ok(String::from_utf8_lossy(&list).into_owned()), Err)
}
