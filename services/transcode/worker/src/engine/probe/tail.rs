//! Where the tracks of a file end whose container does not say so: FLV, and Matroska without an index or an end. Their last
//! bytes are read instead of the whole file.

use std::collections::BTreeMap;

use reelmill_media::{
    flv,
    matroska::{Timeline, timeline},
    probe::{MAX_SECONDS, Source},
    tail::PartTimes,
};

use crate::engine::source::{fetch::SourceError, reader::SourceReader};

/// First length of the part at the end, bytes, and the longest: it must have packets of every track.
const TAIL_BYTES: u64 = 2 << 20;
const MAX_TAIL_BYTES: u64 = 16 << 20;
/// Length of a part in the middle, and the precision with which the last packet of a track is looked for, bytes.
const SAMPLE_BYTES: u64 = 1 << 20;
/// Parts in which the clock of an FLV file is read: it goes back where another recording begins.
const SAMPLE_COUNT: u64 = 8;
/// How much a stated duration may differ from where the last packet ends, seconds.
const MAX_DIFFERENCE_SECONDS: f64 = 1.0;
/// How far a clock may go back within a recording, seconds.
const MAX_REORDERING_SECONDS: f64 = 5.0;
/// Samples of a packet of sound, of most codecs.
const SAMPLES_PER_PACKET: f64 = 1024.0;
/// Assumed for a picture without a rate.
const FRAME_SECONDS: f64 = 0.04;

/// What a Matroska file starts with.
const MATROSKA_START: &[u8] = &[0x1a, 0x45, 0xdf, 0xa3];

/// How to read the times of packets in a part of a file.
enum Format {
    Flv,
    Matroska(Timeline),
}

/// Takes over where the tracks of an FLV or Matroska file end, if the container does not say so.
pub(crate) async fn measure(
    reader: &SourceReader,
    head: &[u8],
    source: &mut Source,
) -> Result<(), SourceError> {
    let mut size = reader.size();
    let (format, is_complete) = match source.container.split(',').next() {
        Some("flv") => (Format::Flv, false),
        Some("matroska") => {
            let Some(timeline) = timeline(head) else { return Ok(()) };
            let is_cut_off = timeline.stated_size.is_some_and(|stated| stated > reader.size());
            let is_complete = source.duration.is_some() && !is_cut_off;
            if let Some(end) = timeline.stated_size.filter(|&end| end < reader.size()) {
                source.has_another_recording = reader.read(end).await?.starts_with(MATROSKA_START);
                size = if source.has_another_recording { end } else { size };
            }
            (Format::Matroska(timeline), is_complete)
        }
        _ => return Ok(()),
    };
    if matches!(format, Format::Flv)
        && let Some(other) = other_recording(reader).await?
    {
        source.has_another_recording = true;
        size = other;
    }
    let picture = source.video.as_ref().map(|video| {
        let frame = video.nominal_rate.map_or(FRAME_SECONDS, |rate| rate.seconds_of(1));
        (video.index, frame)
    });
    let sound = source.audio.iter().map(|audio| {
        let rate = f64::from(audio.sample_rate.max(1));
        (audio.index, (SAMPLES_PER_PACKET / rate).min(FRAME_SECONDS))
    });
    let tracks: Vec<_> = picture.into_iter().chain(sound).collect();
    let numbered =
        tracks.iter().filter_map(|&(index, packet)| Some((index, format.track(index, source)?, packet)));
    let numbered: Vec<_> = numbered.collect();
    let last = last_part(reader, &format, size, numbered.iter().map(|&(_, number, _)| number)).await?;
    if last.first.is_none() {
        // Nothing can be said, for example because the last cluster is longer than what is read.
        return Ok(());
    }
    let mut ends = BTreeMap::new();
    for &(index, number, packet) in &numbered {
        let is_picture = picture.is_some_and(|(picture, _)| picture == index);
        let end = match last.last(number) {
            None if is_picture => last_packet(reader, &format, number, size).await?,
            end => end,
        };
        ends.extend(end.map(|time| (index, time + packet - source.start_time)));
    }
    let Some(end) = ends.values().copied().reduce(f64::max) else { return Ok(()) };
    let is_as_stated = source.duration.is_some_and(|stated| stated - end <= MAX_DIFFERENCE_SECONDS);
    if is_complete && source.unknown_ends.is_empty() && is_as_stated && !source.has_another_recording {
        return Ok(());
    }
    if is_earlier_than_the_middle(reader, &format, size, source.start_time + end).await? {
        // The clock goes back: the end says nothing about the length.
        return Ok(());
    }
    if source.has_another_recording {
        source.duration = Some(end.min(source.max_duration).min(MAX_SECONDS));
    } else if is_complete && source.unknown_ends.is_empty() {
        // Its tags may be wrong, too.
        source.cut_off_at(end);
        return Ok(());
    } else if !is_complete {
        source.set_last_end(end);
        // What the container states of the tracks is not there.
        source.unknown_ends = tracks.iter().map(|&(index, _)| index).collect();
    }
    source.set_ends(&ends);
    if source.has_another_recording {
        // Also ends the sound, so that none of the other recording follows.
        source.audio.iter_mut().for_each(|audio| audio.ends_early = true);
    }
    Ok(())
}

