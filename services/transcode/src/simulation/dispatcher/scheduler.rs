//! Queues the waiting tasks of owners and announces them, as in `scheduler.rs`.

use reelmill_platform::clock::duration_millis;

use super::{Io, Replica};
use crate::{
    domain::{JobPriority, TaskClass},
    scheduler::RETRY_INTERVAL,
    simulation::{
        context::Context,
        events::{Event, ReplicaAddress},
        ledger::Build,
    },
};

impl Replica {
    /// Requests that waiting tasks of an owner are queued.
    pub(super) fn request(&mut self, owner: u32, context: &mut Context) {
        if !self.owners.contains(&owner) {
            self.owners.push_back(owner);
        }
        if !self.is_scheduled {
            self.is_scheduled = true;
            let delay = context.random.between(1, 5);
            context.after(delay, Event::SchedulerRuns { replica: self.address() });
        }
    }

    /// Queues the tasks of all requested owners.
    pub(in crate::simulation) fn run_scheduler(&mut self, io: &mut Io<'_>) {
        if !self.has_database(io.context) {
            let replica = self.address();
            io.context.after(duration_millis(RETRY_INTERVAL), Event::SchedulerRuns { replica });
            return;
        }
        self.is_scheduled = false;
        for owner in std::mem::take(&mut self.owners) {
            let queued = io.ledger.queue_tasks(owner, self.limits.owner);
            if !self.survives_commit(io.context) {
                return;
            }
            self.announce(&queued, io);
        }
    }

    /// Wakes workers for tasks that were queued: calls that wait here, those of other replicas, and by the queue.
    pub(super) fn announce(&mut self, tasks: &[(TaskClass, Build)], io: &mut Io<'_>) {
        for (class, build) in tasks {
            if *class == TaskClass::Express {
                self.express_task_queued(io);
                self.publish_express_task(io.context);
            }
            io.wake_ups.send(*build, io.context);
        }
    }

    /// Notifies the other replicas by pub/sub.
    fn publish_express_task(&self, context: &mut Context) {
        for replica in (0..context.network.replicas()).filter(|replica| *replica != self.index) {
            let now = context.now;
            if context.outages.pub_sub > now || context.network.loses_notification(now, &mut context.random) {
                continue;
            }
            let delay = context.network.delay(now, &mut context.random);
            // Whichever process of the replica is subscribed then.
            context
                .after(delay, Event::ExpressTaskQueued { replica: ReplicaAddress { replica, process: 0 } });
        }
    }

    /// Sets the priority of a job, and queues the queued tasks of its owner again.
    pub(in crate::simulation) fn prioritize(&mut self, job: u32, priority: JobPriority, io: &mut Io<'_>) {
        if !self.serves(io.context) {
            return;
        }
        let Some(owner) = io.ledger.job(job).map(|job| job.spec.owner) else { return };
        if io.ledger.set_priority(job, priority) && self.survives_commit(io.context) {
            io.ledger.unqueue_tasks(owner);
            if self.survives_commit(io.context) {
                io.ledger.queue_tasks(owner, self.limits.owner);
                self.request(owner, io.context);
            }
        }
    }
}
