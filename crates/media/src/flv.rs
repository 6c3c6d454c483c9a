//! Times of packets in a part of an FLV file, which states no length of its tracks, and has no index.

use crate::tail::PartTimes;

/// Tag types of sound and pictures.
pub const AUDIO: u64 = 8;
/// See [`AUDIO`].
pub const VIDEO: u64 = 9;
const TAG_TYPES: [u8; 3] = [8, 9, 18];
const HEADER_BYTES: usize = 11;
/// After a tag follows its size.
const SIZE_BYTES: usize = 4;
/// Tags in a row that are no coincidence.
const SYNC_TAGS: usize = 3;
/// What a file starts with: signature, version, any flags, and the size of the header.
const SIGNATURE: &[u8] = b"FLV\x01";
const HEADER_SIZE: [u8; 4] = [0, 0, 0, 9];
/// Codecs whose tags have a composition time.
const AVC: u8 = 7;
const HEVC: u8 = 12;
/// Type of such a tag that has a picture.
const PICTURE: u8 = 1;
/// Length of a file's own header, and of the size that follows it.
const FILE_HEADER_BYTES: usize = 13;

/// Times of the packets in a part of a file, which may start within a tag.
pub fn times(part: &[u8]) -> PartTimes {
    let mut times = PartTimes::default();
    let start = (0..part.len().saturating_sub(HEADER_BYTES)).find(|&start| is_start(part, start));
    let mut rest = start.map_or(&[][..], |start| &part[start..]);
    while let Some((tag, size)) = Tag::read(rest) {
        if let Some(time) = tag.time() {
            times.add(tag.kind, time);
        }
        rest = &rest[size..];
    }
    times
}

/// Where another recording begins in a part of a file; `at_start` if the part is the beginning of the file.
pub fn another_recording(part: &[u8], at_start: bool) -> Option<usize> {
    let is_header = |window: &[u8]| {
        window.starts_with(SIGNATURE) && window[5..9] == HEADER_SIZE && window[9..] == [0; SIZE_BYTES]
    };
    let mut windows = part.windows(FILE_HEADER_BYTES).enumerate().skip(usize::from(at_start));
    windows.find(|(_, window)| is_header(window)).map(|(start, _)| start)
}

fn is_start(part: &[u8], start: usize) -> bool {
    let mut rest = &part[start..];
    for _ in 0..SYNC_TAGS {
        let Some((_, size)) = Tag::read(rest) else { return false };
        rest = &rest[size..];
    }
    true
}

struct Tag<'a> {
    kind: u64,
    milliseconds: i32,
    body: &'a [u8],
}

impl<'a> Tag<'a> {
    /// A complete tag, and its size with the field that follows it.
    fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let &[kind, s2, s1, s0, t2, t1, t0, t3, ..] = bytes.get(..HEADER_BYTES)? else { return None };
        let size = usize::try_from(u32::from_be_bytes([0, s2, s1, s0])).ok()?;
        let body = bytes.get(HEADER_BYTES..HEADER_BYTES + size)?;
        let stated = bytes.get(HEADER_BYTES + size..HEADER_BYTES + size + SIZE_BYTES)?;
        let stated = u32::from_be_bytes(stated.try_into().ok()?);
        let is_tag = TAG_TYPES.contains(&(kind & 0x1f))
            && usize::try_from(stated).is_ok_and(|stated| stated == HEADER_BYTES + size);
        let milliseconds = i32::from_be_bytes([t3, t2, t1, t0]);
        let kind = u64::from(kind & 0x1f);
        is_tag.then_some((Self { kind, milliseconds, body }, HEADER_BYTES + size + SIZE_BYTES))
    }

    /// Presentation time, seconds. None for tags without sound or a picture.
    fn time(&self) -> Option<f64> {
        let time = f64::from(self.milliseconds) / 1000.0;
        match (self.kind, self.body) {
            (VIDEO, &[codec, kind, c2, c1, c0, ..])
                if matches!(codec & 0x0f, AVC | HEVC) && codec & 0x80 == 0 =>
            {
                let delay = i32::from_be_bytes([c2, c1, c0, 0]) >> 8;
                (kind == PICTURE).then(|| time + f64::from(delay) / 1000.0)
            }
            (VIDEO | AUDIO, [_, _, ..]) => Some(time),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(kind: u8, milliseconds: u32, body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len()).expect("size");
        let [t3, t2, t1, t0] = milliseconds.to_be_bytes();
        let header = [&[kind][..], &size.to_be_bytes()[1..], &[t2, t1, t0, t3, 0, 0, 0]].concat();
        [&header, body, &(size + 11).to_be_bytes()].concat()
    }

    fn part() -> Vec<u8> {
        let picture = |delay: u8, kind: u8| vec![0x27, kind, 0, 0, delay, 1, 2, 3];
        [
            tag(9, 40_000, &picture(80, 1)),
            tag(8, 40_010, &[0xaf, 1, 9]),
            tag(9, 40_040, &picture(0, 1)),
            tag(18, 99_000, b"data"),
            tag(9, 0x0100_0000, &picture(0, 2)),
        ]
        .concat()
    }

    #[test]
    fn times_finds_the_tags_in_a_part() {
        let cut = [b"the rest of a tag \x09\x00".to_vec(), part(), part()[..15].to_vec()].concat();
        let times = times(&cut);
        assert_eq!(
            (times.first, times.last(VIDEO), times.last(AUDIO)),
            (Some(40.08), Some(40.08), Some(40.01))
        );
        assert_eq!(super::times(b"FLV"), PartTimes::default());
    }

    #[test]
    fn another_recording_finds_a_second_header() {
        let header = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00";
        let one = [&header[..], &part()].concat();
        assert_eq!((another_recording(&one, true), another_recording(&one, false)), (None, Some(0)));
        assert_eq!(another_recording(&[&one[..], &one].concat(), true), Some(one.len()));
    }

    proptest! {
        #[test]
        fn times_of_any_bytes_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0_usize..200) {
            let _ = (times(&bytes), another_recording(&bytes, true));
            let mut changed = part();
            let at = at % changed.len();
            changed.splice(at..at, bytes);
            let _ = times(&changed);
        }
    }
}
