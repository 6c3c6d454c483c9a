//! The simulated system: its parts, and the loop that hands each event to the part that it concerns.

use super::{
    context::Context,
    dispatcher::{self, Replica},
    events::{Event, ReplicaAddress, Response, SlotAddress},
    fairness::FairnessObserver,
    guards::Guards,
    invariants::{Ends, Invariant, Observer, Violation},
    job_spec::JobSpec,
    ledger::{Change, Ledger, Presented, TaskId},
    limits::Limits,
    network::Network,
    options::Options,
    playlists::Playlists,
    random::Random,
    scenario::Scenario,
    service_outage::ServiceOutage,
    timeline::Timeline,
    wake_up_queue::WakeUpQueue,
    worker::{self, Worker},
};
/// Separates the random numbers of a run from those that draw its scenario.
const RUN_STREAM: u64 = 0x5EED_0000_0000_0001;

/// What a run has counted.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) completed_tasks: u64,
    pub(super) faults: u64,
    pub(super) events: u64,
    pub(super) ends: Ends,
    pub(super) violation: Option<Violation>,
    pub(super) hash: u64,
    /// The timeline, if it was kept.
    pub(super) lines: String,
}

impl Outcome {
    /// The outcome of a seed that panicked. The message is on the standard error.
    pub(super) fn panicked(seed: u64) -> Self {
        let violation =
            Violation { invariant: Invariant::Stuck, detail: "panicked, see above".to_owned(), time: 0 };
        Self {
            seed,
            completed_tasks: 0,
            faults: 0,
            events: 0,
            ends: Ends::default(),
            violation: Some(violation),
            hash: 0,
            lines: String::new(),
        }
    }
}

pub(super) struct System {
    pub(super) scenario: Scenario,
    /// The specification of each job, by its number.
    pub(super) jobs: Vec<JobSpec>,
    pub(super) context: Context,
    pub(super) ledger: Ledger,
    playlists: Playlists,
    pub(super) wake_ups: WakeUpQueue,
    pub(super) replicas: Vec<Replica>,
    pub(super) workers: Vec<Worker>,
    pub(super) observer: Observer,
    fairness: Option<FairnessObserver>,
    pub(super) outage: ServiceOutage,
    pub(super) faults: u64,
    /// Owners' actions that are still to come.
    pub(super) pending_actions: usize,
}

/// Simulates a seed.
pub(super) fn run(seed: u64, options: &Options, keeps_lines: bool) -> Outcome {
    let scenario = Scenario::new(seed, options.size, &mut Random::new(seed));
    System::new(scenario, options, keeps_lines).run()
}

impl System {
    fn new(scenario: Scenario, options: &Options, keeps_lines: bool) -> Self {
        let guards = Guards { without: options.without };
        let random = Random::new(scenario.seed ^ RUN_STREAM);
        let network = Network::new(scenario.workers.len(), scenario.replicas, scenario.messages);
        let limits = Limits::default();
        let replicas = (0..scenario.replicas).map(|index| {
            let mut replica = Replica::new(index, limits, guards);
            replica.crash_probability = scenario.crash_probability;
            replica.crashes_until = scenario.fault_end;
            replica
        });
        let workers = (0..).zip(&scenario.workers).map(|(index, build)| {
            let mut worker = Worker::new(index, *build, scenario.express_slots, scenario.bulk_slots);
            worker.encoder_crash_probability = scenario.encoder_crash_probability;
            worker.encoder_crashes_until = scenario.fault_end;
            worker
        });
        let mut system = Self {
            jobs: Vec::new(),
            context: Context::new(random, network, Timeline::new(keeps_lines)),
            ledger: Ledger::new(guards, scenario.owners),
            playlists: Playlists::default(),
            wake_ups: WakeUpQueue::default(),
            replicas: replicas.collect(),
            workers: workers.collect(),
            observer: Observer::new(options.lost_attempts_may_fail),
            fairness: scenario.fairness.map(FairnessObserver::new),
            outage: ServiceOutage::default(),
            faults: 0,
            pending_actions: 0,
            scenario,
        };
        system.schedule();
        system
    }

