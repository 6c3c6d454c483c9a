//! Deterministic simulation of the dispatcher.
//!
//! Thousands of workers and tasks run against replicas of the dispatcher in simulated time, with faults of every kind. The
//! rules are the product's ([`crate::domain`]); what the product does in SQL, in async functions or in another process is
//! modelled here, file by file. A seed determines a run completely, so that a failure can be replayed.
//!
//! | file | what it models |
//! |---|---|
//! | `ledger/` | the database and its statements; compared with the SQL by `ledger/sql_tests/` |
//! | `dispatcher/` | a replica: calls, scheduler, sweeper, publisher, and what it has only in memory |
//! | `worker/` | a worker: slots, attempts, renewals, self-test, circuit breaker |
//! | `wake_up_queue`, `network`, `outages`, `playlists` | what connects them |
//! | `scenario`, `fault_plan`, `job_spec` | the scenario of a seed |
//! | `invariants`, `fairness`, `service_outage` | observers that check every commit |
//! | `system`, `owner_actions`, `fault_injection` | the event loop |

mod context;
mod dispatcher;
mod event_queue;
mod events;
mod fairness;
mod fault_injection;
mod fault_plan;
mod faults;
mod guards;
mod invariants;
mod job_spec;
mod ledger;
mod limits;
mod network;
mod options;
mod outages;
mod owner_actions;
mod playlists;
mod random;
mod report;
mod scenario;
mod service_outage;
mod system;
#[cfg(test)]
mod tests;
mod timeline;
mod wake_up_queue;
mod worker;

use std::{
    io::{self, Write},
    num::NonZero,
    panic,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

pub use self::options::Options;
use self::{
    report::{Totals, failure_line},
    system::Outcome,
};

/// Simulates the seeds of `options` on all cores, and writes what failed and a summary; returns whether nothing failed.
///
/// # Errors
/// Writing failed.
pub fn run(options: &Options, output: &mut (impl Write + Send)) -> io::Result<bool> {
    let summary = Mutex::new(Summary { totals: Totals::default(), output, result: Ok(()) });
    if let Some(seed) = options.seed {
        summary.lock().unwrap_or_else(PoisonError::into_inner).add(&run_seed(seed, options, true), options);
    } else {
        let next = AtomicU64::new(options.first);
        let end = options.first.saturating_add(options.seeds);
        let simulate = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return;
                }
                let outcome = run_seed(seed, options, false);
                summary.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome, options);
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                scope.spawn(simulate);
            }
        });
    }
    let Summary { totals, output, result } = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    result?;
    output.write_all(totals.lines().as_bytes())?;
    Ok(totals.is_clean())
}

/// Simulates a seed. A panic is a violation, too.
fn run_seed(seed: u64, options: &Options, keeps_lines: bool) -> Outcome {
    let run = || system::run(seed, options, keeps_lines);
    panic::catch_unwind(run).unwrap_or_else(|_| Outcome::panicked(seed))
}

/// What was simulated so far.
struct Summary<'a, W> {
    totals: Totals,
    output: &'a mut W,
    result: io::Result<()>,
}

impl<W: Write> Summary<'_, W> {
    /// Adds a seed, and writes its timeline if there is one, and why it failed.
    fn add(&mut self, outcome: &Outcome, options: &Options) {
        self.totals.add(outcome);
        let failure = failure_line(outcome, options).unwrap_or_default();
        let written = self.output.write_all(outcome.lines.as_bytes());
        let written = written.and_then(|()| self.output.write_all(failure.as_bytes()));
        if self.result.is_ok() {
            self.result = written.and_then(|()| self.output.flush());
        }
    }
}
