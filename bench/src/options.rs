//! Command line arguments: groups, and `name=value` settings.

use anyhow::{Context as _, bail, ensure};

/// The groups, and whether they run by default.
const GROUPS: [(&str, bool); 12] = [
    ("memory", true),
    ("calls", true),
    ("job", true),
    ("encode", true),
    ("playable", true),
    // Takes some minutes.
    ("busy", false),
    ("start", false),
    // Takes some minutes: it fills a database with a million jobs.
    ("dispatch", false),
    // Takes some minutes: a video of 12 hours.
    ("long", false),
    // Takes a minute.
    ("watchers", false),
    // Takes some minutes.
    ("media", false),
    // Takes about twenty minutes, and needs root.
    ("workers", false),
];

/// Which groups to measure, and how.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    groups: Vec<String>,
    runs: Option<usize>,
    /// Length of the clips. Each group has its own default.
    pub seconds: Option<u32>,
    /// Restricts `encode` to clips whose names contain this.
    pub clips: Option<String>,
    /// Whether to print ffmpeg commands.
    pub verbose: bool,
}

impl Options {
    /// Parses arguments such as `encode runs=1 seconds=5 clips=pan --verbose`.
    pub fn parse(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        for arg in args {
            match arg.split_once('=') {
                Some(("runs", value)) => options.runs = Some(number(&arg, value)? as usize),
                Some(("seconds", value)) => options.seconds = Some(number(&arg, value)?),
                Some(("clips", value)) => options.clips = Some(value.to_owned()),
                Some(_) => bail!("{arg}: unknown setting; use runs=N, seconds=N or clips=TEXT"),
                None if arg == "--verbose" => options.verbose = true,
                None => {
                    let known = GROUPS.map(|(name, _)| name);
                    ensure!(known.contains(&arg.as_str()), "{arg}: unknown group; use {}", known.join(", "));
                    options.groups.push(arg);
                }
            }
        }
        Ok(options)
    }

    /// Whether a group is to be measured.
    pub fn wants(&self, group: &str) -> bool {
        if self.groups.is_empty() {
            return GROUPS.contains(&(group, true));
        }
        self.groups.iter().any(|wanted| wanted == group)
    }

    /// Number of runs.
    pub fn runs(&self, default: usize) -> usize {
        self.runs.unwrap_or(default)
    }
}

fn number(arg: &str, value: &str) -> anyhow::Result<u32> {
    let number: u32 = value.parse().with_context(|| format!("{arg}: not a number"))?;
    ensure!(number > 0, "{arg}: must be at least 1");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> anyhow::Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn parse_selects_groups_and_rejects_unknown_arguments() {
        let all = parse("").expect("defaults");
        assert!(all.wants("encode") && all.wants("calls") && !all.wants("workers") && all.runs(3) == 3);
        let one = parse("workers runs=2 seconds=5 clips=pan --verbose").expect("valid");
        assert!(one.wants("workers") && !one.wants("encode") && one.verbose);
        assert_eq!((one.runs(3), one.seconds, one.clips.as_deref()), (2, Some(5), Some("pan")));
        for wrong in ["all", "runs=0", "runs=x", "speed=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
