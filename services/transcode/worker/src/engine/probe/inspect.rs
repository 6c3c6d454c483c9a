//! Inspects a source: sniffs its first bytes, runs ffprobe, and checks the clock of MPEG-TS and MPEG-PS files.

use std::{pin::pin, time::Duration};

use reelmill_media::{
    Failure, FailureKind,
    captions::{self, Captions},
    clock::{Jump, MAX_GAP_SECONDS},
    command::{self, InputFile, ProbeDepth, TRANSPORT_STREAM},
    probe::{
        MAX_SECONDS, Measured, Source, VideoRange, follow_one_another, has_doubtful_duration,
        has_several_pictures, needs_deeper_probe, packet_counts, parse, parse_hdr_metadata, parse_measured,
    },
    rate::{busiest_rate, output_rate},
    seek::{pauses, picture_end},
    sniff::{Kind, SNIFF_BYTES, sniff},
    tail::packet_ends,
};
use tokio::time::timeout;

use crate::engine::{
    exit_status,
    failure::source_unreadable,
    probe::{clock_continuity, prober::Prober, structure, tail},
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
/// A file of this size is read whole where others are sampled, bytes.
const SMALL_FILE_BYTES: u64 = 64 << 20;
/// Time without a picture that is worth a chunk of its own.
const MIN_PAUSE_SECONDS: f64 = 64.0;
/// Lowest bit rate of slides, bits per second.
const MIN_BITS_PER_SECOND: f64 = 100.0;
/// Precision with which the end of a file is found of which a part is missing, seconds.
const CUT_OFF_SEARCH_SECONDS: f64 = 4.0;
/// Containers that state no ends of tracks, and in which a time near the end is found without reading what is before it.
const SOUGHT_BY_TIME: [&str; 4] = ["mpegts", "mpeg", "asf", "ogg"];

/// Inspects the source, with `probe_timeout` for each run of ffprobe; of a broadcast, the requested programme.
pub(crate) async fn inspect(
    prober: &Prober<'_>,
    program: Option<u32>,
    probe_timeout: Duration,
) -> Result<Source, Failure> {
    let reader = prober.session.reader();
    let head = reader.read(0).await.map_err(|error| source_unreadable(&error))?;
    let kind = sniff(&head[..head.len().min(SNIFF_BYTES)])?;
    let (exit, mut json) = probe(prober, kind, ProbeDepth::Usual, probe_timeout).await?;
    if let Some(error) = reader.first_error() {
        return Err(source_unreadable(&error));
    }
    if !exit.status.success() {
        return Err(exit_status::classify_probe(&exit, kind));
    }
    if needs_deeper_probe(&json) {
        let (exit, deeper) = probe(prober, kind, ProbeDepth::Deep, probe_timeout).await?;
        if let Some(error) = reader.first_error() {
            return Err(source_unreadable(&error));
        }
        if exit.status.success() {
            json = deeper;
        }
    }
    let mut source = parse(&json, program)?;
    let (measured, merges_tracks) = measure(prober, &json, &source, probe_timeout).await;
    if merges_tracks {
        source.merges_tracks = true;
        let file = prober.session.file(&source);
        let (exit, merged) = run_probe(prober, file, ProbeDepth::Usual, probe_timeout).await?;
        json = if exit.status.success() { merged } else { json };
        source = Source { merges_tracks: exit.status.success(), ..parse(&json, program)? };
    } else if measured != Measured::default() {
        source = parse_measured(&json, program, &measured)?;
    }
    source.read_matroska_geometry(&head);
    let container = source.container.clone();
    if let Some(video) = source.video.as_mut().filter(|video| video.range == VideoRange::Pq) {
        let args = command::hdr_metadata(
            InputFile { merges_tracks, ..prober.session.file_of(&container) },
            video.index,
        );
        let json = probe_optional(prober, &args, probe_timeout).await;
        video.hdr_metadata = json.map(|json| parse_hdr_metadata(&json)).unwrap_or_default();
    }
    if source.is_broadcast() {
        let clock = clock_continuity::inspect(reader).await.map_err(|error| source_unreadable(&error))?;
        // ffprobe computes the duration of such a container as the difference of two timestamps.
        if let Some(jump) = clock.jump {
            source.clear_duration();
            source.has_clock_gap = jump == Jump::Ahead;
        }
        if let Some(advance) = clock.seconds.filter(|_| clock.jump.is_none())
            && source.duration.is_some_and(|duration| duration > advance * 1.5 + MAX_GAP_SECONDS)
            && let Some(end) = last_packet_end(prober, &source, advance, probe_timeout).await
        {
            // One of them is wrong.
            source.correct_duration(end);
        }
    }
    structure::inspect(reader, &head, &mut source).await.map_err(|error| source_unreadable(&error))?;
    tail::measure(reader, &head, &mut source).await.map_err(|error| source_unreadable(&error))?;
    refine(prober, &mut source, probe_timeout).await;
    source.has_captions = has_captions(reader, &head).await.map_err(|error| source_unreadable(&error))?;
    Ok(source)
}

/// Where the last packet ends that follows `from`, seconds after the start of the file.
async fn last_packet_end(
    prober: &Prober<'_>,
    source: &Source,
    from: f64,
    probe_timeout: Duration,
) -> Option<f64> {
    let from = source.start_time + (from - END_SEARCH_SECONDS).max(0.0);
    let args = command::last_packets(prober.session.file(source), from);
    let list = probe_optional(prober, &args, probe_timeout).await?;
    let end = packet_ends(&String::from_utf8_lossy(&list)).into_values().reduce(f64::max)?;
    Some(end - source.start_time).filter(|&end| end > 0.0)
}

/// Looks for captions inside the picture at the start of a file; if there is an empty place for them, in its middle, too.
async fn has_captions(reader: &SourceReader, head: &[u8]) -> Result<bool, SourceError> {
    Ok(match captions::find(head) {
        Captions::None => false,
        Captions::Present => true,
        Captions::Empty => captions::find(&reader.read(reader.size() / 2).await?) == Captions::Present,
    })
}

/// Measures what is not told by the description of an unusual file: one that is very small for its length, and one with several
/// pictures. Also whether its tracks go on under other PIDs.
async fn measure(
    prober: &Prober<'_>,
    json: &[u8],
    source: &Source,
    probe_timeout: Duration,
) -> (Measured, bool) {
    let file = prober.session.file(source);
    let list = async |args: Vec<String>| {
        let list = probe_optional(prober, &args, probe_timeout).await?;
        Some(String::from_utf8_lossy(&list).into_owned())
    };
    let (mut measured, mut merges_tracks) = (Measured::default(), false);
    // Where there is a clock, it tells.
    if has_doubtful_duration(json)
        && !source.is_broadcast()
        && let Some(packets) = list(command::last_packets(file, source.start_time)).await
    {
        let last = packet_ends(&packets).into_values().reduce(f64::max);
        // A clock that goes back is found later. A longer file is made to cost much.
        let longest = (prober.session.reader().size() as f64 * 8.0 / MIN_BITS_PER_SECOND).min(MAX_SECONDS);
        measured.end = last.map(|end| end - source.start_time).filter(|&end| end <= longest);
    }
    if has_several_pictures(json)
        && let Some(duration) = source.duration.or(measured.end)
        && let Some(packets) = list(command::picture_samples(file, source.start_time, duration)).await
    {
        measured.pictures = packet_counts(&packets);
        merges_tracks = source.container == TRANSPORT_STREAM && follow_one_another(&packets);
    }
    (measured, merges_tracks)
}

/// Looks for what the description of an ordinary file says reliably: where the file ends, the rate of a picture without a
/// constant one, and the end of a picture that is shorter than other tracks.
async fn refine(prober: &Prober<'_>, source: &mut Source, probe_timeout: Duration) {
    let container = source.container.clone();
    let file = InputFile { merges_tracks: source.merges_tracks, ..prober.session.file_of(&container) };
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
            let Some(packets) =
                list(command::packets(file, index, from, from + CUT_OFF_SEARCH_SECONDS)).await
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
    if let Some(stated) = source.claimed_duration {
        if source.duration.is_none()
            && prober.session.reader().size() <= SMALL_FILE_BYTES
            && let Some(end) = last_packet_end(prober, source, 0.0, probe_timeout).await
        {
            source.set_last_end(end);
        }
        source.claim_duration(stated);
    }
    if SOUGHT_BY_TIME.contains(&source.container.as_str())
        && !source.unknown_ends.is_empty()
        && let Some(duration) = source.duration
        && let Some(packets) = list(command::last_packets(file, start + duration - END_SEARCH_SECONDS)).await
    {
        let ends = packet_ends(&packets).into_iter().map(|(index, end)| (index, end - start));
        source.set_ends(&ends.collect());
    }
    if source.has_unknown_rate()
        && let Some((video, duration)) = source.video.as_mut().zip(source.duration)
    {
        // A small file is read whole: a lively part may be shorter than the time between two samples.
        let packets = if prober.session.reader().size() <= SMALL_FILE_BYTES {
            command::packets(file, video.index, start, start + duration)
        } else {
            command::packet_samples(file, video.index, start, duration)
        };
        let is_whole = prober.session.reader().size() <= SMALL_FILE_BYTES;
        let samples = list(packets).await;
        video.busiest_rate = samples.as_deref().and_then(busiest_rate);
        // A list that is cut off ends early.
        if let Some(all) = samples.filter(|list| is_whole && (list.len() as u64) < MAX_JSON_BYTES) {
            let pauses = pauses(&all, MIN_PAUSE_SECONDS);
            source.pauses = pauses.into_iter().map(|(from, to)| (from - start, to - start)).collect();
        }
    }
    if let (Some(end), Some(video), Some(duration)) =
        (source.early_picture_end(), source.video.as_ref(), source.duration)
    {
        let rate = output_rate(video.nominal_rate, video.mean_rate, video.busiest_rate);
        let until = start + duration + END_SEARCH_SECONDS;
        let packets = list(command::packets(file, video.index, end - END_SEARCH_SECONDS, until)).await;
        // A list that is cut off says nothing about the end.
        let packets = packets.filter(|packets| (packets.len() as u64) < MAX_JSON_BYTES);
        if let Some(end) = packets.and_then(|packets| picture_end(&packets, rate.seconds_of(1))) {
            source.hold_picture(end);
        }
    }
}

/// Probes the source. The CPU time is limited to `probe_timeout`, which a file may exceed; the wall time to a multiple of
/// it, which is only exceeded on a slow host, or if the object store does not respond.
async fn probe(
    prober: &Prober<'_>,
    kind: Kind,
    depth: ProbeDepth,
    probe_timeout: Duration,
) -> Result<(ProcessExit, Vec<u8>), Failure> {
    let container = if kind == Kind::MpegTs { TRANSPORT_STREAM } else { "" };
    run_probe(prober, prober.session.file_of(container), depth, probe_timeout).await
}

async fn run_probe(
    prober: &Prober<'_>,
    file: InputFile<'_>,
    depth: ProbeDepth,
    probe_timeout: Duration,
) -> Result<(ProcessExit, Vec<u8>), Failure> {
    let args = command::probe(file, depth);
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
