//! Seek position of a chunk: the last keyframe that is displayed at or before the chunk's first frame. Also the
//! end of the last frame, for the chunk that encodes it.

use std::time::Duration;

use reelmill_media::{
    Failure, FailureKind, command,
    plan::{Plan, WorkUnit},
    seek::{self, Keyframe, last_keyframe, lists_keyframes, seek_to, seek_with_margin},
};
use tokio::time::timeout;

use crate::engine::{exit_status, failure::source_unreadable, probe::prober::Prober};

/// Windows before the time in which the keyframe is searched, seconds; after the last one the search starts at
/// the beginning of the file. The first packets after a seek may have estimated timestamps, so the first window
/// is longer than a GOP usually is.
const SEARCH_WINDOWS: [f64; 3] = [30.0, 120.0, 600.0];
/// First window for a container with a keyframe index, where a demuxer starts at the last keyframe before the
/// window. The longer ones follow, for a keyframe that is decoded before the time and displayed after it.
const INDEXED_SEARCH_WINDOW: f64 = 1.0;
/// Seconds after the time up to which packets are listed: they are stored in decoding order.
const SEARCH_MARGIN: f64 = 1.0;
/// Seconds before and after the stated end in which the last frame is searched.
const END_SEARCH_MARGIN: f64 = 2.0;
/// CPU limit of one packet list, seconds.
const LIST_CPU_SECONDS: u64 = 60;
/// Time limit of one packet list, long enough for a slow object store.
const LIST_TIMEOUT: Duration = Duration::from_secs(600);

/// How to seek, from the fastest to the safest. A demuxer that lands after the keyframe yields fewer frames than
/// requested; then the next strategy is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeekStrategy {
    /// As exactly as the container allows.
    Exact,
    /// With a wide margin before the keyframe.
    WideMargin,
    /// Without a seek.
    FromStart,
}

impl SeekStrategy {
    /// The next safer one.
    pub(crate) fn safer(self) -> Option<Self> {
        match self {
            Self::Exact => Some(Self::WideMargin),
            Self::WideMargin => Some(Self::FromStart),
            Self::FromStart => None,
        }
    }
}

/// Finds the positions in the source of a plan that a work unit needs.
pub(crate) struct SeekFinder<'a> {
    pub prober: Prober<'a>,
    pub plan: &'a Plan,
    pub max_list_bytes: u64,
}

impl SeekFinder<'_> {
    /// Seek position for a time of the plan, in seconds after the start of the file. `None` to decode from the
    /// start.
    pub(crate) async fn position(&self, time: f64, strategy: SeekStrategy) -> Result<Option<f64>, Failure> {
        if time <= 0.0 || strategy == SeekStrategy::FromStart {
            return Ok(None);
        }
        let keyframe = self.keyframe(time + self.plan.time_origin).await?;
        let rule = if strategy == SeekStrategy::Exact { seek_to } else { seek_with_margin };
        Ok(keyframe.and_then(|keyframe| rule(&self.plan.source, &keyframe)))
    }

    /// End of the last frame, in the file's timestamps, if the work unit encodes it. `None` where ffmpeg
    /// determines it itself, or the container's statement cannot be verified.
    pub(crate) async fn last_frame_end(&self, work_unit: &WorkUnit) -> Result<Option<f64>, Failure> {
        // Only containers with an index can be read near the end, and others may display the last frame later
        // than its packet states.
        let plan = self.plan;
        let (Some(video_plan), Some(video), true) =
            (&plan.video, &plan.source.video, lists_keyframes(&plan.source))
        else {
            return Ok(None);
        };
        let chunk = work_unit.chunk.and_then(|chunk| video_plan.chunks.get(chunk));
        let is_last = chunk.is_some_and(|chunk| chunk.frames.is_none());
        let Some(stated) = video.stated_end.filter(|_| is_last) else { return Ok(None) };
        let list = self.packets(video.index, stated - END_SEARCH_MARGIN, stated + END_SEARCH_MARGIN).await?;
        Ok(seek::last_frame_end(&list, stated, video_plan.rate.seconds_of(1)))
    }

    async fn keyframe(&self, time: f64) -> Result<Option<Keyframe>, Failure> {
        let plan = self.plan;
        let Some(video) = &plan.source.video else { return Ok(None) };
        let indexed = lists_keyframes(&plan.source).then_some(INDEXED_SEARCH_WINDOW);
        for window in indexed.into_iter().chain(SEARCH_WINDOWS) {
            let from = (time - window).max(plan.source.start_time);
            let list = self.packets(video.index, from, time + SEARCH_MARGIN).await?;
            let keyframe = last_keyframe(&list, time);
            if keyframe.is_some() || from <= plan.source.start_time {
                return Ok(keyframe);
            }
        }
        // A file without keyframes, or one that cannot be sought.
        Ok(None)
    }

    /// ffprobe's packet list of a stream between two times.
    async fn packets(&self, stream: u32, from: f64, to: f64) -> Result<String, Failure> {
        let session = self.prober.session;
        let args = command::packets(session.uri(), stream, from, to);
        let running = self.prober.run(&args, LIST_CPU_SECONDS, self.max_list_bytes);
        let (exit, list) = timeout(LIST_TIMEOUT, running).await.map_err(|_| {
            Failure::new(
                FailureKind::EncoderStalled,
                "The uploaded file was not read in time. The task is retried.",
            )
        })??;
        if let Some(error) = session.reader().first_error() {
            return Err(source_unreadable(&error));
        }
        // ffprobe dies of a closed pipe when its list is longer than the limit. The part that was read is valid.
        let is_truncated = list.len() as u64 >= self.max_list_bytes;
        let failure = exit_status::killed(&exit).filter(|_| !is_truncated);
        failure.map_or_else(|| Ok(String::from_utf8_lossy(&list).into_owned()), Err)
    }
}
