//! Images: the poster and the sheets of thumbnails, both JPEG.

use bytes::{Bytes, BytesMut};
use reelmill_media::plan::{Plan, Thumbnails, WorkUnit};
use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::engine::output::{
    sink::{Content, Output, OutputKind},
    upload_context::{UploadContext, UploadError},
};

/// Largest image that is accepted.
const MAX_IMAGE_BYTES: usize = 8 * 1024 * 1024;
const CONTENT_TYPE: &str = "image/jpeg";

/// Uploads the poster: the last image in the pipe, if there is one.
pub(crate) async fn upload_poster(pipe: pipe::Receiver, context: &UploadContext) -> Result<(), UploadError> {
    let mut images = Vec::new();
    pipe.take(MAX_IMAGE_BYTES as u64).read_to_end(&mut images).await.map_err(UploadError::Pipe)?;
    let mut images = BytesMut::from(&images[..]);
    match std::iter::from_fn(|| next_jpeg(&mut images)).last() {
        Some(image) => upload_image("poster.jpg".into(), OutputKind::Poster, image, context).await,
        None => Ok(()),
    }
}

/// Layout and times of a work unit's thumbnail sheets.
pub(crate) struct SheetSpec {
    thumbnails: Thumbnails,
    /// Time of the first thumbnail, seconds.
    start: f64,
    /// Interval between thumbnails, seconds.
    interval: f64,
    /// Index of the first sheet.
    first_sheet: u32,
    /// Number of thumbnails, if it is known in advance.
    count: Option<u32>,
}

impl SheetSpec {
    /// `None` for a work unit without video.
    pub(crate) fn new(plan: &Plan, work_unit: &WorkUnit) -> Option<Self> {
        let video_plan = plan.video.as_ref()?;
        let chunk = work_unit.chunk?;
        let frames = plan.chunk_frames(chunk).map(|frames| frames.ceil() as u64);
        let interval_frames = u64::from(video_plan.thumbnails.interval_frames.max(1));
        let count = frames.map(|frames| u32::try_from(frames.div_ceil(interval_frames)).unwrap_or(u32::MAX));
        Some(Self {
            thumbnails: video_plan.thumbnails,
            start: video_plan.chunk_start(chunk),
            interval: video_plan.rate.seconds_of(interval_frames),
            // The thumbnails of every chunk but the last fit into one sheet.
            first_sheet: u32::try_from(chunk).unwrap_or(u32::MAX),
            count,
        })
    }

    /// Describes sheet `number` of the work unit.
    fn sheet(&self, number: u32, is_last: bool) -> (String, OutputKind) {
        let capacity = self.thumbnails.columns * self.thumbnails.rows;
        let before = number * capacity;
        let count = match self.count {
            // If the source ends earlier than its container states, the last thumbnails are black.
            Some(count) if is_last => count.saturating_sub(before).clamp(1, capacity),
            _ => capacity,
        };
        let sequence = self.first_sheet + number;
        let kind = OutputKind::Thumbnails {
            sequence,
            start: self.start + f64::from(before) * self.interval,
            interval: self.interval,
            count,
            columns: self.thumbnails.columns,
            tile: self.thumbnails.size,
        };
        (format!("thumbnails/sheet_{sequence:05}.jpg"), kind)
    }
}

/// Uploads thumbnail sheets as they are encoded. Each is uploaded when the next one is complete or the pipe is
/// closed: only then is it known whether it is the last one.
pub(crate) async fn upload_thumbnails(
    mut pipe: pipe::Receiver,
    spec: SheetSpec,
    context: &UploadContext,
) -> Result<(), UploadError> {
    let mut buffer = BytesMut::new();
    let mut number = 0;
    let mut pending: Option<Bytes> = None;
    loop {
        let count = pipe.read_buf(&mut buffer).await.map_err(UploadError::Pipe)?;
        while let Some(image) = next_jpeg(&mut buffer) {
            if let Some(sheet) = pending.replace(image) {
                let (name, kind) = spec.sheet(number, false);
                upload_image(name, kind, sheet, context).await?;
                number += 1;
            }
        }
        if buffer.len() > MAX_IMAGE_BYTES {
            // Not a JPEG that the encoder would write.
            buffer.clear();
        }
        if count == 0 {
            break;
        }
    }
    let Some(sheet) = pending else { return Ok(()) };
    let (name, kind) = spec.sheet(number, true);
    upload_image(name, kind, sheet, context).await
}

async fn upload_image(
    name: String,
    kind: OutputKind,
    image: Bytes,
    context: &UploadContext,
) -> Result<(), UploadError> {
    let output = Output { name, size_bytes: image.len() as u64, rendition: String::new(), kind };
    Ok(context.upload(output, Content::Bytes(image), CONTENT_TYPE).await?)
}

/// Takes the first complete JPEG out of the buffer. Markers inside its data are escaped, so that the end marker
/// is unambiguous.
fn next_jpeg(buffer: &mut BytesMut) -> Option<Bytes> {
    let end = buffer.windows(2).position(|window| window == [0xff, 0xd9])? + 2;
    Some(buffer.split_to(end).freeze())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::next_jpeg;

    #[test]
    fn next_jpeg_splits_at_end_marker() {
        let mut buffer = BytesMut::from(&[0xff, 0xd8, 1, 0xff, 0xd9, 0xff, 0xd8, 2][..]);
        assert_eq!(next_jpeg(&mut buffer).expect("whole").as_ref(), [0xff, 0xd8, 1, 0xff, 0xd9]);
        assert_eq!(next_jpeg(&mut buffer), None);
        buffer.extend([0xff, 0xd9]);
        assert_eq!(next_jpeg(&mut buffer).expect("whole").len(), 5);
    }
}
