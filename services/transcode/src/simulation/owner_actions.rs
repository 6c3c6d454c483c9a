//! What owners do: upload videos, cancel and retry them, and change their priority.

use super::{events::Event, system::System};
use crate::domain::JobPriority;

impl System {
    pub(super) fn create_job(&mut self, spec: usize) {
        self.pending_actions -= 1;
        let spec = self.scenario.jobs[spec].clone();
        let (owner, cancel_time, retry_time) = (spec.owner, spec.cancel_time, spec.retry_time);
        self.jobs.push(spec.clone());
        let job = self.ledger.create_job(spec);
        if let Some(time) = cancel_time {
            self.pending_actions += 1;
            self.context.at(time, Event::CancelJob { job });
        }
        if let Some(time) = retry_time {
            self.pending_actions += 1;
            self.context.at(time, Event::RetryJob { job });
        }
        self.job_changed(owner);
    }

    pub(super) fn cancel_job(&mut self, job: u32) {
        self.pending_actions -= 1;
        self.observer.cancel_requested(job);
        if self.ledger.cancel(job) {
            self.owner_of(job).into_iter().for_each(|owner| self.job_changed(owner));
        }
    }

    pub(super) fn retry_job(&mut self, job: u32) {
        self.pending_actions -= 1;
        if self.ledger.retry_job(job) {
            self.owner_of(job).into_iter().for_each(|owner| self.job_changed(owner));
        }
    }

    pub(super) fn prioritize_job(&mut self, job: u32) {
        self.pending_actions -= 1;
        let priorities = [JobPriority::High, JobPriority::Normal, JobPriority::Low];
        let priority = priorities[self.context.random.below(priorities.len())];
        let replica = self.context.random.below(self.replicas.len());
        let (replica, mut io) = self.replica(replica);
        replica.prioritize(job, priority, &mut io);
    }

    fn owner_of(&self, job: u32) -> Option<u32> {
        self.ledger.job(job).map(|job| job.spec.owner)
    }

    /// A replica has committed a change of a job, and requests its owner.
    fn job_changed(&mut self, owner: u32) {
        let replica = self.context.random.below(self.replicas.len());
        let (replica, mut io) = self.replica(replica);
        replica.job_changed(owner, &mut io);
    }
}
