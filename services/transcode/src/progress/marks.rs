//! Progress of a job and its renditions as monotonic high-water marks.

use std::collections::BTreeMap;

use reelmill_proto::transcode::{Job, Progress, Rendition};

use crate::db::{JobDetails, RenditionRow};

/// Progress of a job and its renditions. Percent, frames and segments are monotonic high-water marks; rate, speed and
/// time left are the latest measurements.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JobProgress {
    pub(crate) job: Progress,
    /// By rendition id.
    pub(crate) renditions: BTreeMap<String, Progress>,
}

impl JobProgress {
    /// The progress in a job message.
    pub(crate) fn of(job: &Job) -> Self {
        let progress = |rendition: &Rendition| Some((rendition.rendition_id.clone(), rendition.progress?));
        let renditions = job.renditions.iter().filter_map(progress).collect();
        Self { job: job.progress.unwrap_or_default(), renditions }
    }

    /// The progress in the database.
    pub(super) fn persisted(details: &JobDetails) -> Self {
        let rendition = |row: &RenditionRow| {
            let progress = Progress {
                percent: row.progress_percent,
                frames: row.progress_frames,
                segments_ready: row.progress_segments_ready,
                ..Progress::default()
            };
            (row.rendition_id.clone(), progress)
        };
        let job = Progress {
            percent: details.row.progress_percent,
            frames: details.row.progress_frames,
            segments_ready: details.row.progress_segments_ready,
            ..Progress::default()
        };
        Self { job, renditions: details.renditions.iter().map(rendition).collect() }
    }

    /// Sets the progress of a job message and of the renditions that it has.
    pub(crate) fn apply_to(&self, job: &mut Job) {
        job.progress = Some(self.job);
        for rendition in &mut job.renditions {
            if let Some(progress) = self.renditions.get(&rendition.rendition_id) {
                rendition.progress = Some(*progress);
            }
        }
    }

    /// Raises each mark to at least that of `other`: the rule that progress never decreases. Measurements stay.
    pub(crate) fn raise(&mut self, other: &Self) {
        self.job.raise(&other.job);
        for (id, progress) in &other.renditions {
            self.renditions.entry(id.clone()).or_default().raise(progress);
        }
    }

    /// These measurements with marks that are at least those of `other`.
    pub(crate) fn raised(mut self, other: &Self) -> Self {
        self.raise(other);
        self
    }

    /// Whether no percent and no number of frames exceeds that of `bound`.
    pub(super) fn is_within(&self, bound: &Self) -> bool {
        let is_within =
            |one: &Progress, bound: &Progress| one.percent <= bound.percent && one.frames <= bound.frames;
        let zero = Progress::default();
        is_within(&self.job, &bound.job)
            && self
                .renditions
                .iter()
                .all(|(id, progress)| is_within(progress, bound.renditions.get(id).unwrap_or(&zero)))
    }

    /// The numbers of segments only.
    pub(super) fn segments(&self) -> Self {
        let segments =
            |progress: &Progress| Progress { segments_ready: progress.segments_ready, ..Progress::default() };
        let renditions = self.renditions.iter().map(|(id, progress)| (id.clone(), segments(progress)));
        Self { job: segments(&self.job), renditions: renditions.collect() }
    }

    /// Whether any number of segments exceeds the persisted one.
    pub(crate) fn has_more_segments_than(&self, details: &JobDetails) -> bool {
        let persisted = Self::persisted(details).segments();
        self.segments().raised(&persisted) != persisted
    }

    /// The progress of renditions with published segments, and of a job with the most of them.
    pub(crate) fn of_published_segments(ready: &[(String, i64)]) -> Self {
        let progress = |segments: i64| Progress { segments_ready: segments, ..Progress::default() };
        let most = ready.iter().map(|(_, segments)| *segments).max().unwrap_or(0);
        let renditions = ready.iter().map(|(id, segments)| (id.clone(), progress(*segments)));
        Self { job: progress(most), renditions: renditions.collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn progress() -> impl Strategy<Value = Progress> {
        (0.0f64..100.0, 0i64..1000, 0i64..50, 0.0f64..100.0).prop_map(
            |(percent, frames, segments_ready, fps)| Progress {
                percent,
                frames,
                segments_ready,
                fps,
                ..Progress::default()
            },
        )
    }

    fn job_progress() -> impl Strategy<Value = JobProgress> {
        let renditions = prop::collection::btree_map("[a-c]", progress(), 0..3);
        (progress(), renditions).prop_map(|(job, renditions)| JobProgress { job, renditions })
    }

    proptest! {
        #[test]
        fn raise_never_decreases_and_is_idempotent(one in job_progress(), other in job_progress()) {
            let raised = one.clone().raised(&other);
            prop_assert!(one.is_within(&raised) && other.is_within(&raised));
            prop_assert_eq!(raised.clone().raised(&one).raised(&other), raised.clone());
            prop_assert_eq!(raised.job.fps, one.job.fps, "measurements stay");
            for (id, progress) in &other.renditions {
                prop_assert!(raised.renditions[id].segments_ready >= progress.segments_ready);
            }
        }

        #[test]
        fn raise_marks_do_not_depend_on_order(one in job_progress(), other in job_progress()) {
            let (ab, ba) = (one.clone().raised(&other), other.raised(&one));
            prop_assert!(ab.is_within(&ba) && ba.is_within(&ab));
            prop_assert_eq!(ab.segments(), ba.segments());
        }
    }
}
