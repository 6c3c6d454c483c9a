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
mod results;
mod roles;
mod schedule;
mod servers;
mod signals;
mod small_disk;
mod soak;
mod sqs_proxy;
mod suite;
mod timeline;
mod usage;

use std::{path::Path, process::ExitCode};

use anyhow::{Result, bail};
use serde_json::json;

use crate::{
    clips::Clip,
    cluster::Cluster,
    fault::Fault,
    options::{Command, Options, USAGE},
    report::Outcome,
    results::Results,
    servers::Servers,
    signals::Signals,
    suite::Suite,
    timeline::Timeline,
};

/// Exit code of a run that has no result: invalid arguments, an error of the suite, or a signal.
const NO_RESULT: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::from(NO_RESULT)
        }
    }
}

/// Returns whether nothing was wrong.
async fn run() -> Result<bool> {
    let options = Options::parse(std::env::args().skip(1))?;
    match options.command {
        Command::Help => {
            println!("{USAGE}");
            return Ok(true);
        }
        Command::List => {
            for fault in Fault::all() {
                println!("{}", fault.name());
            }
            return Ok(true);
        }
        Command::Run | Command::Serve | Command::Soak => {}
    }
    // Before there is anything that a signal would leave behind.
    let mut signals = Signals::register()?;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let results = Results::clear(&options)?;
    let folder = tempfile::Builder::new().prefix("reelmill-chaos-").tempdir()?;
    let timeline = Timeline::new();
    let executed = execute(&options, folder.path(), &timeline, &mut signals).await;
    let Some(outcome) = executed.transpose() else { return Ok(true) };
    finish(&options, &results, &timeline, outcome, folder.path())
}

/// Starts the system, uses it and stops it. None if there is nothing to report: a signal is the normal end of `serve`.
async fn execute(
    options: &Options,
    folder: &Path,
    timeline: &Timeline,
    signals: &mut Signals,
) -> Result<Option<Outcome>> {
    let making = clips::make(folder, options.seed, &options.clips);
    let Some(clips) = signals.unless_received(making).await else { return interrupted(options) };
    let clips = clips?;
    timeline.add(format!("seed {}: starting", options.seed));
    // A signal waits for this: servers that are dropped while they start leave their folders.
    let servers = Servers::start().await?;
    let cluster = Cluster::prepare(folder, servers).await?;
    let outcome = signals.unless_received(use_system(options, &cluster, &clips, folder, timeline)).await;
    if let Err(error) = cluster.stop().await {
        timeline.add(format!("not all processes were stopped: {error:#}"));
    }
    match outcome {
        Some(outcome) => outcome.map(Some),
        None => interrupted(options),
    }
}

/// What a run ends with that a signal has ended.
fn interrupted(options: &Options) -> Result<Option<Outcome>> {
    if options.command == Command::Serve {
        return Ok(None);
    }
    bail!("interrupted by a signal")
}

/// Does what was asked for.
async fn use_system(
    options: &Options,
    cluster: &Cluster,
    clips: &[Clip],
    folder: &Path,
    timeline: &Timeline,
) -> Result<Outcome> {
    cluster.start().await?;
    timeline.add("the system is up");
    match options.command {
        Command::Serve => {
            let (url, logs) = (cluster.url(), folder.display());
            timeline.add(format!("gateway at {url}, logs in {logs}; Ctrl-C ends it"));
            std::future::pending().await
        }
        Command::Soak => soak::run(options, cluster, clips, folder, timeline).await,
        Command::Run | Command::List | Command::Help => {
            let suite = Suite { options, cluster, clips, folder, timeline, http: reqwest::Client::new() };
            Ok(suite.run().await?.outcome())
        }
    }
}

/// Writes and prints what a run found, or why it found nothing. Returns whether nothing was wrong.
fn finish(
    options: &Options,
    results: &Results,
    timeline: &Timeline,
    outcome: Result<Outcome>,
    logs: &Path,
) -> Result<bool> {
    let replay = options.replay(std::env::var("REELMILL_MEDIA").ok().as_deref());
    let mut json = json!({
        "arguments": options.args,
        "seed": options.seed,
        "replay": replay,
        "timeline": timeline.json(),
    });
    match &outcome {
        Ok(outcome) => json["result"] = outcome.result.clone(),
        Err(error) => json["error"] = format!("{error:#}").into(),
    }
    let path = results.write(&json)?;
    for detail in outcome.iter().flat_map(|outcome| &outcome.details) {
        println!("{detail}");
    }
    if !outcome.as_ref().is_ok_and(|outcome| outcome.is_clean) {
        if results.keep_logs(logs)? > 0 {
            println!("the logs of all processes are in {}", results.folder.display());
        }
        println!("replay: {replay}");
    }
    println!("result: {}", path.display());
    let outcome = outcome?;
    println!("{}", outcome.summary);
    Ok(outcome.is_clean)
}
