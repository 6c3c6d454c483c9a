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
    /// Time before the first fault, in which videos are uploaded already.
    pub after: Duration,
    /// Longest fault.
    pub longest: Duration,
    /// Duration of each fault; none for random ones.
    pub exactly: Option<Duration>,
    /// Time after the last fault in which everything must have ended.
    pub settle: Duration,
    /// Names of the only faults; empty for all.
    pub only: Vec<String>,
    /// Names of faults that are left out.
    pub without: Vec<String>,
    /// Names of the only clips; empty for all.
    pub clips: Vec<String>,
    /// Length of a soak.
    pub soak: Duration,
    /// What to do.
    pub command: Command,
    /// All arguments, to repeat the run.
    pub args: String,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Inject faults.
    Run,
    /// Print the names of the faults.
    List,
    /// Start the system without faults, and run it until Ctrl-C.
    Serve,
    /// Upload, watch, delete and restart for hours, and measure what grows.
    Soak,
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
            after: Duration::ZERO,
            longest: Duration::from_secs(20),
            exactly: None,
            settle: Duration::from_secs(240),
            only: Vec::new(),
            without: Vec::new(),
            clips: Vec::new(),
            soak: Duration::from_secs(2 * 3600),
            command: Command::Run,
            args: String::new(),
        };
        for arg in args {
            options.args.push_str(if options.args.is_empty() { "" } else { " " });
            options.args.push_str(&arg);
            let Some((name, value)) = arg.split_once('=') else {
                options.command = match arg.as_str() {
                    "list" => Command::List,
                    "serve" => Command::Serve,
                    "soak" => Command::Soak,
                    _ => bail!(
                        "{arg}: unknown; use list, serve, soak hours=N, or seed=N jobs=N faults=N seconds=N after=N longest=N \
                         exactly=N settle=N only=NAMES without=NAMES clips=NAMES"
                    ),
                };
                continue;
            };
            let seconds =
                || value.parse().map(Duration::from_secs).with_context(|| format!("{arg}: not a number"));
            let number = || value.parse::<u64>().with_context(|| format!("{arg}: not a number"));
            let names = || value.split(',').map(str::to_owned).collect();
            match name {
                "seed" => options.seed = number()?,
                "jobs" => options.jobs = usize::try_from(number()?)?,
                "faults" => options.faults = usize::try_from(number()?)?,
                "seconds" => options.period = seconds()?,
                "longest" => options.longest = seconds()?,
                "settle" => options.settle = seconds()?,
                "after" => options.after = seconds()?,
                "exactly" => options.exactly = Some(seconds()?),
                "hours" => options.soak = seconds()? * 3600,
                "minutes" => options.soak = seconds()? * 60,
                "clips" => options.clips = names(),
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

    /// Longest time from the start to the end of the last fault.
    pub fn end_of_faults(&self) -> Duration {
        self.after + self.period + self.exactly.unwrap_or(self.longest)
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
