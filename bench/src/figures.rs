//! Figures as lines and as JSON.

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Goal {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Goal {
    fn is_kept(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {limit}"),
            Self::AtLeast(limit) => format!("at least {limit}"),
        }
    }
}

/// The figures of one run.
#[derive(Default)]
pub struct Figures(Vec<Value>);

impl Figures {
    /// Notes a figure, and prints its line. `goal` is what it should be, where there is one.
    pub fn note(&mut self, name: &str, value: f64, unit: &str, goal: Option<Goal>) -> anyhow::Result<()> {
        let kept = goal.map(|goal| goal.is_kept(value));
        let aim = goal.zip(kept).map_or(String::new(), |(goal, kept)| {
            format!("  ({}: {})", goal.words(), if kept { "kept" } else { "MISSED" })
        });
        writeln!(std::io::stdout(), "{name:<66} {value:>10.2} {unit}{aim}")?;
        let goal = goal.map(Goal::words);
        self.0.push(json!({ "name": name, "value": value, "unit": unit, "goal": goal, "kept": kept }));
        Ok(())
    }

    /// Writes all of them to `target/bench/figures.json`.
    pub fn save(&self) -> anyhow::Result<()> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let folder = target.join("bench");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let all = json!({ "cores": cores, "figures": self.0 });
        fs::write(folder.join("figures.json"), serde_json::to_vec_pretty(&all)?)?;
        Ok(())
    }
}

/// A line that is no figure: what is skipped, a command.
pub fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// The middle one; of an even number the upper of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
