//! A replica of the dispatcher: what it keeps in memory, and how it answers calls. Every call is one or two transactions of
//! the ledger; what follows a commit in memory is lost if the replica crashes.

mod publisher;
mod scheduler;
mod settle;
mod start;
mod sweeper;

use std::collections::{BTreeMap, VecDeque};

use self::{publisher::Publications, start::WaitingCall};
use super::{
    context::Context,
    event_queue::Millis,
    events::{Call, Event, ReplicaAddress, Request, Response, SlotAddress},
    faults::Fault,
    guards::Guards,
    ledger::{Build, Ledger, Presented},
    limits::Limits,
    playlists::Playlists,
    wake_up_queue::WakeUpQueue,
};
use crate::domain::{Grace, TaskClass};

/// How long a replica that crashed right after a commit is down.
const RESTART_AFTER: Millis = 2000;

/// Probability that a call is executed whose caller gave it up before it was read: its reset follows at once.
const EXECUTED_AFTER_RESET: f64 = 0.25;

/// What a replica uses.
pub(super) struct Io<'a> {
    pub(super) ledger: &'a mut Ledger,
    pub(super) playlists: &'a mut Playlists,
    pub(super) wake_ups: &'a mut WakeUpQueue,
    pub(super) context: &'a mut Context,
}

/// What follows the commit of a call, apart from its response.
#[derive(Default)]
struct AfterCommit {
    /// Owners whose waiting tasks are to be queued.
    owner: Option<u32>,
    /// A queued task that is to be announced.
    queued: Option<(TaskClass, Build)>,
    wakes_sweeper: bool,
    /// A job to be published, and whether without a pause.
    publication: Option<(u32, bool)>,
}

/// The report stream of a slot.
struct ReportStream {
    id: u64,
    lease: Presented,
    /// Set by its last renewal.
    expire_time: Millis,
}

/// A process of the dispatcher.
pub(super) struct Replica {
    index: usize,
    limits: Limits,
    guards: Guards,
    /// Increases when it is restarted.
    process: u32,
    pub(super) is_up: bool,
    /// It is stopped (SIGSTOP) until then.
    pub(super) paused_until: Millis,
    pub(super) database_cut_until: Millis,
    /// Its clock, relative to the database's.
    pub(super) clock_skew: Millis,
    /// Probability of a crash after a commit, until the end of the faults.
    pub(super) crash_probability: f64,
    pub(super) crashes_until: Millis,
    owners: VecDeque<u32>,
    is_scheduled: bool,
    waiting: Vec<WaitingCall>,
    grace: Grace,
    sweep_serial: u64,
    next_sweep: Millis,
    streams: BTreeMap<SlotAddress, ReportStream>,
    publications: Publications,
}

impl Replica {
    pub(super) fn new(index: usize, limits: Limits, guards: Guards) -> Self {
        Self {
            index,
            limits,
            guards,
            process: 0,
            is_up: false,
            paused_until: 0,
            database_cut_until: 0,
            clock_skew: 0,
            crash_probability: 0.0,
            crashes_until: 0,
            owners: VecDeque::new(),
            is_scheduled: false,
            waiting: Vec::new(),
            grace: Grace::begin(0, limits.lease_ttl_ms),
            sweep_serial: 0,
            next_sweep: 0,
            streams: BTreeMap::new(),
            publications: Publications::default(),
        }
    }

    fn address(&self) -> ReplicaAddress {
        ReplicaAddress { replica: self.index, process: self.process }
    }

    /// Whether an event of this process concerns the one that runs now.
    pub(super) fn is_current(&self, address: ReplicaAddress) -> bool {
        self.is_up && address.process == self.process
    }

    /// Its clock.
    fn now(&self, context: &Context) -> Millis {
        context.now + self.clock_skew
    }

    pub(super) fn has_database(&self, context: &Context) -> bool {
        context.outages.database <= context.now && self.database_cut_until <= context.now
    }

    /// Whether it answers calls.
    pub(super) fn serves(&self, context: &Context) -> bool {
        self.is_up && self.paused_until <= context.now && self.has_database(context)
    }

