//! Clock continuity of a file whose container has a clock (PCR) but no index. Across a discontinuity a time
//! cannot be sought, and the video must not be cut into chunks.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use reelmill_media::clock::{Jump, PcrRange, outlier_gap};

use crate::engine::source::{fetch::SourceError, reader::SourceReader};

/// Offsets at which the clock is sampled.
const SAMPLE_COUNT: u64 = 24;
/// Samples that are read at the same time.
const CONCURRENT_READS: usize = 4;
/// Distance of two samples, bytes, at which the search for a jump ends.
const MIN_SEARCH_DISTANCE: u64 = 512 * 1024;

/// The clock of a file.
pub(crate) struct Clock {
    /// Whether it jumps.
    pub jump: Option<Jump>,
    /// About how far it advances, if it can be read.
    pub seconds: Option<f64>,
}

/// An offset in the file and the clock there.
type Sample = (u64, PcrRange);

/// Samples the clock across the file, and searches the interval where it advances unusually far.
pub(crate) async fn inspect(reader: &SourceReader) -> Result<Clock, SourceError> {
    let step = reader.size() / SAMPLE_COUNT;
    let offsets = (0..SAMPLE_COUNT).map(|sample| step * sample);
    let reads = stream::iter(offsets)
        .map(|offset| async move { Ok((offset, read_until(reader, offset, offset + step).await?)) });
    let reads: Vec<_> = reads.buffered(CONCURRENT_READS).try_collect().await?;
    let mut samples: Vec<Sample> = Vec::new();
    for (offset, bytes) in reads {
        let pcr_pid = samples.first().map(|(_, range)| range.pcr_pid);
        samples.extend(PcrRange::read(&bytes, pcr_pid).map(|range| (offset, range)));
    }
    let seconds = samples.first().zip(samples.last()).map(|(first, last)| first.1.seconds_to_end(&last.1));
    // What follows the last sample advances as fast.
    let seconds = seconds.map(|seconds| seconds * SAMPLE_COUNT as f64 / (SAMPLE_COUNT - 1) as f64);
    if let Some(jump) = samples.iter().find_map(|(_, range)| range.jump()) {
        return Ok(Clock { jump: Some(jump), seconds });
    }
    let gaps: Vec<f64> = samples.windows(2).map(|pair| pair[0].1.seconds_until(&pair[1].1)).collect();
    let jump = match outlier_gap(&gaps) {
        Some(gap) => jump_between(reader, samples[gap], samples[gap + 1]).await?,
        None => None,
    };
    Ok(Clock { jump, seconds })
}

/// Bytes from `offset` to `end` at most. Samples must not overlap: the later one would begin before the earlier
/// one ends.
async fn read_until(reader: &SourceReader, offset: u64, end: u64) -> Result<Bytes, SourceError> {
    let mut bytes = reader.read(offset).await?;
    bytes.truncate(usize::try_from(end - offset).unwrap_or(usize::MAX));
    Ok(bytes)
}

/// Bisects the interval between two samples, following the half with the larger gap.
async fn jump_between(
    reader: &SourceReader,
    mut before: Sample,
    mut after: Sample,
) -> Result<Option<Jump>, SourceError> {
    while after.0 - before.0 > MIN_SEARCH_DISTANCE {
        let offset = before.0.midpoint(after.0);
        let bytes = read_until(reader, offset, after.0).await?;
        let Some(range) = PcrRange::read(&bytes, Some(before.1.pcr_pid)) else { break };
        if let Some(jump) = range.jump() {
            return Ok(Some(jump));
        }
        if before.1.seconds_until(&range) > range.seconds_until(&after.1) {
            after = (offset, range);
        } else {
            before = (offset, range);
        }
    }
    Ok(Jump::of(before.1.seconds_until(&after.1)))
}
