//! Whether time goes on evenly through a file whose container has no index: where it leaps, moments can't be sought
//! for, and the video must not be cut.

use super::source::{SourceError, SourceReader};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use reelmill_media::clock::{Stretch, widest};

/// Places at which the clock is read.
const PLACES: u64 = 24;
/// Reads under way at once.
const AT_ONCE: usize = 4;
/// Bytes between two places that need not be looked into.
const NEAR: u64 = 512 * 1024;
/// Seconds that so few bytes don't last.
const TOO_LONG: f64 = 60.0;

/// A place in the file and what the clock says there.
type Seen = (u64, Stretch);

/// Reads the clock here and there, and where much time seems to pass, closer.
pub(super) async fn is_steady(reader: &SourceReader) -> Result<bool, SourceError> {
    let step = reader.size() / PLACES;
    let places = (0..PLACES).map(|place| step * place);
    let read = futures::stream::iter(places)
        .map(|place| async move { Ok((place, read_until(reader, place, place + step).await?)) });
    let read: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
    let mut seen: Vec<Seen> = Vec::new();
    for (place, bytes) in read {
        let clock = seen.first().map(|(_, stretch)| stretch.clock);
        seen.extend(Stretch::of(&bytes, clock).map(|stretch| (place, stretch)));
    }
    if seen.iter().any(|(_, stretch)| stretch.leaps) {
        return Ok(false);
    }
    let gaps: Vec<f64> = seen.windows(2).map(|pair| pair[0].1.until(&pair[1].1)).collect();
    match widest(&gaps) {
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
        let Some(stretch) = Stretch::of(&bytes, Some(before.1.clock)) else { break };
        if stretch.leaps {
            return Ok(false);
        }
        if before.1.until(&stretch) > stretch.until(&after.1) {
            after = (place, stretch);
        } else {
            before = (place, stretch);
        }
    }
    Ok(before.1.until(&after.1) < TOO_LONG)
}
