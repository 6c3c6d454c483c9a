//! Inspects a source: sniffs its first bytes, runs ffprobe, and checks the clock of MPEG-TS and MPEG-PS files.

use std::{pin::pin, time::Duration};

use reelmill_media::{
    Failure, FailureKind,
    captions::{self, Captions},
    clock::Jump,
    command::{self, ProbeDepth},
    probe::{Source, VideoRange, needs_deeper_probe, parse, parse_hdr_metadata},
    rate::{busiest_rate, output_rate},
    seek::picture_end,
    sniff::{SNIFF_BYTES, sniff},
    tail::packet_ends,
};
use tokio::time::timeout;

use crate::engine::{
    exit_status,
    failure::source_unreadable,
    probe::{clock_continuity::find_jump, prober::Prober, tail},
    process::child::ProcessExit,
    source::{fetch::SourceError, reader::SourceReader},
};

/// Longest ffprobe output that is read.
const MAX_JSON_BYTES: u64 = 4 * 1024 * 1024;
/// Wall time limit of ffprobe, relative to its CPU time limit.
const PROBE_WALL_FACTOR: u32 = 4;
/// Seconds before the stated end of the picture, and after that of the file, in which its last frame is looked for.
const END_SEARCH_SECONDS: f64 = 10.0;
/// Assumed length of the last packet of a file of which a part is missing.
const ASSUMED_PACKET_SECONDS: f64 = 0.04;
/// Precision with which the end of a file is found of which a part is missing, seconds.
const CUT_OFF_SEARCH_SECONDS: f64 = 4.0;
/// Containers that state no ends of tracks, and in which a time near the end is found without reading what is before it.
const SOUGHT_BY_TIME: [&str; 4] = ["mpegts", "mpeg", "asf", "ogg"];
/// Containers with a clock instead of an index, as ffprobe names them.
const CLOCK_BASED_CONTAINERS: [&str; 2] = ["mpegts", "mpeg"];

/// Inspects the source, with `probe_timeout` for each run of ffprobe; of a broadcast, the requested programme.
pub(crate) async fn inspect(
    prober: &Prober<'_>,
    program: Option<u32>,
    probe_timeout: Duration,
) -> Result<Source, Failure> {
    let reader = prober.session.reader();
    let head = reader.read(0).await.map_err(|error| source_unreadable(&error))?;
    let kind = sniff(&head[..head.len().min(SNIFF_BYTES)])?;
    let (exit, mut json) = probe(prober, ProbeDepth::Usual, probe_timeout).await?;
    if let Some(error) = reader.first_error() {
        return Err(source_unreadable(&error));
    }
    if !exit.status.success() {
        return Err(exit_status::classify_probe(&exit, kind));
    }
    if needs_deeper_probe(&json) {
        let (exit, deeper) = probe(prober, ProbeDepth::Deep, probe_timeout).await?;
        if let Some(error) = reader.first_error() {
            return Err(source_unreadable(&error));
        }
        if exit.status.success() {
            json = deeper;
        }
    }
    let mut source = parse(&json, program)?;
    source.read_matroska_geometry(&head);
    if let Some(video) = source.video.as_mut().filter(|video| video.range == VideoRange::Pq) {
        let args = command::hdr_metadata(prober.session.uri(), video.index);
        let json = probe_optional(prober, &args, probe_timeout).await;
        video.hdr_metadata = json.map(|json| parse_hdr_metadata(&json)).unwrap_or_default();
    }
    if CLOCK_BASED_CONTAINERS.contains(&source.container.as_str())
        && let Some(jump) = find_jump(reader).await.map_err(|error| source_unreadable(&error))?
    {
        // ffprobe computes the duration of such a container as the difference of two timestamps.
        source.clear_duration();
        source.has_clock_gap = jump == Jump::Ahead;
    }
    tail::measure(reader, &head, &mut source).await.map_err(|error| source_unreadable(&error))?;
    refine(prober, &mut source, probe_timeout).await;
    source.has_captions = has_captions(reader, &head).await.map_err(|error| source_unreadable(&error))?;
    Ok(source)
}

/// Looks for captions inside the picture at the start of a file; if there is an empty place for them, in its middle, too.
async fn has_captions(reader: &SourceReader, head: &[u8]) -> Result<bool, SourceError> {
    Ok(match captions::find(head) {
        Captions::None => false,
        Captions::Present => true,
        Captions::Empty => captions::find(&reader.read(reader.size() / 2).await?) == Captions::Present,
    })
}

