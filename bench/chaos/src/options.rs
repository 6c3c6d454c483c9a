//! Command line arguments: `name=value`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{clips, fault::Fault};

/// What `help` prints.
pub const USAGE: &str = "\
usage: make chaos ARGS=\"[list|serve|help] [SETTING=VALUE ...]\"
       make soak ARGS=\"[hours=N|minutes=N]\"

  list           prints the names of all faults
  serve          starts the system without faults, until Ctrl-C
  help           prints this

  seed=N         decides what is hit by which fault and when, and which clip is uploaded when (1)
  jobs=N         videos to upload (60)
  faults=N       faults to inject (35)
  seconds=N      time in which faults begin and videos are uploaded (7 per fault)
  after=N        time before the first fault, in which videos are uploaded already, seconds (0)
  longest=N      longest fault, seconds (20)
  exactly=N      duration of each fault, seconds (random)
  settle=N       time after the last fault in which all videos must have ended, seconds (240)
  only=NAMES     the only faults: exact names, separated by commas (all)
  without=NAMES  faults that are left out: exact names, separated by commas (none)
  clips=NAMES    the only clips: exact names, separated by commas (all)
  hours=N        length of a soak (2)
  minutes=N      the same in minutes";

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
    /// Print the usage.
    Help,
    /// Print the names of the faults.
    List,
    /// Start the system without faults, and run it until a signal.
    Serve,
    /// Upload, watch, delete and restart for hours, and measure what grows.
    Soak,
}

/// Mean time between two faults, unless `seconds` is set.
const FAULT_INTERVAL: Duration = Duration::from_secs(7);

impl Default for Options {
    fn default() -> Self {
        Self {
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
        }
    }
}

impl Options {
    /// Parses arguments such as `seed=1 jobs=200 faults=100 without=clock-ahead-auth,clock-behind-auth`. Names are exact.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        for arg in args {
            options.args.push_str(if options.args.is_empty() { "" } else { " " });
            options.args.push_str(&arg);
            options.set(&arg)?;
            if options.command == Command::Help {
                return Ok(options);
            }
        }
        options.check()?;
        if options.period.is_zero() {
            options.period = FAULT_INTERVAL * u32::try_from(options.faults.max(1))?;
        }
        Ok(options)
    }

    /// Sets what one argument says.
    fn set(&mut self, arg: &str) -> Result<()> {
        let Some((name, value)) = arg.split_once('=') else {
            self.command = match arg {
                "list" => Command::List,
                "serve" => Command::Serve,
                "soak" => Command::Soak,
                "help" | "--help" | "-h" => Command::Help,
                _ => bail!("{arg}: unknown argument\n\n{USAGE}"),
            };
            return Ok(());
        };
        let number = || value.parse::<u64>().with_context(|| format!("{arg}: not a number"));
        let seconds = || number().map(Duration::from_secs);
        let names = || -> Result<Vec<String>> {
            ensure!(!value.is_empty(), "{arg}: the names are missing");
            Ok(value.split(',').map(str::to_owned).collect())
        };
        match name {
            "seed" => self.seed = number()?,
            "jobs" => self.jobs = usize::try_from(number()?)?,
            "faults" => self.faults = usize::try_from(number()?)?,
            "seconds" => self.period = seconds()?,
            "longest" => self.longest = seconds()?,
            "settle" => self.settle = seconds()?,
            "after" => self.after = seconds()?,
            "exactly" => self.exactly = Some(seconds()?),
            "hours" => self.soak = Duration::from_secs(number()?.saturating_mul(3600)),
            "minutes" => self.soak = Duration::from_secs(number()?.saturating_mul(60)),
            "clips" => self.clips = names()?,
            "only" => self.only = names()?,
            "without" => self.without = names()?,
            _ => bail!("{arg}: unknown setting\n\n{USAGE}"),
        }
        Ok(())
    }

    /// Refuses values that would make a run fail, or test nothing.
    fn check(&self) -> Result<()> {
        let faults: Vec<String> = Fault::all().into_iter().map(Fault::name).collect();
        check_names("only", &self.only, &faults)?;
        check_names("without", &self.without, &faults)?;
        if !self.clips.is_empty() {
            check_names("clips", &self.clips, &clips::names(self.seed)?)?;
        }
        ensure!(self.jobs > 0, "jobs: must be at least 1");
        ensure!(self.longest >= Duration::from_secs(2), "longest: must be at least 2");
        let is_any_wanted = faults.iter().any(|name| self.wants(name));
        ensure!(is_any_wanted || self.faults == 0, "only= and without= leave no fault; faults=0 is without");
        Ok(())
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

    /// The command that repeats the run. `media` is the value of `REELMILL_MEDIA`, which adds clips.
    pub fn replay(&self, media: Option<&str>) -> String {
        let media = media.map(|folder| format!("REELMILL_MEDIA=\"{folder}\" ")).unwrap_or_default();
        let (target, args) = match self.args.strip_prefix("soak") {
            Some(args) => ("soak", args.trim_start()),
            None => ("chaos", self.args.as_str()),
        };
        let args = if args.is_empty() { String::new() } else { format!(" ARGS=\"{args}\"") };
        format!("{media}make {target}{args}")
    }
}

/// Fails if a name is not known.
fn check_names(setting: &str, names: &[String], known: &[String]) -> Result<()> {
    match names.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => bail!("{setting}={name}: unknown name; allowed are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
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
        let error = parse(&["sed=7"]).unwrap_err().to_string();
        assert!(error.starts_with("sed=7: unknown setting") && error.contains("settle=N"), "{error}");
    }

    #[test]
    fn parse_of_unknown_names_fails_and_lists_the_known_ones() {
        for (arg, known) in [
            ("only=kill-wroker", "kill-worker"),
            ("without=clock-ahead", "clock-ahead-auth"),
            ("clips=x", "short"),
        ] {
            let error = parse(&[arg]).unwrap_err().to_string();
            assert!(error.starts_with(arg) && error.contains(known), "{error}");
        }
        assert!(parse(&["only="]).is_err() && parse(&["clips=long,"]).is_err());
    }

    #[test]
    fn parse_that_leaves_no_fault_fails() {
        assert!(parse(&["only=kill-auth", "without=kill-auth"]).is_err());
        assert!(parse(&["only=kill-auth", "without=kill-auth", "faults=0"]).is_ok());
    }

    #[test]
    fn parse_of_help_ignores_what_follows() {
        for help in ["help", "--help"] {
            assert_eq!(parse(&[help, "sed=7"]).unwrap().command, Command::Help);
        }
    }

    #[test]
    fn replay_is_a_command_of_make() {
        assert_eq!(parse(&[]).unwrap().replay(None), "make chaos");
        assert_eq!(parse(&["seed=7"]).unwrap().replay(None), "make chaos ARGS=\"seed=7\"");
        assert_eq!(parse(&["soak"]).unwrap().replay(None), "make soak");
        let soak = parse(&["soak", "minutes=9"]).unwrap().replay(Some("/media"));
        assert_eq!(soak, "REELMILL_MEDIA=\"/media\" make soak ARGS=\"minutes=9\"");
    }
}
