//! The faults of a scenario.

use super::event_queue::Millis;

/// A fault of a process, a host, a link or a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL, or a power loss, which the other ends of its connections notice late. Another process follows.
    WorkerCrash {
        worker: usize,
        is_power_loss: bool,
        restart_after: Millis,
    },
    /// SIGTERM: it hands back its tasks. Another process follows.
    WorkerStop {
        worker: usize,
        restart_after: Millis,
    },
    /// SIGSTOP, then SIGCONT.
    WorkerPause {
        worker: usize,
        duration: Millis,
    },
    /// A partition from one replica, or from all.
    WorkerCut {
        worker: usize,
        replica: Option<usize>,
        duration: Millis,
    },
    /// Its encoder and its self-test fail.
    EncoderBreaks {
        worker: usize,
        duration: Millis,
    },
    /// Its wall clock is wrong.
    WorkerClock {
        worker: usize,
        skew: Millis,
    },
    ReplicaCrash {
        replica: usize,
        restart_after: Millis,
    },
    ReplicaPause {
        replica: usize,
        duration: Millis,
    },
    ReplicaDatabaseCut {
        replica: usize,
        duration: Millis,
    },
    /// Its reading of the database's clock is wrong.
    ReplicaClock {
        replica: usize,
        skew: Millis,
    },
    /// All replicas crash at once.
    DispatcherCrash {
        restart_after: Millis,
    },
    /// All replicas stop at once, for example with their host.
    DispatcherPause {
        duration: Millis,
    },
    DatabaseOutage {
        duration: Millis,
    },
    ObjectStoreOutage {
        duration: Millis,
    },
    QueueOutage {
        duration: Millis,
    },
    QueuePurge,
    PubSubOutage {
        duration: Millis,
    },
}

impl Fault {
    /// How long it lasts.
    pub(super) fn duration(&self) -> Millis {
        match *self {
            Self::WorkerCrash { restart_after, .. }
            | Self::WorkerStop { restart_after, .. }
            | Self::ReplicaCrash { restart_after, .. }
            | Self::DispatcherCrash { restart_after } => restart_after,
            Self::WorkerPause { duration, .. }
            | Self::WorkerCut { duration, .. }
            | Self::EncoderBreaks { duration, .. }
            | Self::ReplicaPause { duration, .. }
            | Self::ReplicaDatabaseCut { duration, .. }
            | Self::DispatcherPause { duration }
            | Self::DatabaseOutage { duration }
            | Self::ObjectStoreOutage { duration }
            | Self::QueueOutage { duration }
            | Self::PubSubOutage { duration } => duration,
            Self::WorkerClock { .. } | Self::ReplicaClock { .. } | Self::QueuePurge => 0,
        }
    }
}