    /// Adds the events of the scenario.
    fn schedule(&mut self) {
        for replica in 0..self.replicas.len() {
            self.context.at(0, Event::ReplicaStarts { replica });
        }
        for worker in 0..self.workers.len() {
            self.context.at(1, Event::WorkerStarts { worker });
        }
        for (spec, job) in self.scenario.jobs.iter().enumerate() {
            self.context.at(job.create_time, Event::CreateJob { spec });
        }
        for &(time, job) in &self.scenario.priority_changes {
            self.context.at(time, Event::PrioritizeJob { job });
        }
        for &(time, fault) in &self.scenario.faults {
            self.context.at(time, Event::FaultBegins { fault });
        }
        self.pending_actions = self.scenario.jobs.len() + self.scenario.priority_changes.len();
    }

    fn run(mut self) -> Outcome {
        let mut events = 0;
        while let Some(event) = self.context.next_event() {
            events += 1;
            if self.context.now > self.scenario.limit {
                let open = self.ledger.open_jobs();
                let now = self.context.now;
                self.observer.violated(now, Invariant::Stuck, || format!("{open} jobs have not ended"));
            }
            self.context.timeline.add(self.context.now.unsigned_abs());
            self.handle(event);
            self.observe();
            if self.observer.violation.is_some() || self.is_done() {
                break;
            }
        }
        if !self.is_done() {
            let open = self.ledger.open_jobs();
            let now = self.context.now;
            self.observer.violated(now, Invariant::Stuck, || {
                format!("nothing happens, and {open} jobs have not ended")
            });
        }
        Outcome {
            seed: self.scenario.seed,
            completed_tasks: self.observer.completed_tasks,
            faults: self.faults + self.context.network.faulty_messages,
            events,
            ends: self.observer.ends,
            violation: self.observer.violation,
            hash: self.context.timeline.hash(),
            lines: self.context.timeline.into_lines(),
        }
    }

    fn is_done(&self) -> bool {
        match &self.fairness {
            Some(fairness) => fairness.has_ended(),
            None => self.pending_actions == 0 && self.ledger.open_jobs() == 0,
        }
    }

    /// Checks what the last event has committed.
    fn observe(&mut self) {
        let now = self.context.now;
        for change in self.ledger.take_changes() {
            self.context.timeline.note(now, || format!("ledger: {change:?}"));
            self.context.timeline.add(change_number(&change));
            if let Change::Released { task, token, has_expired: true } = change {
                self.check_grace(task, token);
            }
            self.observer.observe(now, &change, &self.jobs);
            if let Some(fairness) = &mut self.fairness {
                fairness.observe(now, &change, &mut self.observer);
            }
        }
        for encoded in std::mem::take(&mut self.context.encoded) {
            self.observer.encoded(now, &encoded);
        }
        if let Some(job) = self.playlists.take_shrunk() {
            self.observer.violated(now, Invariant::Lost, || {
                format!("the playlist of job {job} was replaced by an older one")
            });
        }
    }

    /// Checks that an expired lease is not released because of an outage of the dispatcher.
    fn check_grace(&mut self, task: TaskId, token: i64) {
        let now = self.context.now;
        let Some(begin) = self.outage.that_ended_just_before(now) else { return };
        let lease = self.observer.lease(task).filter(|lease| lease.token == token);
        let Some((worker, renewed)) = lease.and_then(|lease| Some((lease.worker, lease.renewed?))) else {
            return;
        };
        let number = usize::try_from(worker >> 32).unwrap_or(0);
        let worker = &self.workers[number];
        // Not the fault of one replica either.
        let is_healthy = worker.has_stream_of(Presented { task, token })
            && self.replicas.iter().all(|replica| replica.serves(&self.context))
            && worker.paused_until < renewed
            && self.context.network.last_cut(number) < renewed;
        if is_healthy && self.outage.was_renewing(renewed, begin) {
            self.observer.violated(now, Invariant::Lost, || {
                format!("{task}: the lease of a running worker was released right after an outage of the dispatcher")
            });
        }
    }

    pub(super) fn replica(&mut self, replica: usize) -> (&mut Replica, dispatcher::Io<'_>) {
        let io = dispatcher::Io {
            ledger: &mut self.ledger,
            playlists: &mut self.playlists,
            wake_ups: &mut self.wake_ups,
            context: &mut self.context,
        };
        (&mut self.replicas[replica], io)
    }

