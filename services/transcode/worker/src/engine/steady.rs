//! Whether time goes on evenly through a file whose container has no index: where it leaps, moments can't be sought
//! for, and the video must not be cut.

use super::source::{SourceError, SourceReader};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use reelmill_media::clock::{PcrRange, outlier_gap};

/// Places at which the clock is read.
const PLACES: u64 = 24;
/// Reads under way at once.
const AT_ONCE: usize = 4;
/// Bytes between two places that need not be looked into.
const NEAR: u64 = 512 * 1024;
/// Seconds that so few bytes don't last.
const TOO_LONG: f64 = 60.0;

/// A place in the file and what the clock says there.
type Seen = (u64, PcrRange);

/// Reads the clock here and there, and where much time seems to pass, closer.
pub(super) async fn is_steady(reader: &SourceReader) -> Result<bool, SourceError> {
    let step = reader.size() / PLACES;
    let places = (0..PLACES).map(|place| step * place);
    let read = futures::stream::iter(places)
        .map(|place| async move { Ok((place, read_until(reader, place, place + step).await?)) });
    let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
    let mut seen: Vec<Seen> = Vec::new();
    for (place, bytes) in read {
        let clock = seen.first().map(|(_, range)| range.pcr_pid);
        seen.extend(PcrRange::read(&bytes, clock).map(|range| (place, range)));
    }
    if seen.iter().any(|(_, range)| range.has_discontinuity) {
        return Ok(false);
    }
    let gaps: Vec<f64> = seen.windows(2).map(|pair| pair[0].1.seconds_until(&pair[1].1)).collect();
    match outlier_gap(&gaps) {
        Some(gap) => closes_in(reader, seen[gap], seen[gap + 1]).await,
        None => Ok(true),
    }
}

/// Bytes from a place on, up to another one at most: of stretches that overlap the later one would begin before the
/// earlier one ends.
async fn read_until(reader: &SourceReader, place: u64, end: u64) -> Result<Bytes, SourceError> {
    let mut bytes = reader.read(place).await?;
    bytes.truncate(usize::try_from(end - place).unwrap_or(usize::MAX));
    Ok(bytes)
}

/// Whether the time between two places passes little by little.
async fn closes_in(reader: &SourceReader, mut before: Seen, mut after: Seen) -> Result<bool, SourceError> {
    while after.0 - before.0 > NEAR {
        let place = before.0.midpoint(after.0);
        let bytes = read_until(reader, place, after.0).await?;
        let Some(range) = PcrRange::read(&bytes, Some(before.1.pcr_pid)) else { break };
        if range.has_discontinuity {
            return Ok(false);
        }
        if before.1.seconds_until(&range) > range.seconds_until(&after.1) {
            after = (place, range);
        } else {
            before = (place, range);
        }
    }
    Ok(before.1.seconds_until(&after.1) < TOO_LONG)
}
