//! Draws the faults of a scenario. Each seed has only some kinds of faults, so that rare combinations occur.

use super::{event_queue::Millis, faults::Fault, network::MessageFaults, random::Random};

/// Kinds of faults that are drawn.
const KINDS: usize = 17;
/// Longest pause of a replica, and of the whole dispatcher.
const LONGEST_PAUSE: Millis = 60_000;

/// The faults of a scenario.
pub(super) struct FaultPlan {
    pub(super) faults: Vec<(Millis, Fault)>,
    pub(super) messages: MessageFaults,
    pub(super) crash_probability: f64,
    pub(super) encoder_crash_probability: f64,
}

impl FaultPlan {
    /// Draws faults that begin before `end`.
    pub(super) fn draw(workers: usize, replicas: usize, end: Millis, random: &mut Random) -> Self {
        let enabled: Vec<usize> = (0..KINDS).filter(|_| random.chance(0.5)).collect();
        // About one fault of a worker for every four workers, and a few of the dispatcher.
        let count = random.below(6) + random.below(1 + workers / 2);
        let mut faults = Vec::new();
        for _ in 0..count {
            if enabled.is_empty() {
                break;
            }
            let kind = enabled[random.below(enabled.len())];
            // Faults of the whole system do not become more frequent with the number of workers.
            let is_of_worker = kind < 7;
            if !is_of_worker && faults.len() > 12 && !random.chance(0.02) {
                continue;
            }
            faults.push((random.between(1000, end), draw_fault(kind, workers, replicas, random)));
        }
        faults.sort_by_key(|(time, _)| *time);
        let rate = |random: &mut Random, most: f64| {
            if random.chance(0.5) { random.unit() * most } else { 0.0 }
        };
        let messages = MessageFaults {
            loss: rate(random, 0.05),
            duplicate: rate(random, 0.05),
            late: rate(random, 0.1),
            end,
        };
        Self {
            faults,
            messages,
            crash_probability: rate(random, 0.003),
            encoder_crash_probability: rate(random, 0.03),
        }
    }
}

/// When the last fault has ended.
pub(super) fn end(faults: &[(Millis, Fault)], messages_end: Millis) -> Millis {
    let ends = faults.iter().map(|(time, fault)| time + fault.duration());
    ends.max().unwrap_or(0).max(messages_end)
}

fn draw_fault(kind: usize, workers: usize, replicas: usize, random: &mut Random) -> Fault {
    let (worker, replica) = (random.below(workers), random.below(replicas));
    let restart_after = random.between(500, 30_000);
    let duration = random.between(1000, 90_000);
    match kind {
        0 => Fault::WorkerCrash { worker, is_power_loss: false, restart_after },
        1 => Fault::WorkerCrash { worker, is_power_loss: true, restart_after },
        2 => Fault::WorkerStop { worker, restart_after: restart_after.max(5000) },
        3 => Fault::WorkerPause { worker, duration },
        4 => {
            let replica = random.chance(0.5).then_some(replica);
            Fault::WorkerCut { worker, replica, duration }
        }
        5 => Fault::EncoderBreaks { worker, duration },
        6 => Fault::WorkerClock { worker, skew: random.between(-3_600_000, 3_600_000) },
        7 => Fault::ReplicaCrash { replica, restart_after },
        8 => Fault::ReplicaPause { replica, duration: duration.min(LONGEST_PAUSE) },
        9 => Fault::ReplicaDatabaseCut { replica, duration },
        10 => Fault::ReplicaClock { replica, skew: random.between(-1500, 1500) },
        11 => Fault::DispatcherCrash { restart_after },
        12 => Fault::DispatcherPause { duration: duration.min(LONGEST_PAUSE) },
        13 => Fault::DatabaseOutage { duration },
        14 => Fault::ObjectStoreOutage { duration: duration * 2 },
        15 => {
            if random.chance(0.5) {
                Fault::QueuePurge
            } else {
                Fault::QueueOutage { duration }
            }
        }
        _ => Fault::PubSubOutage { duration },
    }
}
