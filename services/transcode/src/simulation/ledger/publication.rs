//! Publications: their claims, and the end of a job, as in [`crate::publisher`].

use super::{Ledger, TaskId, jobs::TaskCounts};
use crate::{
    domain::{JobEvent, JobState},
    simulation::{event_queue::Millis, guards::Guard},
};

/// What a publication has read.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct PublicationRead {
    pub(in crate::simulation) generation: u32,
    pub(in crate::simulation) unpublished_since: Option<Millis>,
    pub(in crate::simulation) counts: TaskCounts,
    /// Segments that the playlists will list.
    pub(in crate::simulation) segments: u32,
}

impl Ledger {
    /// Claims the publication of a job's playlists for a process; returns whether it has the claim.
    pub(in crate::simulation) fn claim_publication(
        &mut self,
        job: u32,
        process: u64,
        now: Millis,
        expire_time: Millis,
    ) -> bool {
        let needs_claim = self.guards.has(Guard::PublicationClaims);
        let Some(job) = self.job_mut(job) else { return false };
        if needs_claim && job.publisher != process && job.publisher_expire_time > now {
            return false;
        }
        job.publisher = process;
        job.publisher_expire_time = expire_time;
        true
    }

    /// Whether a process has a claim on a job's playlists.
    pub(in crate::simulation) fn has_publication_claim(&self, job: u32, process: u64, now: Millis) -> bool {
        let has_claim =
            self.job(job).is_some_and(|job| job.publisher == process && job.publisher_expire_time > now);
        has_claim || !self.guards.has(Guard::PublicationClaims)
    }

    /// Reads what a publication needs of a running job.
    pub(in crate::simulation) fn read_publication(&self, job: u32) -> Option<PublicationRead> {
        let job = self.job(job).filter(|job| job.state == JobState::Running)?;
        Some(PublicationRead {
            generation: job.generation,
            unpublished_since: job.unpublished_since,
            counts: job.counts(),
            segments: job.recorded_segments,
        })
    }

    /// Releases a process's claim. The changes up to `published` are published.
    pub(in crate::simulation) fn release_publication(
        &mut self,
        number: u32,
        process: u64,
        published: Option<Millis>,
    ) {
        let Some(job) = self.job_mut(number) else { return };
        if job.publisher == process {
            job.publisher_expire_time = 0;
        }
        let is_published = published.is_some() && job.unpublished_since == published;
        if is_published {
            self.set_unpublished(number, None);
        }
    }

    /// Jobs with changes that were not published since `before`.
    pub(in crate::simulation) fn jobs_to_publish(&self, before: Millis) -> Vec<u32> {
        self.unpublished.iter().take_while(|(since, _)| *since <= before).map(|(_, job)| *job).collect()
    }

    /// Takes the next step of a job whose work units were all encoded when it was read: creates its PACKAGE tasks, or
    /// ends it. Returns whether anything changed.
    pub(in crate::simulation) fn finish(&mut self, number: u32, read: &PublicationRead) -> bool {
        let is_current =
            |job: &&super::Job| job.state == JobState::Running && job.generation == read.generation;
        let Some(job) = self.job(number).filter(is_current) else { return false };
        let counts = job.counts();
        if read.counts.packages == 0 && job.spec.packages > 0 {
            if counts.encoding + counts.packages > 0 {
                return false;
            }
            self.create_package_tasks(number);
            return true;
        }
        if read.counts.packaging > 0 || counts.encoding + counts.packaging > 0 {
            return false;
        }
        let tasks: Vec<TaskId> = job.tasks.values().map(|task| task.id).collect();
        self.advance(number, JobEvent::AllTasksSucceeded);
        // The manifest replaces them.
        for id in tasks {
            self.remove_task(id);
        }
        true
    }
}
