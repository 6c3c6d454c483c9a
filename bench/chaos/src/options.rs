//! Command line arguments: `name=value`.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

/// What to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Seed of the schedule: which fault when, and which upload when.
    pub seed: u64,
    /// Videos to upload.
    pub jobs: usize,
    /// Faults to inject.
    pub faults: usize,
    /// Time in which they are injected.
    pub period: Duration,
    /// Longest fault.
    pub longest: Duration,
    /// Time after the last fault in which everything must have ended.
    pub settle: Duration,
    /// Names of the only faults; empty for all.
    pub only: Vec<String>,
    /// Names of faults that are left out.
    pub without: Vec<String>,
    /// Whether to print the names of the faults and end.
    pub lists: bool,
}

/// Mean time between two faults, unless `seconds` is set.
const FAULT_INTERVAL: Duration = Duration::from_secs(7);

impl Options {
    /// Parses arguments such as `seed=1 jobs=200 faults=100 without=clock-ahead,clock-behind`.
    pub fn parse(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            seed: 1,
            jobs: 60,
            faults: 35,
            period: Duration::ZERO,
            longest: Duration::from_secs(20),
            settle: Duration::from_secs(240),
            only: Vec::new(),
            without: Vec::new(),
            lists: false,
        };
        for arg in args {
            let Some((name, value)) = arg.split_once('=') else {
                ensure!(
                    arg == "list",
                    "{arg}: unknown; use seed=N jobs=N faults=N seconds=N longest=N \
                                        settle=N only=NAMES without=NAMES, or list"
                );
                options.lists = true;
                continue;
            };
            let number = || value.parse::<u64>().with_context(|| format!("{arg}: not a number"));
            let names = || value.split(',').map(str::to_owned).collect();
            match name {
                "seed" => options.seed = number()?,
                "jobs" => options.jobs = usize::try_from(number()?)?,
                "faults" => options.faults = usize::try_from(number()?)?,
                "seconds" => options.period = Duration::from_secs(number()?),
                "longest" => options.longest = Duration::from_secs(number()?),
                "settle" => options.settle = Duration::from_secs(number()?),
                "only" => options.only = names(),
                "without" => options.without = names(),
                _ => bail!("{arg}: unknown setting"),
            }
        }
        ensure!(options.jobs > 0, "jobs: must be at least 1");
        ensure!(options.longest >= Duration::from_secs(2), "longest: must be at least 2");
        if options.period.is_zero() {
            options.period = FAULT_INTERVAL * u32::try_from(options.faults.max(1))?;
        }
        Ok(options)
    }

    /// Whether a fault is to be injected.
    pub fn wants(&self, fault: &str) -> bool {
        let names = |list: &[String]| list.iter().any(|name| name == fault);
        (self.only.is_empty() || names(&self.only)) && !names(&self.without)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Options> {
        Options::parse(args.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn parse_names_faults_and_derives_the_period() {
        let options = parse(&["seed=7", "jobs=3", "faults=10", "only=kill-worker,objects-403"]).unwrap();
        assert_eq!((options.seed, options.jobs, options.period), (7, 3, Duration::from_secs(70)));
        assert!(options.wants("kill-worker") && !options.wants("kill-auth"));
        assert!(!parse(&["without=kill-auth"]).unwrap().wants("kill-auth"));
    }

    #[test]
    fn parse_of_unknown_arguments_fails() {
        for args in [["sed=7"], ["seed=x"], ["fast"], ["jobs=0"]] {
            assert!(parse(&args).is_err(), "{args:?}");
        }
    }
}
