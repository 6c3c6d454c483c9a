//! When which fault begins and which video is uploaded: drawn from the seed before anything starts.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::{fault::Fault, options::Options};

/// A fault at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    pub at: Duration,
    pub fault: Fault,
    /// The replica that it hits, from 1.
    pub replica: usize,
    pub duration: Duration,
}

/// An upload at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedUpload {
    pub at: Duration,
    /// Index of the clip.
    pub clip: usize,
    /// Index of the user.
    pub user: usize,
}

/// All of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub faults: Vec<PlannedFault>,
    pub uploads: Vec<PlannedUpload>,
}

/// Shortest fault.
const SHORTEST: Duration = Duration::from_secs(1);
/// Part of the period in which videos are uploaded, in percent.
const UPLOAD_PERCENT: u32 = 90;

impl Schedule {
    /// Each available fault is used before one is used again. `weights` are those of the clips.
    pub fn draw(options: &Options, available: &[Fault], weights: &[u32], users: usize) -> Self {
        let mut random = StdRng::seed_from_u64(options.seed);
        let mut deck: Vec<Fault> = Vec::new();
        let mut times = draw_times(&mut random, options.faults, options.period);
        let mut faults = Vec::new();
        if !available.is_empty() {
            for at in times.drain(..) {
                if deck.is_empty() {
                    deck = available.to_vec();
                    deck.shuffle(&mut random);
                }
                let Some(fault) = deck.pop() else { break };
                let replica = random.random_range(1..=fault.replicas());
                // Short ones are more frequent than long ones.
                let share = random.random::<f64>().powi(2);
                let duration = SHORTEST + (options.longest - SHORTEST).mul_f64(share);
                let duration = options.exactly.unwrap_or(duration);
                faults.push(PlannedFault { at: options.after + at, fault, replica, duration });
            }
        }
        let upload_period = (options.after + options.period) * UPLOAD_PERCENT / 100;
        let uploads = draw_times(&mut random, options.jobs, upload_period);
        let uploads = uploads.into_iter().enumerate().map(|(index, at)| PlannedUpload {
            at,
            // Each clip at least once, if there are enough.
            clip: if index < weights.len() { index } else { weighted(&mut random, weights) },
            user: random.random_range(0..users),
        });
        let uploads = uploads.collect();
        Self { faults, uploads }
    }
}

fn draw_times(random: &mut StdRng, count: usize, period: Duration) -> Vec<Duration> {
    let mut times: Vec<_> = (0..count).map(|_| period.mul_f64(random.random())).collect();
    times.sort();
    times
}

/// A random index; each is as likely as its weight.
fn weighted(random: &mut StdRng, weights: &[u32]) -> usize {
    let mut drawn = random.random_range(0..weights.iter().sum::<u32>().max(1));
    for (index, weight) in weights.iter().enumerate() {
        if drawn < *weight {
            return index;
        }
        drawn -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        Options::parse(args.iter().map(|arg| (*arg).to_owned())).unwrap()
    }

    #[test]
    fn draw_with_the_same_seed_is_the_same() {
        let draw = |seed: &str| Schedule::draw(&options(&[seed]), &Fault::all(), &[3, 1], 4);
        assert_eq!(draw("seed=5"), draw("seed=5"));
        assert_ne!(draw("seed=5"), draw("seed=6"));
    }

    #[test]
    fn draw_uses_each_fault_and_each_clip() {
        let all = Fault::all();
        let count = format!("faults={}", all.len());
        let schedule = Schedule::draw(&options(&[&count, "jobs=9"]), &all, &[1, 1, 1], 2);
        assert!(all.iter().all(|fault| schedule.faults.iter().any(|planned| planned.fault == *fault)));
        assert!((0..3).all(|clip| schedule.uploads.iter().any(|upload| upload.clip == clip)));
        assert_eq!(schedule.uploads.len(), 9);
    }

    #[test]
    fn draw_without_faults_has_uploads_only() {
        let schedule = Schedule::draw(&options(&["faults=0", "jobs=2", "seconds=10"]), &[], &[1], 1);
        assert_eq!((schedule.faults.len(), schedule.uploads.len()), (0, 2));
    }
}
