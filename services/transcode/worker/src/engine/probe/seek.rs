//! Seek position of a chunk: the last keyframe that is displayed at or before the chunk's first frame. Also the
//! end of the last frame, for the chunk that encodes it.

use std::time::Duration;

use reelmill_media::{
    Failure, FailureKind, command,
    plan::{Chunk, Plan, WorkUnit},
    probe::MAX_SECONDS,
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
/// How far from its place on the grid a frame may be displayed, in frames.
const SAME_FRAME: f64 = 0.4;
/// More packets than in a window that are listed: they are stored in decoding order.
const REORDERED_PACKETS: usize = 20;
/// Time without packets that says that data are missing, and how far around a part it is looked for, seconds.
const MISSING_DATA_SECONDS: f64 = 1.0;
const MISSING_DATA_MARGIN_SECONDS: f64 = 2.0;
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

/// Where a chunk is sought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    /// Seconds after the start of the file. `None` to decode from the start.
    pub seek: Option<f64>,
    /// Where it was looked for, if no frame is displayed in the second after the time.
    pub window: Option<Window>,
}

/// A part of the source in which packets were listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Its start, in the file's timestamps.
    from: f64,
    /// Number of packets in it.
    packets: usize,
}

/// Finds the positions in the source of a plan that a work unit needs.
pub(crate) struct SeekFinder<'a> {
    pub prober: Prober<'a>,
    pub plan: &'a Plan,
    pub max_list_bytes: u64,
}

impl SeekFinder<'_> {
    /// Seek position for a time of the plan.
    pub(crate) async fn position(&self, time: f64, strategy: SeekStrategy) -> Result<Position, Failure> {
        if time <= 0.0 || strategy == SeekStrategy::FromStart {
            return Ok(Position::default());
        }
        let (keyframe, window) = self.keyframe(time + self.plan.time_origin).await?;
        let rule = if strategy == SeekStrategy::Exact { seek_to } else { seek_with_margin };
        Ok(Position { seek: keyframe.and_then(|keyframe| rule(&self.plan.source, &keyframe)), window })
    }

    /// If one frame is shown throughout a chunk: its time, and that of the next frame, in seconds after the start of the
    /// presentation.
    pub(crate) async fn pause(&self, chunk: &Chunk, window: Window) -> Result<Option<(f64, f64)>, Failure> {
        let plan = self.plan;
        let (Some(video_plan), Some(video), Some(frames)) = (&plan.video, &plan.source.video, chunk.frames)
        else {
            return Ok(None);
        };
        // A frame is shown from the place on the grid that is nearest to its time.
        let time = |frame: u64| {
            plan.time_origin + video_plan.rate.seconds_of(frame) + video_plan.rate.seconds_of(1) * SAME_FRAME
        };
        let until = time(chunk.first_frame + frames - 1);
        let session = self.prober.session;
        let reordered = if plan.source.has_b_frames { REORDERED_PACKETS } else { 1 };
        let count = window.packets + reordered;
        let list = self
            .list(&command::packets_from(session.file(&plan.source), video.index, window.from, count))
            .await?;
        let found = seek::pause(&list, time(chunk.first_frame), until);
        Ok(found.map(|(before, after)| (before - plan.time_origin, after - plan.time_origin)))
    }

    /// Whether packets are missing between two times, seconds after the start of the presentation, or up to the end: of the
    /// sound, or of a picture that has frames at a constant rate.
    pub(crate) async fn lacks_data(&self, from: f64, to: Option<f64>) -> Result<bool, Failure> {
        let source = &self.plan.source;
        let picture = source.video.as_ref().filter(|video| !video.has_variable_rate());
        let sound = source.audio.first().map(|audio| audio.index);
        let Some(index) = sound.or(picture.map(|video| video.index)) else { return Ok(false) };
        let origin = self.plan.time_origin;
        let to = to.or(source.duration).unwrap_or(MAX_SECONDS) + MISSING_DATA_MARGIN_SECONDS;
        let list = self.packets(index, from - MISSING_DATA_MARGIN_SECONDS + origin, to + origin).await?;
        Ok(seek::longest_gap(&list) > MISSING_DATA_SECONDS)
    }

    /// Whether an audio track has packets between two times, seconds after the start of the presentation.
    pub(crate) async fn has_sound(&self, from: f64, to: f64) -> Result<bool, Failure> {
        let origin = self.plan.time_origin;
        for audio in &self.plan.source.audio {
            let list = self.packets(audio.index, from + origin, to + origin).await?;
            if seek::has_packet_from(&list, from + origin) {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// The keyframe for a time of the file, and where it was looked for.
    async fn keyframe(&self, time: f64) -> Result<(Option<Keyframe>, Option<Window>), Failure> {
        let plan = self.plan;
        let Some(video) = &plan.source.video else { return Ok((None, None)) };
        let indexed = lists_keyframes(&plan.source).then_some(INDEXED_SEARCH_WINDOW);
        for window in indexed.into_iter().chain(SEARCH_WINDOWS) {
            let from = (time - window).max(plan.source.start_time);
            let list = self.packets(video.index, from, time + SEARCH_MARGIN).await?;
            let keyframe = last_keyframe(&list, time);
            if keyframe.is_some() || from <= plan.source.start_time {
                let is_quiet =
                    seek::pause(&format!("{list}{}\n", time + SEARCH_MARGIN), time, time + SEARCH_MARGIN)
                        .is_some();
                let window = is_quiet.then(|| Window { from, packets: list.lines().count() });
                return Ok((keyframe, window));
            }
        }
        // A file without keyframes, or one that cannot be sought.
        Ok((None, None))
    }

    /// ffprobe's packet list of a stream between two times.
    async fn packets(&self, stream: u32, from: f64, to: f64) -> Result<String, Failure> {
        self.list(&command::packets(self.prober.session.file(&self.plan.source), stream, from, to)).await
    }

    async fn list(&self, args: &[String]) -> Result<String, Failure> {
        let session = self.prober.session;
        let running = self.prober.run(args, LIST_CPU_SECONDS, self.max_list_bytes);
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
