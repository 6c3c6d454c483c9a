//! Measured figures, printed as lines and saved as JSON.

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

/// Target of a figure.
#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn description(self) -> String {
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
    /// Records a figure and prints its line.
    pub fn record(&mut self, name: &str, value: f64, unit: &str, goal: Option<Goal>) -> anyhow::Result<()> {
        let met = goal.map(|goal| goal.is_met(value));
        let suffix = goal.zip(met).map_or(String::new(), |(goal, met)| {
            format!("  ({}: {})", goal.description(), if met { "kept" } else { "MISSED" })
        });
        writeln!(std::io::stdout(), "{name:<66} {value:>10.2} {unit}{suffix}")?;
        let goal = goal.map(Goal::description);
        self.0.push(json!({ "name": name, "value": value, "unit": unit, "goal": goal, "kept": met }));
        Ok(())
    }

    /// Writes all figures to `target/bench/figures.json`.
    pub fn save(&self) -> anyhow::Result<()> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let folder = target.join("bench");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let report = json!({ "cores": cores, "figures": self.0 });
        fs::write(folder.join("figures.json"), serde_json::to_vec_pretty(&report)?)?;
        Ok(())
    }
}

/// Prints a line that is not a figure.
pub fn print_line(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// The median; of an even number of values the upper of the two middle ones.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
