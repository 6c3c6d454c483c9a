//! The network between workers and replicas: latency, losses, duplicates, partitions.

use super::{event_queue::Millis, random::Random};

/// Rates of faulty messages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MessageFaults {
    pub(super) loss: f64,
    pub(super) duplicate: f64,
    pub(super) late: f64,
    /// When they end.
    pub(super) end: Millis,
}

/// How a message is delivered.
pub(super) enum Delivery {
    Lost,
    After(Millis),
    Twice(Millis, Millis),
}

/// Time after which a worker calls a replica no more whose host it cannot reach: the interval of the mesh's look-ups, and
/// the timeout of its probe.
const CUT_NOTICED_AFTER: Millis = 6000;
/// The same of a replica that is stopped: interval and timeout of the keep-alive, because its host accepts connections.
const PAUSE_NOTICED_AFTER: Millis = 30_000;

/// A time in which a replica does not answer.
#[derive(Debug, Clone, Copy, Default)]
struct Silence {
    begin: Millis,
    end: Millis,
}

impl Silence {
    fn extend(&mut self, now: Millis, end: Millis) {
        if self.end <= now {
            self.begin = now;
        }
        self.end = end.max(self.end);
    }

    /// Whether it is noticed `after` a time.
    fn is_noticed(&self, now: Millis, after: Millis) -> bool {
        self.end > now && now - self.begin >= after
    }
}

/// The links between workers and replicas.
pub(super) struct Network {
    replicas: usize,
    /// Partitions, by worker and replica.
    cuts: Vec<Silence>,
    /// Pauses, by replica.
    pauses: Vec<Silence>,
    faults: MessageFaults,
    /// Messages that were lost, late or duplicated.
    pub(super) faulty_messages: u64,
}

impl Network {
    pub(super) fn new(workers: usize, replicas: usize, faults: MessageFaults) -> Self {
        Self {
            replicas,
            cuts: vec![Silence::default(); workers * replicas],
            pauses: vec![Silence::default(); replicas],
            faults,
            faulty_messages: 0,
        }
    }

    /// Cuts a worker off from a replica, or from all.
    pub(super) fn cut(&mut self, worker: usize, replica: Option<usize>, now: Millis, until: Millis) {
        for other in 0..self.replicas {
            if replica.is_none_or(|replica| replica == other) {
                self.cuts[worker * self.replicas + other].extend(now, until);
            }
        }
    }

    pub(super) fn replicas(&self) -> usize {
        self.replicas
    }

    /// The end of the last partition between a worker and any replica.
    pub(super) fn last_cut(&self, worker: usize) -> Millis {
        self.cuts[worker * self.replicas..(worker + 1) * self.replicas]
            .iter()
            .map(|cut| cut.end)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn is_cut(&self, worker: usize, replica: usize, now: Millis) -> bool {
        self.cuts[worker * self.replicas + replica].end > now
    }

    /// A replica is stopped.
    pub(super) fn pause(&mut self, replica: usize, now: Millis, until: Millis) {
        self.pauses[replica].extend(now, until);
    }

    /// The replica that a worker calls: any of those that it does not know to be unreachable, or of all.
    pub(super) fn pick_replica(&self, worker: usize, now: Millis, random: &mut Random) -> usize {
        let is_known = |replica: &usize| {
            !self.pauses[*replica].is_noticed(now, PAUSE_NOTICED_AFTER)
                && !self.cuts[worker * self.replicas + *replica].is_noticed(now, CUT_NOTICED_AFTER)
        };
        let known = (0..self.replicas).filter(is_known).count();
        let mut skipped = random.below(if known == 0 { self.replicas } else { known });
        for replica in 0..self.replicas {
            if known == 0 || is_known(&replica) {
                if skipped == 0 {
                    return replica;
                }
                skipped -= 1;
            }
        }
        0
    }

    pub(super) fn deliver(
        &mut self,
        worker: usize,
        replica: usize,
        now: Millis,
        random: &mut Random,
    ) -> Delivery {
        if self.is_cut(worker, replica, now) {
            return Delivery::Lost;
        }
        let delay = self.delay(now, random);
        if now < self.faults.end {
            if random.chance(self.faults.loss) {
                self.faulty_messages += 1;
                return Delivery::Lost;
            }
            if random.chance(self.faults.duplicate) {
                self.faulty_messages += 1;
                // Also long after the first one: a retransmission that a restarted proxy repeats.
                return Delivery::Twice(delay, delay + random.between(1, 20_000));
            }
        }
        Delivery::After(delay)
    }

    pub(super) fn deliver_on_stream(
        &mut self,
        worker: usize,
        replica: usize,
        now: Millis,
        random: &mut Random,
    ) -> Option<Millis> {
        if self.is_cut(worker, replica, now) {
            return None;
        }
        Some(self.delay(now, random))
    }

    /// The delay of a message within the dispatcher, or to the queue.
    pub(super) fn delay(&mut self, now: Millis, random: &mut Random) -> Millis {
        if now < self.faults.end && random.chance(self.faults.late) {
            self.faulty_messages += 1;
            return random.between(50, 3000);
        }
        random.between(1, 8)
    }

    /// Whether a notification is lost.
    pub(super) fn loses_notification(&mut self, now: Millis, random: &mut Random) -> bool {
        let is_lost = now < self.faults.end && random.chance(self.faults.loss * 4.0);
        self.faulty_messages += u64::from(is_lost);
        is_lost
    }

    /// Whether a notification is duplicated.
    pub(super) fn duplicates_notification(&mut self, now: Millis, random: &mut Random) -> bool {
        let is_duplicated = now < self.faults.end && random.chance(self.faults.duplicate * 4.0);
        self.faulty_messages += u64::from(is_duplicated);
        is_duplicated
    }
}