    /// Starts the process.
    pub(super) fn start_process(&mut self, context: &mut Context) {
        if self.is_up {
            return;
        }
        self.is_up = true;
        self.paused_until = 0;
        self.process += 1;
        self.grace = Grace::begin(self.now(context), self.limits.lease_ttl_ms);
        self.next_sweep = Millis::MAX;
        let replica = self.address();
        self.wake_sweeper(context);
        context.after(1, Event::SweepBacklog { replica });
        context.after(1, Event::SweepPublications { replica });
    }

    /// Kills the process: what it has in memory is lost.
    pub(super) fn crash(&mut self) {
        self.is_up = false;
        self.paused_until = 0;
        self.owners.clear();
        self.is_scheduled = false;
        self.waiting.clear();
        self.streams.clear();
        self.publications = Publications::default();
    }

    /// Answers a call.
    pub(super) fn receive(&mut self, call: Call, io: &mut Io<'_>) {
        let was_given_up = io.context.now >= call.timeout;
        if was_given_up && !io.context.random.chance(EXECUTED_AFTER_RESET) {
            return;
        }
        if !self.is_up || !self.has_database(io.context) {
            // A stream that this replica ends does not shorten the lease.
            if let Request::Report { .. } = call.request {
                self.streams.remove(&call.from);
            }
            io.context.respond(self.index, &call, Response::Unavailable);
            return;
        }
        match call.request {
            Request::StartTask { wait, .. } => self.start_task(call, wait, io),
            Request::PlanJob(lease) => self.plan_job(&call, lease, io),
            Request::RecordOutputs { lease, first, end } => self.record_outputs(&call, lease, first..end, io),
            Request::CompleteTask { lease, encoded } => self.complete_task(&call, lease, encoded, io),
            Request::FailTask { lease, cause } => self.fail_task(&call, lease, cause, io),
            Request::Report { lease, stream } => self.renew(&call, lease, stream, io),
        }
    }

    /// Continues after a commit, unless the replica crashes there; returns whether it continues.
    fn survives_commit(&self, context: &mut Context) -> bool {
        let crashes = context.now < self.crashes_until && context.random.chance(self.crash_probability);
        if crashes {
            let fault = Fault::ReplicaCrash { replica: self.index, restart_after: RESTART_AFTER };
            context.after(0, Event::FaultBegins { fault });
        }
        !crashes
    }

    /// Does what follows a commit, and responds; nothing if the replica crashes there.
    fn finish(&mut self, call: &Call, response: Response, after: &AfterCommit, io: &mut Io<'_>) {
        if self.survives_commit(io.context) {
            self.after_commit(after, io);
            io.context.respond(self.index, call, response);
        }
    }

    fn after_commit(&mut self, after: &AfterCommit, io: &mut Io<'_>) {
        if let Some(queued) = after.queued {
            self.announce(&[queued], io);
        }
        if after.wakes_sweeper {
            self.wake_sweeper(io.context);
        }
        if let Some(owner) = after.owner {
            self.request(owner, io.context);
        }
        if let Some((job, is_next_step)) = after.publication {
            self.request_publication(job, is_next_step, io.context);
        }
    }

    /// Renews the lease of a report.
    fn renew(&mut self, call: &Call, lease: Presented, stream: u64, io: &mut Io<'_>) {
        let renewed = io.ledger.renew(lease.task, lease.token, self.limits.lease_ttl_ms, io.context.now);
        let response = match renewed {
            Some(expire_time) => {
                self.streams.insert(call.from, ReportStream { id: stream, lease, expire_time });
                Response::Renewed { expire_time }
            }
            None => {
                self.streams.remove(&call.from);
                Response::LeaseLost
            }
        };
        io.context.respond(self.index, call, response);
    }

    /// Shortens the lease of a stream that broke.
    pub(super) fn stream_broken(&mut self, from: SlotAddress, stream: u64, io: &mut Io<'_>) {
        let Some(&ReportStream { id, lease, expire_time }) = self.streams.get(&from) else { return };
        if id != stream {
            return;
        }
        self.streams.remove(&from);
        let ttl_ms = self.limits.lease_after_disconnect_ms;
        if self.has_database(io.context)
            && io.ledger.shorten(lease.task, lease.token, expire_time, ttl_ms, io.context.now)
        {
            self.wake_sweeper(io.context);
        }
    }

    /// A job was created, cancelled, or retried by its owner through this replica.
    pub(super) fn job_changed(&mut self, owner: u32, io: &mut Io<'_>) {
        if self.is_up && self.survives_commit(io.context) {
            self.request(owner, io.context);
        }
    }
}
