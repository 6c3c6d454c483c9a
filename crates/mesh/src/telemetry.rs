//! Logging to stderr, one line per event.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt};

/// Format of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text, coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Starts logging for the whole process. `filter` is a `tracing` filter, as `info,reelmill_worker=debug`. A second call
/// has no effect.
pub fn init(filter: &str, format: LogFormat) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // Fails if logging is started already, as in a test process that runs several systems.
    drop(started);
    Ok(())
}