    pub(super) fn worker(&mut self, worker: usize) -> (&mut Worker, worker::Io<'_>) {
        let io = worker::Io { wake_ups: &mut self.wake_ups, jobs: &self.jobs, context: &mut self.context };
        (&mut self.workers[worker], io)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::CreateJob { spec } => self.create_job(spec),
            Event::CancelJob { job } => self.cancel_job(job),
            Event::RetryJob { job } => self.retry_job(job),
            Event::PrioritizeJob { job } => self.prioritize_job(job),
            Event::FaultBegins { fault } => self.begin_fault(fault),
            Event::ReplicaStarts { replica } => {
                self.replicas[replica].start_process(&mut self.context);
                self.service_changed();
            }
            Event::ServiceMayHaveChanged => self.service_changed(),
            Event::WorkerStarts { worker } => {
                let (worker, mut io) = self.worker(worker);
                worker.start_process(&mut io);
            }
            Event::WakeUpIsSent { required_build } => self.wake_ups.arrive(required_build, &mut self.context),
            Event::WakeUpIsVisible { message, receipt } => {
                self.wake_ups.timer_ended(message, receipt, &mut self.context);
            }
            Event::ReceiveEnds { slot, epoch } => {
                self.wake_ups.end_receive(slot, epoch, &mut self.context);
            }
            event => match (event.replica(), event.slot()) {
                (Some(address), _) => self.handle_at_replica(address, event),
                (None, Some(address)) => self.handle_at_worker(address, event),
                (None, None) => {}
            },
        }
    }

    /// Events of a stopped process are handled when it continues.
    fn handle_at_replica(&mut self, address: ReplicaAddress, event: Event) {
        let (replica, mut io) = self.replica(address.replica);
        if replica.paused_until > io.context.now {
            return io.context.at(replica.paused_until, event);
        }
        if let Event::CallArrives { call, .. } = event {
            return replica.receive(call, &mut io);
        }
        let is_current = replica.is_current(address) || address.process == 0 && replica.is_up;
        if !is_current {
            return;
        }
        let io = &mut io;
        match event {
            Event::SchedulerRuns { .. } => replica.run_scheduler(io),
            Event::SweepTasks { serial, .. } => replica.sweep_tasks(serial, io),
            Event::SweepBacklog { .. } => replica.sweep_backlog(io),
            Event::SweepPublications { .. } => replica.sweep_publications(io),
            Event::WaitingCallPolls { call, .. } => replica.poll_waiting_call(call, io),
            Event::ExpressTaskQueued { .. } => replica.express_task_queued(io),
            Event::StreamBroken { from, stream, .. } => replica.stream_broken(from, stream, io),
            Event::Publication { job, step, .. } => replica.publish(job, step, io),
            Event::LeaseIsWritten { call, task, lease, .. } => replica.write_lease(&call, task, &lease, io),
            _ => {}
        }
    }

    fn handle_at_worker(&mut self, address: SlotAddress, event: Event) {
        let (worker, mut io) = self.worker(address.worker);
        if !worker.is_current(address) {
            return;
        }
        if worker.paused_until > io.context.now {
            return io.context.at(worker.paused_until, event);
        }
        let io = &mut io;
        match event {
            Event::ResponseArrives { to, call, response } => worker.receive_response(to, call, response, io),
            Event::CallTimesOut { slot, call } => {
                worker.receive_response(slot, call, Response::Unavailable, io);
            }
            Event::CallIsRepeated { slot, call } => worker.repeat_call(slot, call, io),
            Event::SlotTimer { slot, epoch } => worker.timer_ended(slot, epoch, io),
            Event::ReportIsDue { slot, epoch, serial } => worker.report(slot, epoch, serial, io),
            Event::ReportIsAnswered { to, stream, response } => {
                worker.report_answered(to, stream, response, io)
            }
            Event::StreamIsReset { slot, replica } => worker.stream_reset(slot, replica, io),
            Event::WakeUpArrives { to, epoch, received } => worker.wake_up_arrived(to, epoch, received, io),
            _ => {}
        }
    }

    /// Notes whether a replica serves.
    pub(super) fn service_changed(&mut self) {
        let serves = self.replicas.iter().any(|replica| replica.serves(&self.context));
        self.outage.note(serves, self.context.now);
    }
}

/// A number of a change, for the hash of the timeline.
fn change_number(change: &Change) -> u64 {
    match *change {
        Change::Leased { task, token, worker, .. } => {
            u64::from(task.job) << 32 ^ u64::from(task.index) << 8 ^ token.unsigned_abs() ^ worker
        }
        Change::Recorded { task, segment, .. } => u64::from(task.job) << 32 ^ u64::from(segment) ^ 1 << 62,
        Change::Completed { task, .. } => u64::from(task.job) << 32 ^ u64::from(task.index) ^ 1 << 63,
        Change::JobEnded { job, .. } => u64::from(job) ^ 3 << 62,
        _ => 1,
    }
}
