//! What a person asks for: groups, and `name=value` settings.

use anyhow::{Context as _, bail, ensure};

/// The groups, and whether a run without names takes them in.
const GROUPS: [(&str, bool); 6] = [
    ("memory", true),
    ("calls", true),
    ("job", true),
    ("encode", true),
    ("playable", true),
    // Hours on a quarter of a core, and root.
    ("workers", false),
];

/// What to measure, and how much of it.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    groups: Vec<String>,
    runs: Option<usize>,
    /// Seconds of the clips; each group has a length of its own.
    pub seconds: Option<u32>,
    /// Only clips whose names contain it.
    pub clips: Option<String>,
    /// Whether commands are printed.
    pub verbose: bool,
}

impl Options {
    /// Reads `encode runs=1 seconds=5 clips=pan --verbose`.
    pub fn parse(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self::default();
        for arg in args {
            match arg.split_once('=') {
                Some(("runs", value)) => options.runs = Some(number(&arg, value)? as usize),
                Some(("seconds", value)) => options.seconds = Some(number(&arg, value)?),
                Some(("clips", value)) => options.clips = Some(value.to_owned()),
                Some(_) => bail!("{arg}: the settings are runs=N, seconds=N and clips=TEXT"),
                None if arg == "--verbose" => options.verbose = true,
                None => {
                    let known = GROUPS.map(|(name, _)| name);
                    ensure!(known.contains(&arg.as_str()), "{arg}: the groups are {}", known.join(", "));
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

    /// How often, unless told otherwise: that often.
    pub fn runs(&self, usual: usize) -> usize {
        self.runs.unwrap_or(usual)
    }
}

fn number(arg: &str, value: &str) -> anyhow::Result<u32> {
    let number: u32 = value.parse().with_context(|| format!("{arg}: not a number"))?;
    ensure!(number > 0, "{arg}: at least 1");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parse(line: &str) -> anyhow::Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_asked_for_is_measured() {
        let all = parse("").expect("nothing");
        assert!(all.wants("encode") && all.wants("calls") && !all.wants("workers") && all.runs(3) == 3);
        let one = parse("workers runs=2 seconds=5 clips=pan --verbose").expect("good");
        assert!(one.wants("workers") && !one.wants("encode") && one.verbose);
        assert_eq!((one.runs(3), one.seconds, one.clips.as_deref()), (2, Some(5), Some("pan")));
        for wrong in ["all", "runs=0", "runs=x", "speed=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
