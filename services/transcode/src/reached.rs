//! How far a job and its renditions are: compared, raised, and stored a little ahead of what is told.

use std::collections::HashMap;

use reelmill_proto::transcode::{Job, Progress, Rendition};

use crate::{convert::Detail, error::TranscodeError, plans::Planned, store::Store};

/// A job is not done before it is.
pub(crate) const MOST_PERCENT: f64 = 99.0;
/// So much more is stored than is told: percent; frames, at least, and as a part of those that were told.
const PERCENT_AHEAD: f64 = 1.0;
const FRAMES_AHEAD: i64 = 50;
const PART_AHEAD: i64 = 50;

/// How far a job and its renditions are.
#[derive(Clone, Default)]
pub(crate) struct Reached {
    pub(crate) job: Progress,
    pub(crate) renditions: HashMap<String, Progress>,
}

impl Reached {
    /// What a job says.
    pub(crate) fn of(job: &Job) -> Self {
        let reached = |rendition: &Rendition| Some((rendition.rendition_id.clone(), rendition.progress?));
        let renditions = job.renditions.iter().filter_map(reached).collect();
        Self { renditions, job: job.progress.unwrap_or_default() }
    }

    /// Makes a job say it, of itself and of the renditions it has.
    pub(crate) fn show(&self, job: &mut Job) {
        job.progress = Some(self.job);
        for rendition in &mut job.renditions {
            if let Some(reached) = self.renditions.get(&rendition.rendition_id) {
                rendition.progress = Some(*reached);
            }
        }
    }

    /// The same, but nowhere less than the other.
    pub(crate) fn raised(mut self, other: &Self) -> Self {
        self.raise(other);
        self
    }

    pub(crate) fn is_within(&self, stored: &Self) -> bool {
        let within =
            |now: &Progress, then: &Progress| now.percent <= then.percent && now.frames <= then.frames;
        let nothing = Progress::default();
        within(&self.job, &stored.job)
            && self
                .renditions
                .iter()
                .all(|(id, now)| within(now, stored.renditions.get(id).unwrap_or(&nothing)))
    }

    /// A little more, as it is stored; of frames never more than there will be, as far as that is known.
    pub(crate) fn ahead(&self, planned: &Planned) -> Self {
        let expected = planned.plan.expected_frames();
        let more = |now: &Progress, every: u32, most: f64| {
            let frames = now.frames + FRAMES_AHEAD.max(now.frames / PART_AHEAD);
            let all = expected.map_or(0, |expected| (expected / f64::from(every)) as i64 - 1);
            Progress {
                percent: (now.percent + PERCENT_AHEAD).min(most).max(now.percent),
                frames: if now.frames > 0 { frames.min(all).max(now.frames) } else { 0 },
                ..Progress::default()
            }
        };
        let rungs = planned.plan.video.iter().flat_map(|video_plan| &video_plan.rungs);
        let every: HashMap<_, _> = rungs.map(|rung| (rung.id.as_str(), rung.frame_step.max(1))).collect();
        let renditions = self
            .renditions
            .iter()
            .map(|(id, now)| (id.clone(), more(now, every.get(id.as_str()).copied().unwrap_or(1), 100.0)));
        Self { job: more(&self.job, 1, MOST_PERCENT), renditions: renditions.collect() }
    }

    /// How many segments are ready, and nothing else.
    pub(crate) fn segments(&self) -> Self {
        let only =
            |progress: &Progress| Progress { segments_ready: progress.segments_ready, ..Progress::default() };
        let renditions = self.renditions.iter().map(|(id, progress)| (id.clone(), only(progress)));
        Self { job: only(&self.job), renditions: renditions.collect() }
    }

    pub(crate) fn raise(&mut self, other: &Self) {
        self.job.raise(&other.job);
        for (id, progress) in &other.renditions {
            self.renditions.entry(id.clone()).or_default().raise(progress);
        }
    }
}

/// Stores how far a job is, unless more is stored; says whether it could.
pub(crate) async fn note(store: &Store, job: &str, ahead: &Reached) -> Result<bool, TranscodeError> {
    let mut unit = store.hold(job).await?;
    if !unit.is_open() {
        return Ok(false);
    }
    let mut detail = Detail::of(&unit.job)?;
    detail.progress().raise(&ahead.job);
    for rendition in detail.renditions() {
        if let Some(progress) = ahead.renditions.get(&rendition.rendition_id) {
            rendition.progress.get_or_insert_default().raise(progress);
        }
    }
    unit.job.detail = detail.stored();
    unit.note().await?;
    Ok(true)
}