/// Looks for what the description of an ordinary file says reliably: where the file ends, the rate of a picture without a
/// constant one, and the end of a picture that is shorter than other tracks.
async fn refine(prober: &Prober<'_>, source: &mut Source, probe_timeout: Duration) {
    let uri = prober.session.uri();
    let list = async |args: Vec<String>| {
        let json = probe_optional(prober, &args, probe_timeout).await?;
        Some(String::from_utf8_lossy(&json).into_owned())
    };
    let start = source.start_time;
    let main = source.video.as_ref().map(|video| video.index);
    let main = main.or(source.audio.first().map(|audio| audio.index));
    if source.is_cut_off
        && let Some((index, stated)) = main.zip(source.duration)
    {
        let (mut present, mut missing, mut last) = (0.0, stated, None);
        while missing - present > CUT_OFF_SEARCH_SECONDS {
            let time = f64::midpoint(present, missing);
            let from = start + time;
            let Some(packets) = list(command::packets(uri, index, from, from + CUT_OFF_SEARCH_SECONDS)).await
            else {
                return;
            };
            match picture_end(&packets, ASSUMED_PACKET_SECONDS) {
                Some(end) => (present, last) = (time, Some(end - start)),
                None => missing = time,
            }
        }
        source.cut_off(last.unwrap_or(missing));
    }
    if SOUGHT_BY_TIME.contains(&source.container.as_str())
        && !source.unknown_ends.is_empty()
        && let Some(duration) = source.duration
        && let Some(packets) = list(command::last_packets(uri, start + duration - END_SEARCH_SECONDS)).await
    {
        let ends = packet_ends(&packets).into_iter().map(|(index, end)| (index, end - start));
        source.set_ends(&ends.collect());
    }
    if source.has_unknown_rate()
        && let Some((video, duration)) = source.video.as_mut().zip(source.duration)
    {
        let samples = list(command::packet_samples(uri, video.index, start, duration)).await;
        video.busiest_rate = samples.as_deref().and_then(busiest_rate);
    }
    if let (Some(end), Some(video), Some(duration)) =
        (source.early_picture_end(), source.video.as_ref(), source.duration)
    {
        let rate = output_rate(video.nominal_rate, video.mean_rate, video.busiest_rate);
        let until = start + duration + END_SEARCH_SECONDS;
        let packets = list(command::packets(uri, video.index, end - END_SEARCH_SECONDS, until)).await;
        if let Some(end) = packets.and_then(|packets| picture_end(&packets, rate.seconds_of(1))) {
            source.hold_picture(end);
        }
    }
}

/// Probes the source. The CPU time is limited to `probe_timeout`, which a file may exceed; the wall time to a multiple of
/// it, which is only exceeded on a slow host, or if the object store does not respond.
async fn probe(
    prober: &Prober<'_>,
    depth: ProbeDepth,
    probe_timeout: Duration,
) -> Result<(ProcessExit, Vec<u8>), Failure> {
    let args = command::probe(prober.session.uri(), depth);
    // Pinned, so that a timeout does not drop it before the requests in flight are checked.
    let mut running = pin!(prober.run(&args, probe_timeout.as_secs(), MAX_JSON_BYTES));
    if let Ok(probed) = timeout(probe_timeout * PROBE_WALL_FACTOR, running.as_mut()).await {
        return probed;
    }
    let is_waiting = prober.session.activity().has_request_in_flight();
    let unresponsive = is_waiting.then(|| SourceError("the object store does not respond".into()));
    Err(prober.session.reader().first_error().or(unresponsive).map_or_else(
        || Failure::new(FailureKind::EncoderStalled, "The file's description takes too long to read."),
        |error| source_unreadable(&error),
    ))
}

/// Runs ffprobe for details that are not required. `None` if it fails.
async fn probe_optional(prober: &Prober<'_>, args: &[String], probe_timeout: Duration) -> Option<Vec<u8>> {
    let running = prober.run(args, probe_timeout.as_secs(), MAX_JSON_BYTES);
    timeout(probe_timeout, running).await.ok().and_then(Result::ok).map(|(_, json)| json)
}