/// Whether a time is clearly earlier than those in the middle of the file.
async fn is_earlier_than_the_middle(
    reader: &SourceReader,
    format: &Format,
    size: u64,
    time: f64,
) -> Result<bool, SourceError> {
    for quarter in 1..4 {
        let offset = size / 4 * quarter;
        let first = format.times(&read(reader, offset, size.min(offset + SAMPLE_BYTES)).await?).first;
        if first.is_some_and(|first| first > time + MAX_REORDERING_SECONDS) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Format {
    fn times(&self, part: &[u8]) -> PartTimes {
        match self {
            Self::Flv => flv::times(part),
            Self::Matroska(timeline) => timeline.times(part),
        }
    }

    /// The number by which the container knows a stream.
    fn track(&self, index: u32, source: &Source) -> Option<u64> {
        match self {
            Self::Flv if source.video.as_ref().is_some_and(|video| video.index == index) => Some(flv::VIDEO),
            Self::Flv => Some(flv::AUDIO),
            Self::Matroska(timeline) => timeline.track_numbers.get(usize::try_from(index).ok()?).copied(),
        }
    }
}

/// Bytes of a file between two offsets; fewer at its end.
pub(super) async fn read(reader: &SourceReader, from: u64, to: u64) -> Result<Vec<u8>, SourceError> {
    let mut part = Vec::new();
    let mut at = from;
    while at < to {
        let block = reader.read(at).await?;
        if block.is_empty() {
            break;
        }
        at += u64::try_from(block.len()).unwrap_or(u64::MAX);
        part.extend_from_slice(&block);
    }
    part.truncate(usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX));
    Ok(part)
}

/// Times of the last part of the file: as long as is needed for packets of all these tracks, up to a limit.
async fn last_part(
    reader: &SourceReader,
    format: &Format,
    size: u64,
    tracks: impl Iterator<Item = u64> + Clone,
) -> Result<PartTimes, SourceError> {
    let mut length = TAIL_BYTES;
    loop {
        let times = format.times(&read(reader, size.saturating_sub(length), size).await?);
        let is_complete = tracks.clone().all(|track| times.last(track).is_some());
        if is_complete || length >= MAX_TAIL_BYTES.min(size) {
            return Ok(times);
        }
        length *= 2;
    }
}

/// Time of the last packet of a track before `end`.
async fn last_packet(
    reader: &SourceReader,
    format: &Format,
    track: u64,
    end: u64,
) -> Result<Option<f64>, SourceError> {
    let (mut present, mut missing, mut last) = (0, end, None);
    while missing - present > SAMPLE_BYTES {
        let offset = present.midpoint(missing);
        match format.times(&read(reader, offset, end.min(offset + SAMPLE_BYTES)).await?).last(track) {
            Some(time) => (present, last) = (offset, Some(time)),
            None => missing = offset,
        }
    }
    let near = format.times(&read(reader, present, end.min(present + 2 * SAMPLE_BYTES)).await?);
    Ok(near.last(track).or(last))
}

/// What a part of an FLV file says about other recordings.
struct FlvSample {
    /// Where in the file another recording begins in this part.
    other: Option<u64>,
    /// Time of its first packet, seconds.
    first: Option<f64>,
}

async fn flv_sample(reader: &SourceReader, from: u64) -> Result<FlvSample, SourceError> {
    let part = read(reader, from, reader.size().min(from + SAMPLE_BYTES)).await?;
    let other = flv::another_recording(&part, from == 0).and_then(|start| u64::try_from(start).ok());
    Ok(FlvSample { other: other.map(|start| from + start), first: flv::times(&part).first })
}

/// Where another recording begins in an FLV file, to within the length of a part.
async fn other_recording(reader: &SourceReader) -> Result<Option<u64>, SourceError> {
    let last_sample = reader.size().saturating_sub(SAMPLE_BYTES);
    let (mut before, mut time) = (0, f64::MIN);
    for sample in 0..=SAMPLE_COUNT {
        let offset = (reader.size() / SAMPLE_COUNT * sample).min(last_sample);
        let found = flv_sample(reader, offset).await?;
        if found.other.is_some() {
            return Ok(found.other);
        }
        match found.first {
            Some(first) if first + MAX_REORDERING_SECONDS < time => {
                return clock_reset(reader, before, time, offset).await.map(Some);
            }
            Some(first) => (before, time) = (offset, first),
            None => {}
        }
    }
    Ok(None)
}

/// Where the clock goes back between two offsets; at the first one it is `time`.
async fn clock_reset(
    reader: &SourceReader,
    mut before: u64,
    time: f64,
    mut after: u64,
) -> Result<u64, SourceError> {
    while after - before > SAMPLE_BYTES {
        let offset = before.midpoint(after);
        let found = flv_sample(reader, offset).await?;
        match found {
            FlvSample { other: Some(start), .. } => return Ok(start),
            FlvSample { first: Some(first), .. } if first + MAX_REORDERING_SECONDS >= time => before = offset,
            _ => after = offset,
        }
    }
    Ok(flv_sample(reader, before).await?.other.unwrap_or(after))
}
