//! Jobs: create, get, list, set the priority, retry, cancel.

use std::sync::Arc;

use reelmill_mesh::{
    Caller,
    paging::{Cursor, Page},
};
use reelmill_platform::{clock::Clock, objects::Objects};
use reelmill_proto::{
    timestamp,
    transcode::{Job, TranscodeOptions},
};

use crate::{
    db::{Db, JobDetails, JobFilter, NewJob},
    domain::{JobEvent, JobPriority, JobState, RecentJobs, TaskState, job_id},
    error::TranscodeError,
    job_changes::JobChanges,
    scheduler::Scheduler,
};

/// Jobs as their owners and the upload service use them.
pub(crate) struct Jobs {
    db: Db,
    objects: Objects,
    changes: JobChanges,
    scheduler: Arc<Scheduler>,
    clock: Clock,
}

impl Jobs {
    pub(crate) fn new(
        db: Db,
        objects: Objects,
        changes: JobChanges,
        scheduler: Arc<Scheduler>,
        clock: Clock,
    ) -> Self {
        Self { db, objects, changes, scheduler, clock }
    }

    /// Creates a job with its first task. Repeated with the same `request_id`, returns the same job. The scheduler queues
    /// the task, so that an unavailable queue only delays it.
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

    /// A page of an owner's jobs that match a filter, and the token of the next page.
    pub(crate) async fn list(
        &self,
        owner: &str,
        filter: &JobFilter,
        page: &Page,
    ) -> Result<(Vec<JobDetails>, String), TranscodeError> {
        let mut jobs = self.db.jobs_of_owner(owner, filter, page.after.as_ref(), page.query_limit()).await?;
        let cursor = |details: &JobDetails| Cursor {
            create_time: details.row.create_time,
            id: details.row.id.clone(),
        };
        let next_page_token = page.finish(&mut jobs, cursor);
        Ok((jobs, next_page_token))
    }

    /// Adds to the messages of QUEUED jobs where they are in the queue, and when they will probably start and end.
    pub(crate) async fn add_queue_positions(
        &self,
        jobs: &[JobDetails],
        messages: &mut [Job],
    ) -> Result<(), TranscodeError> {
        let mut recent: Option<RecentJobs> = None;
        for (JobDetails { row, .. }, message) in jobs.iter().zip(messages) {
            if row.state != JobState::Queued {
                continue;
            }
            let Some(position) = self.db.queue_position(row).await? else { continue };
            let known = match recent {
                Some(known) => known,
                None => *recent.insert(self.db.recent_jobs().await?),
            };
            let (start, end) = known.estimate(position, row.source_size_bytes, self.clock.now_millis());
            message.queue_position = i32::try_from(position).unwrap_or(i32::MAX);
            message.estimated_start_time = start.map(timestamp);
            message.estimated_end_time = end.map(timestamp);
        }
        Ok(())
    }

    /// Sets the priority of a job of the caller among the jobs of its owner.
    pub(crate) async fn set_priority(
        &self,
        caller: &Caller,
        name: &str,
        priority: JobPriority,
    ) -> Result<JobDetails, TranscodeError> {
        let details = self.get(caller, name).await?;
        let mut transaction = self.db.lock_job(&details.row.id).await?;
        if !transaction.is_open() {
            return Err(TranscodeError::JobEnded);
        }
        transaction.set_priority(priority).await?;
        let details = transaction.commit().await?;
        // Also for a repetition: the first call may have been cut off here.
        self.scheduler.requeue(&details.row.owner).await?;
        self.changes.announce(&details).await;
        Ok(details)
    }

    /// Transcodes a failed or cancelled job of the caller again, with `options` if there are any. A job that has not ended
    /// stays as it is, so that the call can be repeated.
    pub(crate) async fn retry(
        &self,
        caller: &Caller,
        name: &str,
        options: Option<&TranscodeOptions>,
    ) -> Result<JobDetails, TranscodeError> {
        let details = self.get(caller, name).await?;
        if !details.row.state.has_ended() {
            return Ok(details);
        }
        if self.objects.head(&details.row.source_key).await?.is_none() {
            return Err(TranscodeError::SourceDeleted);
        }
        let mut transaction = self.db.lock_job(&details.row.id).await?;
        if transaction.retry(options, self.clock.now_millis()).await? {
            return self.changes.commit(transaction).await;
        }
        let state = transaction.job.state;
        drop(transaction);
        if state == JobState::Succeeded {
            return Err(TranscodeError::JobSucceeded);
        }
        self.get(caller, name).await
    }

    /// Cancels the jobs of a deleted video and deletes them. Idempotent: a later call also deletes jobs that were created
    /// after this one.
    pub(crate) async fn delete_of_video(&self, video: &str) -> Result<(), TranscodeError> {
        for id in self.db.jobs_of_video(video).await? {
            // Watchers and workers learn of the end before the job is gone.
            let mut transaction = self.db.lock_job(&id).await?;
            if transaction.advance(JobEvent::CancelRequested, self.clock.now_millis()) {
                transaction.end_tasks(TaskState::Cancelled).await?;
                self.changes.commit(transaction).await?;
            } else {
                drop(transaction);
            }
            match self.db.lock_job(&id).await {
                Ok(transaction) => transaction.delete().await?,
                Err(TranscodeError::JobNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
