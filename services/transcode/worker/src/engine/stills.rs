//! What is small enough to be held whole: the poster, sheets of thumbnails, subtitles.

use super::pump::{Outlet, PumpError};
use super::sink::{Content, Output, Role};
use bytes::{Bytes, BytesMut};
use reelmill_media::plan::{Plan, Thumbnails, WorkUnit};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// The largest still that is kept.
const MAX_STILL_BYTES: usize = 8 * 1024 * 1024;
/// The longest text that is kept.
const MAX_TEXT_BYTES: u64 = 8 * 1024 * 1024;

/// Puts the poster, the last image there is; nothing when there was no frame for it.
pub(super) async fn poster(pipe: pipe::Receiver, outlet: &Outlet) -> Result<(), PumpError> {
    let mut images = Vec::new();
    pipe.take(MAX_STILL_BYTES as u64).read_to_end(&mut images).await.map_err(PumpError::Pipe)?;
    let mut images = BytesMut::from(&images[..]);
    let Some(image) = std::iter::from_fn(|| next_jpeg(&mut images)).last() else { return Ok(()) };
    let output = output("poster.jpg", "", image.len(), Role::Poster);
    Ok(outlet.put(output, Content::Bytes(image), "image/jpeg").await?)
}

/// Puts a text track, unless it is empty.
pub(super) async fn subtitles(
    pipe: pipe::Receiver,
    rendition: &str,
    plan: &Plan,
    outlet: &Outlet,
) -> Result<(), PumpError> {
    let mut text = Vec::new();
    pipe.take(MAX_TEXT_BYTES).read_to_end(&mut text).await.map_err(PumpError::Pipe)?;
    if !text.windows(3).any(|window| window == b"-->") {
        return Ok(());
    }
    let text = led(text, plan.presentation_time_offset());
    let seconds = plan.duration().unwrap_or(0.0);
    let role = Role::Segment { sequence: 0, start: 0.0, seconds, frames: 1, keyframe_bytes: 0 };
    let output = output(&format!("{rendition}/text.vtt"), rendition, text.len(), role);
    Ok(outlet.put(output, Content::Bytes(text.into()), "text/vtt").await?)
}

/// Says in the header of a text how its times go with those of the segments (RFC 8216, 3.5), when these do not begin at
/// zero.
fn led(text: Vec<u8>, lead: f64) -> Vec<u8> {
    const TICKS: f64 = 90_000.0;
    let Some(end) = text.iter().position(|&byte| byte == b'\n').filter(|_| lead > 0.0) else { return text };
    let (head, cues) = text.split_at(end + 1);
    let map = format!("X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:{:.0}\n", lead * TICKS);
    [head, map.as_bytes(), cues].concat()
}

fn output(name: &str, rendition: &str, size: usize, role: Role) -> Output {
    Output { name: name.to_owned(), size_bytes: size as u64, rendition: rendition.to_owned(), role }
}

/// What the sheets of a share show.
pub(super) struct Sheets {
    stills: Thumbnails,
    /// The moment of the first still, seconds.
    start: f64,
    /// From one still to the next, seconds.
    interval: f64,
    /// Place of the first sheet.
    first: u32,
    /// Stills in all, when that is known beforehand.
    count: Option<u32>,
}

impl Sheets {
    /// None for a share without a picture.
    pub fn of(plan: &Plan, work_unit: &WorkUnit) -> Option<Self> {
        let video_plan = plan.video.as_ref()?;
        let place = work_unit.chunk?;
        let frames = plan.chunk_frames(place).map(|frames| frames.ceil() as u64);
        let every = u64::from(video_plan.thumbnails.interval_frames.max(1));
        let count = frames.map(|frames| u32::try_from(frames.div_ceil(every)).unwrap_or(u32::MAX));
        Some(Self {
            stills: video_plan.thumbnails,
            start: video_plan.chunk_start(place),
            interval: video_plan.rate.seconds_of(every),
            // Every chunk but the last fits into one sheet.
            first: u32::try_from(place).unwrap_or(u32::MAX),
            count,
        })
    }
}

/// Puts sheets of thumbnails as they come.
pub(super) async fn thumbnails(
    mut pipe: pipe::Receiver,
    sheets: Sheets,
    outlet: &Outlet,
) -> Result<(), PumpError> {
    let mut buffer = BytesMut::new();
    let mut number = 0;
    let mut last: Option<Bytes> = None;
    loop {
        let count = pipe.read_buf(&mut buffer).await.map_err(PumpError::Pipe)?;
        while let Some(image) = next_jpeg(&mut buffer) {
            if let Some(full) = last.replace(image) {
                sheets.put(full, number, false, outlet).await?;
                number += 1;
            }
        }
        if buffer.len() > MAX_STILL_BYTES {
            // No JPEG is that large: whatever it is, it is not ours to keep.
            buffer.clear();
        }
        if count == 0 {
            break;
        }
    }
    match last {
        Some(image) => sheets.put(image, number, true, outlet).await,
        None => Ok(()),
    }
}

impl Sheets {
    async fn put(&self, image: Bytes, number: u32, is_last: bool, outlet: &Outlet) -> Result<(), PumpError> {
        let full = self.stills.columns * self.stills.rows;
        let before = number * full;
        let count = match self.count {
            // Where the source ends earlier than it says, the last stills are black.
            Some(count) if is_last => count.saturating_sub(before).clamp(1, full),
            _ => full,
        };
        let sequence = self.first + number;
        let role = Role::Thumbnails {
            sequence,
            start: self.start + f64::from(before) * self.interval,
            interval: self.interval,
            count,
            columns: self.stills.columns,
            tile: self.stills.size,
        };
        let output = output(&format!("thumbnails/sheet_{sequence:05}.jpg"), "", image.len(), role);
        Ok(outlet.put(output, Content::Bytes(image), "image/jpeg").await?)
    }
}

/// The first whole JPEG in the buffer, taken out of it. The encoder writes no markers inside its data but escaped ones.
fn next_jpeg(buffer: &mut BytesMut) -> Option<Bytes> {
    let end = buffer.windows(2).position(|window| window == [0xff, 0xd9])? + 2;
    Some(buffer.split_to(end).freeze())
}

#[cfg(test)]
mod tests {
    use super::next_jpeg;
    use bytes::BytesMut;

    #[test]
    fn jpegs_are_told_apart() {
        let mut buffer = BytesMut::from(&[0xff, 0xd8, 1, 0xff, 0xd9, 0xff, 0xd8, 2][..]);
        assert_eq!(next_jpeg(&mut buffer).expect("whole").as_ref(), [0xff, 0xd8, 1, 0xff, 0xd9]);
        assert_eq!(next_jpeg(&mut buffer), None);
        buffer.extend([0xff, 0xd9]);
        assert_eq!(next_jpeg(&mut buffer).expect("whole").len(), 5);
    }
}
