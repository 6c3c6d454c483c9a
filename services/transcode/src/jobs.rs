//! Jobs: create, get, list, cancel.

use reelmill_mesh::Caller;
use reelmill_platform::clock::Clock;

use crate::{
    db::{Db, JobDetails, NewJob},
    domain::{JobEvent, TaskState, job_id},
    error::TranscodeError,
    job_changes::JobChanges,
};

/// Jobs as their owners and the upload service use them.
pub(crate) struct Jobs {
    db: Db,
    changes: JobChanges,
    clock: Clock,
}

impl Jobs {
    pub(crate) fn new(db: Db, changes: JobChanges, clock: Clock) -> Self {
        Self { db, changes, clock }
    }

    /// Creates a job with its first task. Repeated with the same `request_id`, returns the same job. The sweeper sends
    /// the task's wake-up, so that an unavailable queue only delays it.
    pub(crate) async fn create(&self, new: NewJob) -> Result<JobDetails, TranscodeError> {
        let id = new.id.clone();
        let details = self.db.create_job(new).await?;
        if details.row.id == id {
            self.changes.announce(&details).await;
        }
        Ok(details)
    }

    /// A job that the caller may see. All others are not found.
    pub(crate) async fn get(&self, caller: &Caller, name: &str) -> Result<JobDetails, TranscodeError> {
        let not_found = || TranscodeError::JobNotFound(name.to_owned());
        let details = self.db.job_details(job_id(name).ok_or_else(not_found)?).await?;
        details.filter(|details| caller.may_act_for(&details.row.owner)).ok_or_else(not_found)
    }

    /// An owner's jobs with ids below `before`, the newest first, and whether there are more.
    pub(crate) async fn list(
        &self,
        owner: &str,
        before: Option<&str>,
        page_size: usize,
    ) -> Result<(Vec<JobDetails>, bool), TranscodeError> {
        let mut jobs = self.db.jobs_of_owner(owner, before, page_size as u64 + 1).await?;
        let has_more = jobs.len() > page_size;
        jobs.truncate(page_size);
        Ok((jobs, has_more))
    }

    /// Cancels a job that the caller may see, with its tasks. An ended job stays as it is.
    pub(crate) async fn cancel(&self, caller: &Caller, name: &str) -> Result<JobDetails, TranscodeError> {
        let details = self.get(caller, name).await?;
        let mut transaction = self.db.lock_job(&details.row.id).await?;
        if !transaction.advance(JobEvent::CancelRequested, self.clock.now_millis()) {
            drop(transaction);
            return self.get(caller, name).await;
        }
        transaction.end_tasks(TaskState::Cancelled).await?;
        self.changes.commit(transaction).await
    }
}
