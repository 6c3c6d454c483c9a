//! What the outermost structure of a file says, read without a demuxer: where it should end, and whether another recording
//! follows.

use std::collections::BTreeSet;

/// From this size on a RIFF file states none.
const UNKNOWN_RIFF_SIZE: u32 = 0x7fff_0000;
/// Start of an ASF object with properties of the file, and where in it the file's size is.
const ASF_PROPERTIES: &[u8] =
    &[0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11, 0x8e, 0xe4, 0x00, 0xc0, 0x0c, 0x20, 0x53, 0x65];
const ASF_SIZE_OFFSET: usize = 40;
const ASF_DURATION_OFFSET: usize = 64;
const ASF_PREROLL_OFFSET: usize = 80;
/// Where in the header of an AVI file the number of frames is, and in the format of a WAV file its bytes per second.
const AVI_FRAMES_OFFSET: usize = 24;
const WAV_RATE_OFFSET: usize = 16;
/// Start of a page of Ogg, and where in it flags and the number of its stream are.
const OGG_PAGE: &[u8] = b"OggS\0";
const OGG_FLAGS_OFFSET: usize = 5;
const OGG_SERIAL_OFFSET: usize = 14;
/// Flag of the first page of a stream.
const OGG_FIRST_PAGE: u8 = 2;
/// How much larger than a file the size must be that its header states or its index lists, if its end is missing.
pub(crate) const CUT_OFF_MIN_RATIO: f64 = 1.05;

/// The duration that the first bytes of an AVI, WAV or ASF file state, seconds, if they also state a clearly larger size than
/// it has: its end is missing.
pub fn claimed_duration(head: &[u8], size: u64) -> Option<f64> {
    let stated = stated_size(head).filter(|&stated| stated as f64 > size as f64 * CUT_OFF_MIN_RATIO)?;
    let le32 = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let le64 = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    let find = |start: &[u8]| head.windows(start.len()).position(|window| window == start);
    if let Some(properties) = find(ASF_PROPERTIES) {
        let preroll = le64(properties + ASF_PREROLL_OFFSET)? as f64 / 1e3;
        return Some(le64(properties + ASF_DURATION_OFFSET)? as f64 / 1e7 - preroll);
    }
    if let Some(header) = find(b"avih") {
        return Some(f64::from(le32(header + 8)?) * f64::from(le32(header + AVI_FRAMES_OFFSET)?) / 1e6);
    }
    let format = find(b"fmt ")?;
    let bytes_per_second = le32(format + WAV_RATE_OFFSET).filter(|&rate| rate > 0)?;
    Some(stated as f64 / f64::from(bytes_per_second))
}

fn stated_size(head: &[u8]) -> Option<u64> {
    if head.starts_with(b"RIFF") {
        // Recorders that could not go back leave 0, all ones, or the largest size that they know.
        let size = u32::from_le_bytes(head.get(4..8)?.try_into().ok()?);
        return (size > 0 && size < UNKNOWN_RIFF_SIZE).then(|| u64::from(size) + 8);
    }
    let properties = head.windows(ASF_PROPERTIES.len()).position(|window| window == ASF_PROPERTIES)?;
    let size = head.get(properties + ASF_SIZE_OFFSET..)?.get(..8)?;
    Some(u64::from_le_bytes(size.try_into().ok()?))
}

/// Whether the last part of an Ogg file has pages of streams that do not begin in its first part: recordings follow one
/// another, each with streams of its own.
pub fn is_chained(first: &[u8], last: &[u8]) -> bool {
    let serial = |page: &[u8]| page.get(OGG_SERIAL_OFFSET..OGG_SERIAL_OFFSET + 4).map(<[u8]>::to_vec);
    let is_first = |page: &&[u8]| page.get(OGG_FLAGS_OFFSET).is_some_and(|flags| flags & OGG_FIRST_PAGE != 0);
    let mut begun = BTreeSet::new();
    for page in pages(first) {
        if is_first(&page) {
            begun.extend(serial(page));
        } else {
            // Streams that are shown together begin together.
            break;
        }
    }
    !begun.is_empty() && pages(last).filter_map(serial).any(|serial| !begun.contains(&serial))
}

/// Number of the first page of a stream in a part of an Ogg file: they count up. `serial` is the stream's, or that of the first
/// page.
pub fn page_number(part: &[u8], serial: Option<[u8; 4]>) -> Option<([u8; 4], u32)> {
    let numbered = |page: &[u8]| {
        let own: [u8; 4] = page.get(OGG_SERIAL_OFFSET..OGG_SERIAL_OFFSET + 4)?.try_into().ok()?;
        let number = page.get(OGG_SERIAL_OFFSET + 4..OGG_SERIAL_OFFSET + 8)?.try_into().ok()?;
        serial.is_none_or(|serial| serial == own).then_some((own, u32::from_le_bytes(number)))
    };
    pages(part).find_map(numbered)
}

