//! Follows all transcode jobs by one stream, and applies what becomes of each to its video.
//!
//! Every replica follows. A change is applied once all the same: only a higher revision of the job passes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use reelmill_proto::transcode::{Job, WatchJobsResponse};
use tonic::Status;

use crate::{
    UploadError,
    changes::Live,
    core::Core,
    domain::{names, outputs::Outputs, video},
    store::{Applied, JobUpdate, video_row},
};

/// How long to wait before following again, at first and at most.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Follows for as long as the service runs.
pub(crate) async fn run(core: Arc<Core>) {
    let mut follower = Follower { core, known: HashMap::new(), heard: false };
    let mut pause = RECONNECT.0;
    loop {
        follower.heard = false;
        match follower.follow().await {
            Ok(()) => tracing::debug!("the stream of jobs ended"),
            Err(error) => tracing::warn!(%error, "jobs are not followed"),
        }
        pause = if follower.heard { RECONNECT.0 } else { (pause * 2).min(RECONNECT.1) };
        tokio::time::sleep(pause).await;
    }
}

struct Follower {
    core: Arc<Core>,
    /// Videos whose jobs have not ended, so that mere progress needs no look at the database.
    known: HashMap<String, Known>,
    /// Whether this stream said anything.
    heard: bool,
}

struct Known {
    owner: String,
    job_revision: i64,
}

impl Follower {
    async fn follow(&mut self) -> Result<(), UploadError> {
        let from = self.core.store.follow_from().await?;
        let mut jobs = self.core.jobs.watch(from).await.map_err(UploadError::Transcode)?;
        loop {
            match jobs.message().await {
                Ok(Some(update)) => {
                    self.heard = true;
                    self.take(update).await?;
                }
                Ok(None) => return Ok(()),
                Err(status) => return ended(status),
            }
        }
    }

    async fn take(&mut self, update: WatchJobsResponse) -> Result<(), UploadError> {
        let Some(job) = &update.job else { return Ok(()) };
        let Some(video) = names::id_of("videos", &job.video) else { return Ok(()) };
        let revision = job.revision;
        let seen = self.known.get(video).map_or(0, |known| known.job_revision);
        if revision > seen {
            self.apply(video, job, &update).await?;
        }
        // Only the newest state's progress counts.
        if let Some(known) = self.known.get(video).filter(|known| known.job_revision == revision) {
            let live = Live::reported(job);
            self.core.changes.advanced(&known.owner, video, live);
        }
        Ok(())
    }

    async fn apply(&mut self, video: &str, job: &Job, update: &WatchJobsResponse) -> Result<(), UploadError> {
        let change = JobUpdate {
            video: video.to_owned(),
            job: job.name.clone(),
            revision: job.revision,
            event: video::event_of(video, update, job),
            outcome: Job {
                source: job.source.clone(),
                renditions: job.renditions.clone(),
                warnings: job.warnings.clone(),
                ..Job::default()
            },
            outputs: Outputs::told(video, update, job),
            output_size_bytes: update.output_size_bytes,
            time: self.core.now(),
        };
        match self.core.store.apply_job(&change).await? {
            Applied::Changed(row) => {
                self.remember(&row);
                self.core.announce(&row.owner, video).await;
                if row.cleanup_time.is_some() {
                    self.core.unfinished.notify_one();
                }
            }
            Applied::Known(row) => {
                self.remember(&row);
                // Another replica may have been the one to apply it: our own watchers wait for this.
                self.core.changes.stored(&row.owner, video);
                if row.delete_time.is_some() {
                    self.core.unfinished.notify_one();
                }
            }
            Applied::Unknown => {
                self.known.remove(video);
            }
        }
        Ok(())
    }

    fn remember(&mut self, row: &video_row::Model) {
        if row.state == video::State::Processing && row.delete_time.is_none() {
            let known = Known { owner: row.owner.clone(), job_revision: row.job_revision };
            self.known.insert(row.id.clone(), known);
        } else {
            self.known.remove(&row.id);
            self.core.changes.ended(&row.id);
        }
    }
}

/// A neighbour that stops or restarts is nothing to be alarmed by.
fn ended(status: Status) -> Result<(), UploadError> {
    if status.code() == tonic::Code::Unavailable { Ok(()) } else { Err(UploadError::Transcode(status)) }
}
