//! What happens in a simulation: messages that arrive, timers that end, faults.

use reelmill_proto::transcode::FailureCause;

use super::{
    event_queue::Millis,
    faults::Fault,
    ledger::{Build, EncodeGrant, LeaseRequest, Presented, TaskId},
};
use crate::domain::TaskKind;

/// A slot of a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotAddress {
    pub(super) worker: usize,
    /// Number of the process: it increases when the worker is restarted.
    pub(super) process: u32,
    pub(super) slot: usize,
}

/// A process of the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplicaAddress {
    pub(super) replica: usize,
    /// Increases when the replica is restarted.
    pub(super) process: u32,
}

/// A call to the dispatcher.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request {
    StartTask {
        nonce: u64,
        is_express: bool,
        build: Build,
        wait: Millis,
    },
    PlanJob(Presented),
    RecordOutputs {
        lease: Presented,
        first: u32,
        end: u32,
    },
    CompleteTask {
        lease: Presented,
        encoded: u32,
    },
    FailTask {
        lease: Presented,
        cause: FailureCause,
    },
    /// A report on a stream, which renews the lease.
    Report {
        lease: Presented,
        stream: u64,
    },
}

/// One attempt of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) from: SlotAddress,
    pub(super) id: u64,
    pub(super) request: Request,
    /// When its caller gives this attempt up.
    pub(super) timeout: Millis,
}

/// A leased task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) lease: Presented,
    pub(super) kind: TaskKind,
    pub(super) expire_time: Millis,
    pub(super) encode: EncodeGrant,
}

/// A response of the dispatcher.
#[derive(Debug, Clone, Copy)]
pub(super) enum Response {
    Granted(Grant),
    NoTask,
    Planned(EncodeGrant),
    Done,
    Renewed { expire_time: Millis },
    LeaseLost,
    SegmentsMissing,
    Unavailable,
}

/// A received wake-up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) message: u64,
    /// Of this delivery.
    pub(super) receipt: u32,
    pub(super) required_build: Build,
}

/// A step of a publication, as in `publisher/playlists.rs`.
#[derive(Debug, Clone, Copy)]
pub(super) enum PublicationStep {
    Begin,
    /// The conditional write arrives at the object store.
    Put,
    /// The write on what was found arrives, after the claim was checked.
    PutFound {
        found: u64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    CreateJob {
        spec: usize,
    },
    CancelJob {
        job: u32,
    },
    RetryJob {
        job: u32,
    },
    PrioritizeJob {
        job: u32,
    },
    FaultBegins {
        fault: Fault,
    },
    /// A pause or an outage may have ended.
    ServiceMayHaveChanged,
    ReplicaStarts {
        replica: usize,
    },
    WorkerStarts {
        worker: usize,
    },

    CallArrives {
        replica: usize,
        call: Call,
    },
    SchedulerRuns {
        replica: ReplicaAddress,
    },
    SweepTasks {
        replica: ReplicaAddress,
        serial: u64,
    },
    SweepBacklog {
        replica: ReplicaAddress,
    },
    SweepPublications {
        replica: ReplicaAddress,
    },
    WaitingCallPolls {
        replica: ReplicaAddress,
        call: u64,
    },
    ExpressTaskQueued {
        replica: ReplicaAddress,
    },
    StreamBroken {
        replica: usize,
        from: SlotAddress,
        stream: u64,
    },
    Publication {
        replica: ReplicaAddress,
        job: u32,
        step: PublicationStep,
    },
    /// Without the guard on claims, a task is selected and leased in two steps.
    LeaseIsWritten {
        replica: ReplicaAddress,
        call: Call,
        task: TaskId,
        lease: LeaseRequest,
    },

    ResponseArrives {
        to: SlotAddress,
        call: u64,
        response: Response,
    },
    CallTimesOut {
        slot: SlotAddress,
        call: u64,
    },
    CallIsRepeated {
        slot: SlotAddress,
        call: u64,
    },
    SlotTimer {
        slot: SlotAddress,
        epoch: u64,
    },
    ReportIsDue {
        slot: SlotAddress,
        epoch: u64,
        serial: u64,
    },
    ReportIsAnswered {
        to: SlotAddress,
        stream: u64,
        response: Response,
    },
    StreamIsReset {
        slot: SlotAddress,
        replica: usize,
    },
    WakeUpArrives {
        to: SlotAddress,
        epoch: u64,
        received: Option<Received>,
    },

    WakeUpIsSent {
        required_build: Build,
    },
    WakeUpIsVisible {
        message: u64,
        receipt: u32,
    },
    ReceiveEnds {
        slot: SlotAddress,
        epoch: u64,
    },
}

impl Event {
    /// The replica that it concerns, and its process; 0 for any.
    pub(super) fn replica(&self) -> Option<ReplicaAddress> {
        match *self {
            Self::CallArrives { replica, .. } | Self::StreamBroken { replica, .. } => {
                Some(ReplicaAddress { replica, process: 0 })
            }
            Self::SchedulerRuns { replica }
            | Self::SweepTasks { replica, .. }
            | Self::SweepBacklog { replica }
            | Self::SweepPublications { replica }
            | Self::WaitingCallPolls { replica, .. }
            | Self::ExpressTaskQueued { replica }
            | Self::Publication { replica, .. }
            | Self::LeaseIsWritten { replica, .. } => Some(replica),
            _ => None,
        }
    }

    /// The slot that it concerns.
    pub(super) fn slot(&self) -> Option<SlotAddress> {
        match *self {
            Self::ResponseArrives { to, .. }
            | Self::ReportIsAnswered { to, .. }
            | Self::WakeUpArrives { to, .. } => Some(to),
            Self::CallTimesOut { slot, .. }
            | Self::CallIsRepeated { slot, .. }
            | Self::SlotTimer { slot, .. }
            | Self::ReportIsDue { slot, .. }
            | Self::StreamIsReset { slot, .. } => Some(slot),
            _ => None,
        }
    }
}
