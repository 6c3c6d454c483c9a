//! What the outermost structure of a file says beside ffprobe's description: whether its end is missing, whether another
//! recording follows, and whether its frames may consist of fields.

use reelmill_media::{
    avc,
    probe::Source,
    structure::{claimed_duration, is_chained, mp4_box, page_number},
};

use crate::engine::{
    probe::tail::read,
    source::{fetch::SourceError, reader::SourceReader},
};

/// Most boxes of an MP4 file that are read; a fragmented one has thousands, but what is looked for is at its start.
const MAX_BOXES: usize = 32;
/// Bytes from the start of an MP4 file's index in which its H.264 is described.
const INDEX_BYTES: u64 = 1 << 20;
/// From the end of an Ogg file, bytes: a page has at most 64 KiB.
const OGG_TAIL_BYTES: u64 = 128 << 10;
/// Parts of an Ogg file in which page numbers are read.
const OGG_SAMPLES: u64 = 8;

/// Takes over what the structure of a file says.
pub(crate) async fn inspect(
    reader: &SourceReader,
    head: &[u8],
    source: &mut Source,
) -> Result<(), SourceError> {
    let mut has_fields = avc::may_have_fields(head);
    match source.container.split(',').next() {
        Some("mov") => {
            let boxes = Boxes::read(reader).await?;
            source.has_another_recording = boxes.has_another_recording;
            if let Some(index) = boxes.index.filter(|_| has_fields.is_none()) {
                let end = reader.size().min(index + INDEX_BYTES);
                has_fields = avc::may_have_fields(&read(reader, index, end).await?);
            }
        }
        Some("ogg") => {
            let last = read(reader, reader.size().saturating_sub(OGG_TAIL_BYTES), reader.size()).await?;
            if is_chained(head, &last) || page_numbers_decrease(reader, head).await? {
                // Each recording has a clock of its own.
                source.clear_duration();
            }
        }
        Some("avi" | "wav" | "asf") => source.claimed_duration = claimed_duration(head, reader.size()),
        _ => {}
    }
    if let Some(video) = source.video.as_mut().filter(|video| video.codec == "h264") {
        video.may_turn_interlaced |= has_fields == Some(true) && !video.interlaced;
    }
    Ok(())
}

/// Whether the page numbers of an Ogg file's first stream decrease from one sample to the next: another recording with the same
/// stream number follows.
async fn page_numbers_decrease(reader: &SourceReader, head: &[u8]) -> Result<bool, SourceError> {
    let Some((serial, mut before)) = page_number(head, None) else { return Ok(false) };
    for sample in 1..OGG_SAMPLES {
        let part = reader.read(reader.size() / OGG_SAMPLES * sample).await?;
        if let Some((_, number)) = page_number(&part, Some(serial)) {
            if number < before {
                return Ok(true);
            }
            before = number;
        }
    }
    Ok(false)
}

#[derive(Default)]
struct Boxes {
    /// Where the index of the file is.
    index: Option<u64>,
    /// Whether a second file follows.
    has_another_recording: bool,
}

impl Boxes {
    async fn read(reader: &SourceReader) -> Result<Self, SourceError> {
        let (mut boxes, mut at) = (Self::default(), 0);
        for _ in 0..MAX_BOXES {
            let Some((name, size)) = mp4_box(&reader.read(at).await?) else { break };
            match &name {
                b"moov" if boxes.index.is_some() => boxes.has_another_recording = true,
                b"moov" => boxes.index = Some(at),
                b"ftyp" if at > 0 && boxes.index.is_some() => boxes.has_another_recording = true,
                // What follows is more of the same.
                b"moof" => break,
                _ => {}
            }
            let Some(next) = at.checked_add(size).filter(|&next| size > 0 && next < reader.size()) else {
                break;
            };
            at = next;
        }
        Ok(boxes)
    }
}
