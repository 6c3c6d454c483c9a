//! Progress of a video's job: never written to the database, only forwarded to watchers.

use std::collections::BTreeMap;

use reelmill_proto::transcode::{Job, Progress};

/// Progress of a video's job and of each rendition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VideoProgress {
    /// `jobs/{job}`
    job: String,
    pub overall: Option<Progress>,
    /// By rendition id.
    pub renditions: BTreeMap<String, Progress>,
}

impl VideoProgress {
    /// The progress in a job message.
    pub(crate) fn of(job: &Job) -> Self {
        let renditions = job.renditions.iter();
        let renditions = renditions.filter_map(|rung| Some((rung.rendition_id.clone(), rung.progress?)));
        Self { job: job.name.clone(), overall: job.progress, renditions: renditions.collect() }
    }

    /// Raises every value to at least that of earlier progress of the same job. Publications of two transcode
    /// processes may arrive out of order.
    pub(crate) fn raised_to(mut self, earlier: &Self) -> Self {
        if self.job != earlier.job {
            return self;
        }
        if let Some(earlier) = &earlier.overall {
            self.overall.get_or_insert(*earlier).raise(earlier);
        }
        for (rung, earlier) in &earlier.renditions {
            self.renditions.entry(rung.clone()).or_insert(*earlier).raise(earlier);
        }
        self
    }
}
