//! The first look at a source: its first bytes, then ffprobe through the proxy.

use super::process::{self, Ended, Limits};
use super::source::SourceReader;
use super::steady::is_steady;
use super::{Engine, Session, crashed, unreadable, verdict};
use reelmill_media::probe::{Source, VideoRange, parse, parse_hdr_metadata};
use reelmill_media::sniff::{SNIFF_BYTES, sniff};
use reelmill_media::{Failure, FailureKind, command};
use std::path::Path;
use std::pin::pin;
use tokio::io::AsyncReadExt;

/// The largest description that is read.
const MAX_JSON_BYTES: u64 = 4 * 1024 * 1024;
/// Containers that have a clock instead of an index.
const CLOCKED: [&str; 2] = ["mpegts", "mpeg"];
/// ffprobe's descriptor for its answer.
const STDOUT: i32 = 1;

/// Looks at the source of a session.
pub(super) async fn inspect(engine: &Engine, session: &Session, scratch: &Path) -> Result<Source, Failure> {
    let reader = &session.reader;
    let mut head = reader.read(0).await.map_err(|error| unreadable(&error))?;
    head.truncate(SNIFF_BYTES);
    let kind = sniff(&head)?;
    // Pinned, so that it is not yet dropped when it is asked what it waits for.
    let mut probing = pin!(run(engine, session, scratch));
    let Ok(probed) = tokio::time::timeout(engine.bounds.probe, probing.as_mut()).await else {
        let late = session.activity.is_waiting().then(SourceReader::late);
        return Err(reader.fault().or(late).map_or_else(
            || Failure::new(FailureKind::LimitExceeded, "The file's description takes too long to read."),
            |error| unreadable(&error),
        ));
    };
    let (ended, json) = probed?;
    if let Some(error) = reader.fault() {
        return Err(unreadable(&error));
    }
    if !ended.status.success() {
        return Err(verdict::probe(&ended, kind));
    }
    let mut source = parse(&json)?;
    if let Some(video) = source.video.as_mut().filter(|video| video.range == VideoRange::Pq) {
        let args = command::hdr_metadata(session.proxy.address(), video.index);
        let told = try_ask(engine, session, &args, scratch).await;
        video.hdr_metadata = told.map(|json| parse_hdr_metadata(&json)).unwrap_or_default();
    }
    if CLOCKED.contains(&source.container.as_str())
        && !is_steady(reader).await.map_err(|error| unreadable(&error))?
    {
        // The container knows its length only as the difference of two times.
        source.clear_duration();
    }
    Ok(source)
}

/// What ffprobe says of something that can be done without.
async fn try_ask(engine: &Engine, session: &Session, args: &[String], scratch: &Path) -> Option<Vec<u8>> {
    let limit = engine.bounds.probe;
    let answer = ask(engine, session, args, limit.as_secs(), MAX_JSON_BYTES, scratch);
    tokio::time::timeout(limit, answer).await.ok().and_then(Result::ok).map(|(_, said)| said)
}

async fn run(engine: &Engine, session: &Session, scratch: &Path) -> Result<(Ended, Vec<u8>), Failure> {
    let args = command::probe(session.proxy.address());
    ask(engine, session, &args, engine.bounds.probe.as_secs(), MAX_JSON_BYTES, scratch).await
}

/// Asks ffprobe of a session's source; reads at most so many bytes of what it says.
pub(super) async fn ask(
    engine: &Engine,
    session: &Session,
    args: &[String],
    cpu_seconds: u64,
    max_bytes: u64,
    scratch: &Path,
) -> Result<(Ended, Vec<u8>), Failure> {
    let limits = Limits { cpu_seconds, memory_bytes: 4 << 30, file_bytes: 0 };
    let jailed = engine.jail.for_source(scratch, session.proxy.port(), limits);
    let started = process::start(&jailed, &engine.ffprobe, args, STDOUT, 1);
    let (process, pipes) = started.map_err(|error| crashed(&error))?;
    let mut said = Vec::new();
    for pipe in pipes {
        pipe.take(max_bytes).read_to_end(&mut said).await.map_err(|error| crashed(&error))?;
    }
    let ended = process.ended().await.map_err(|error| crashed(&error))?;
    Ok((ended, said))
}
