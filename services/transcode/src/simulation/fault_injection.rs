//! Applies the faults of a scenario to the system.

use super::{event_queue::Millis, events::Event, faults::Fault, system::System};

/// Time until the other end of a connection notices the crash of a process on a running host.
const RESET_MS: Millis = 5;
/// Time until it notices that a host does not answer: interval and timeout of the keep-alive.
const KEEP_ALIVE_MS: Millis = 40_000;
/// Time in which a worker that is asked to shut down hands back its tasks.
const HAND_BACK_MS: Millis = 3000;

impl System {
    pub(super) fn begin_fault(&mut self, fault: Fault) {
        self.faults += 1;
        let now = self.context.now;
        self.context.timeline.note(now, || format!("fault: {fault:?}"));
        match fault {
            Fault::WorkerCrash { worker, is_power_loss, restart_after } => {
                self.crash_worker(worker, is_power_loss);
                self.context.after(restart_after, Event::WorkerStarts { worker });
            }
            Fault::WorkerStop { worker, restart_after } => {
                let (stopping, mut io) = self.worker(worker);
                stopping.stop(&mut io);
                let crash = Fault::WorkerCrash {
                    worker,
                    is_power_loss: false,
                    restart_after: restart_after - HAND_BACK_MS,
                };
                self.context.after(HAND_BACK_MS, Event::FaultBegins { fault: crash });
            }
            Fault::WorkerPause { worker, duration } => {
                let paused = &mut self.workers[worker].paused_until;
                *paused = (now + duration).max(*paused);
            }
            Fault::WorkerCut { worker, replica, duration } => {
                self.context.network.cut(worker, replica, now, now + duration);
            }
            Fault::EncoderBreaks { worker, duration } => self.workers[worker].broken_until = now + duration,
            Fault::WorkerClock { worker, skew } => self.workers[worker].clock_skew = skew,
            Fault::ReplicaClock { replica, skew } => self.replicas[replica].clock_skew = skew,
            Fault::ReplicaCrash { replica, restart_after } => self.crash_replica(replica, restart_after),
            Fault::DispatcherCrash { restart_after } => {
                for replica in 0..self.replicas.len() {
                    self.crash_replica(replica, restart_after);
                }
            }
            Fault::ReplicaPause { replica, duration } => self.pause_replica(replica, duration),
            Fault::DispatcherPause { duration } => {
                for replica in 0..self.replicas.len() {
                    self.pause_replica(replica, duration);
                }
            }
            Fault::ReplicaDatabaseCut { replica, duration } => {
                self.replicas[replica].database_cut_until = now + duration;
                self.note_service_after(duration);
            }
            Fault::DatabaseOutage { duration } => {
                self.context.outages.database = (now + duration).max(self.context.outages.database);
                self.note_service_after(duration);
            }
            Fault::ObjectStoreOutage { duration } => self.context.outages.object_store = now + duration,
            Fault::QueueOutage { duration } => self.context.outages.queue = now + duration,
            Fault::PubSubOutage { duration } => self.context.outages.pub_sub = now + duration,
            Fault::QueuePurge => self.wake_ups.purge(),
        }
        self.service_changed();
    }

    /// Has the end of an outage noted.
    fn note_service_after(&mut self, duration: Millis) {
        self.context.after(duration, Event::ServiceMayHaveChanged);
    }

    fn crash_worker(&mut self, worker: usize, is_power_loss: bool) {
        if !self.workers[worker].is_up {
            return;
        }
        let notice = if is_power_loss { KEEP_ALIVE_MS } else { RESET_MS };
        for (replica, from, stream) in self.workers[worker].crash() {
            self.context.after(notice, Event::StreamBroken { replica, from, stream });
        }
    }

    fn crash_replica(&mut self, replica: usize, restart_after: Millis) {
        if !self.replicas[replica].is_up {
            return;
        }
        self.replicas[replica].crash();
        self.context.after(restart_after, Event::ReplicaStarts { replica });
        for worker in 0..self.workers.len() {
            for slot in self.workers[worker].slots_with_stream(replica) {
                self.context.after(RESET_MS, Event::StreamIsReset { slot, replica });
            }
        }
    }

    fn pause_replica(&mut self, replica: usize, duration: Millis) {
        let (now, until) = (self.context.now, self.context.now + duration);
        self.context.network.pause(replica, now, until);
        let paused = &mut self.replicas[replica].paused_until;
        *paused = until.max(*paused);
        self.note_service_after(duration);
    }
}
