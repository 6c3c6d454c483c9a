//! Figures as lines and as JSON.

use std::{fs, io::Write as _, path::PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

/// The figures of one run.
#[derive(Default)]
pub struct Figures(Vec<Value>);

impl Figures {
    /// Notes a figure, and prints its line. `goal` is what it should not pass, where there is one.
    pub fn note(&mut self, name: &str, value: f64, unit: &str, goal: Option<f64>) -> anyhow::Result<()> {
        let aim = goal.map_or(String::new(), |goal| {
            format!("  (at most {goal}: {})", if value <= goal { "kept" } else { "MISSED" })
        });
        writeln!(std::io::stdout(), "{name:<58} {value:>10.2} {unit}{aim}")?;
        self.0.push(json!({ "name": name, "value": value, "unit": unit, "goal": goal }));
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

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
