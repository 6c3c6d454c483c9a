//! `make chaos` injects faults into a running system and counts what they cost; `make soak` uses one for hours.
//! docs/RELIABILITY.md describes both.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its result")]

mod audit;
mod client;
mod clips;
mod cluster;
mod fault;
mod gate;
mod options;
mod outputs;
mod report;
mod roles;
mod schedule;
mod servers;
mod soak;
mod sqs_proxy;
mod suite;
mod timeline;
mod usage;

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;

use crate::{
    cluster::Cluster,
    fault::Fault,
    options::{Command, Options},
    report::Report,
    suite::Suite,
    timeline::Timeline,
};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What a run found.
enum Outcome {
    Chaos(Report),
    /// Whether nothing has grown.
    Soak(bool),
}

/// Returns whether nothing was wrong.
async fn run() -> Result<bool> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.command == Command::List {
        for fault in Fault::all() {
            println!("{}", fault.name());
        }
        return Ok(true);
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::Builder::new().prefix("reelmill-chaos-").tempdir()?;
    let timeline = Timeline::new();
    let report = {
        let mut clips = clips::make(folder.path(), options.seed).await?;
        clips.retain(|clip| options.clips.is_empty() || options.clips.contains(&clip.name));
        ensure!(!clips.is_empty(), "clips: there are none of these names");
        timeline.add(format!("seed {}: starting", options.seed));
        let cluster = Cluster::start(folder.path()).await?;
        timeline.add("the system is up");
        let run = async {
            match options.command {
                Command::Serve => {
                    let (url, logs) = (cluster.url(), folder.path().display());
                    timeline.add(format!("gateway at {url}, logs in {logs}; Ctrl-C ends it"));
                    std::future::pending().await
                }
                Command::Soak => {
                    let is_clean = soak::run(&options, &cluster, &clips, folder.path(), &timeline).await?;
                    Ok(Outcome::Soak(is_clean))
                }
                Command::Run | Command::List => {
                    let suite = Suite {
                        options: &options,
                        cluster: &cluster,
                        clips: &clips,
                        folder: folder.path(),
                        timeline: &timeline,
                        http: reqwest::Client::new(),
                    };
                    Ok(Outcome::Chaos(suite.run().await?))
                }
            }
        };
        let outcome = tokio::select! {
            outcome = run => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        };
        // Also after an error: a file system is mounted.
        cluster.stop().await?;
        match outcome? {
            Outcome::Soak(is_clean) => return Ok(is_clean),
            Outcome::Chaos(report) => report,
        }
    };
    finish(&options, &timeline, &report, folder.path())
}

/// Prints and writes the report.
fn finish(options: &Options, timeline: &Timeline, report: &Report, logs: &Path) -> Result<bool> {
    // Beside the binary: `target/release/reelmill-chaos`.
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("a target folder")?;
    let results = target.join("chaos");
    std::fs::create_dir_all(&results)?;
    let result = json!({
        "seed": options.seed,
        "result": report.json(),
        "timeline": timeline.json(),
    });
    let file = results.join(format!("seed-{}.json", options.seed));
    std::fs::write(&file, serde_json::to_string_pretty(&result)?)?;
    for (name, list) in report.wrong() {
        for detail in list {
            println!("{name}: {detail}");
        }
    }
    if !report.is_clean() {
        for entry in std::fs::read_dir(logs)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "log") {
                let name = path.file_name().context("a file")?;
                std::fs::copy(&path, results.join(name))?;
            }
        }
        println!("the logs of all processes are in {}", results.display());
        println!("replay: make chaos ARGS=\"{}\"", options.args);
    }
    println!("{}", report.line());
    Ok(report.is_clean())
}