fn pages(part: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = part.windows(OGG_PAGE.len()).enumerate().filter(|(_, window)| *window == OGG_PAGE);
    starts.map(|(at, _)| &part[at..])
}

/// Name and size of the MP4 box at the start of a part of a file; size 0 if it extends to the end of the file.
pub fn mp4_box(part: &[u8]) -> Option<([u8; 4], u64)> {
    let size = u32::from_be_bytes(part.get(..4)?.try_into().ok()?);
    let name: [u8; 4] = part.get(4..8)?.try_into().ok()?;
    let size = match size {
        1 => u64::from_be_bytes(part.get(8..16)?.try_into().ok()?),
        size => u64::from(size),
    };
    let is_box = name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    (is_box && (size == 0 || size >= 8)).then_some((name, size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ASF_PROPERTIES, claimed_duration, is_chained, mp4_box, page_number};

    #[test]
    fn claimed_duration_is_that_of_a_file_that_states_a_larger_size() {
        let avi = |size: u32| {
            let header = [40_000_u32, 0, 0, 0, 1000].map(u32::to_le_bytes).concat();
            [&b"RIFF"[..], &size.to_le_bytes(), b"AVI LIST0000hdrlavih", &56_u32.to_le_bytes(), &header]
                .concat()
        };
        assert_eq!(claimed_duration(&avi(1_000_000), 900_000), Some(40.0));
        assert_eq!(claimed_duration(&avi(1_000_000), 990_000), None);
        assert_eq!(
            (claimed_duration(&avi(0), 900_000), claimed_duration(&avi(u32::MAX), 900_000)),
            (None, None)
        );
        assert_eq!(claimed_duration(&avi(1_000_000), 3_000_000), None, "more follows");
        let fields = [1_000_000_u64, 0, 0, 431_000_000, 0, 3_100].map(u64::to_le_bytes).concat();
        let asf = [&b"header"[..], ASF_PROPERTIES, &[0; 24], &fields].concat();
        assert_eq!(claimed_duration(&asf, 900_000), Some(40.0));
        assert_eq!(claimed_duration(&asf, 1_000_000), None);
        let format =
            [&16_u32.to_le_bytes()[..], &[1, 0, 1, 0], &44_100_u32.to_le_bytes(), &88_200_u32.to_le_bytes()];
        let wav = [&b"RIFF"[..], &3_527_992_u32.to_le_bytes(), b"WAVEfmt ", &format.concat()].concat();
        assert_eq!(claimed_duration(&wav, 900_000), Some(40.0));
        assert_eq!(
            (claimed_duration(&wav[..20], 1), claimed_duration(b"RIFF", 1), claimed_duration(b"x", 1)),
            (None, None, None)
        );
    }

    #[test]
    fn is_chained_requires_a_stream_that_begins_later() {
        let page = |flags: u8, serial: u8| {
            [&b"OggS\0"[..], &[flags, 0, 0, 0, 0, 0, 0, 0, 0, serial, 0, 0, 0], &[7; 20]].concat()
        };
        let first = [page(2, 1), page(2, 2), page(0, 1), page(0, 2)].concat();
        assert!(!is_chained(&first, &[page(0, 1), page(4, 2)].concat()));
        assert!(is_chained(&first, &[page(4, 1), page(2, 3), page(0, 3)].concat()));
        assert!(is_chained(&[first.clone(), page(2, 3)].concat(), &page(0, 3)), "a short first one");
        let numbered = [&page(0, 1)[..18], &7_u32.to_le_bytes(), &page(0, 2)].concat();
        assert_eq!(page_number(&numbered, None), Some(([1, 0, 0, 0], 7)));
        assert_eq!(page_number(&numbered, Some([3, 0, 0, 0])), None);
        assert!(!is_chained(b"", &first) && !is_chained(&first, b""));
    }

    #[test]
    fn mp4_box_reads_name_and_size() {
        assert_eq!(mp4_box(b"\0\0\0\x18ftypisom"), Some((*b"ftyp", 24)));
        assert_eq!(mp4_box(b"\0\0\0\x01mdat\0\0\0\x02\0\0\0\x03"), Some((*b"mdat", 0x2_0000_0003)));
        assert_eq!(mp4_box(b"\0\0\0\0mdat"), Some((*b"mdat", 0)));
        assert_eq!(mp4_box(b"\0\0\0\x04ftyp"), None);
        assert_eq!(mp4_box(b"\0\0\0\x18\x01\x02\x03\x04"), None);
        assert_eq!(mp4_box(b"\0\0\0\x18fty"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_do_not_panic(bytes in any::<Vec<u8>>(), size in any::<u64>()) {
            let ogg = [b"OggS\0", &bytes[..]].concat();
            let asf = [ASF_PROPERTIES, &bytes[..]].concat();
            let _pages = page_number(&ogg, None);
            let _ignored = (claimed_duration(&asf, size), is_chained(&ogg, &ogg), mp4_box(&bytes));
        }
    }
}
