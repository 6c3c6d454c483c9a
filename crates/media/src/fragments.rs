//! Cuts a stream of fragmented MP4 into its initialisation segment and its media segments as the bytes arrive, buffering
//! at most one segment.

use bytes::{Bytes, BytesMut};

pub use crate::boxes::Shift;
use crate::boxes::{FragmentFacts, codec, delayed, fragment_facts, header, shifted, timescale};

/// The largest accepted box: many times the four seconds that an encoder writes into one.
const MAX_BOX_BYTES: u64 = 128 * 1024 * 1024;

/// A complete part of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// `ftyp` and `moov`: the first part, once.
    Init(Init),
    /// A media segment: `moof` and `mdat` with the boxes before them.
    Fragment(Fragment),
}

/// The initialisation segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Init {
    /// Its bytes.
    pub bytes: Bytes,
    /// RFC 6381 codec string.
    pub codec: String,
    /// Ticks per second.
    pub timescale: u32,
}

/// A media segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragment {
    /// Its bytes.
    pub bytes: Bytes,
    /// Decode time of its first frame before the shift, seconds.
    pub start: f64,
    /// Duration, seconds.
    pub seconds: f64,
    /// The same as `start`, ticks of the initialisation segment's timescale.
    pub start_ticks: u64,
    /// Duration, ticks.
    pub ticks: u64,
    /// Number of frames.
    pub frames: u32,
    /// Whether it starts with a keyframe, and so can be decoded independently.
    pub starts_with_keyframe: bool,
    /// Bytes from its start to the end of its first frame, if that is a keyframe; 0 if it is not one, or if sizes are
    /// not given.
    pub keyframe_bytes: u64,
}

impl Fragment {
    /// The same frames, `ticks` later and numbered as `numbers` fragments later.
    ///
    /// # Errors
    /// When the boxes cannot be read.
    pub fn delayed(&self, numbers: u32, ticks: u64) -> Result<Self, FragmentError> {
        let mut bytes = BytesMut::with_capacity(self.bytes.len());
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let (head, size) = header(rest).ok_or(FragmentError::BadBox)?;
            let size = usize::try_from(size).map_err(|_| FragmentError::BadBox)?;
            let whole = rest.get(..size).ok_or(FragmentError::BadBox)?;
            bytes.extend_from_slice(&whole[..head]);
            if whole[4..8] == *b"moof" {
                let moved = delayed(&whole[head..], ticks, numbers).ok_or(FragmentError::BadFragment)?;
                bytes.extend_from_slice(&moved);
            } else {
                bytes.extend_from_slice(&whole[head..]);
            }
            rest = &rest[size..];
        }
        Ok(Self {
            bytes: bytes.freeze(),
            start: self.start + self.seconds * (ticks as f64 / self.ticks.max(1) as f64),
            start_ticks: self.start_ticks.saturating_add(ticks),
            ..self.clone()
        })
    }
}

/// Why a stream is not a readable fragmented MP4.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// The size of a box is impossible.
    #[error("a box of the encoder's output has an impossible size")]
    BadBox,
    /// The header has no known codec or no timescale.
    #[error("the encoder's output has a header that cannot be read")]
    BadHeader,
    /// A fragment cannot be read, or comes before the header.
    #[error("the encoder's output has a fragment that cannot be read")]
    BadFragment,
    /// The stream ended inside a box.
    #[error("the encoder's output ended in the middle of a fragment")]
    CutShort,
}

/// Incremental reader of one track.
#[derive(Default)]
pub struct Fragments {
    buffer: BytesMut,
    /// Bytes at the start of `buffer` whose boxes were read and belong to the next part.
    scanned: usize,
    timescale: Option<u32>,
    /// How far the times in the bytes are moved. The fields of a part are those before the shift.
    shift: Shift,
    /// The last `moof`: its offset in `buffer`, and its facts.
    moof: Option<(usize, FragmentFacts)>,
}

impl Fragments {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that moves the times in the returned bytes. The fields of a part are those before the shift.
    pub fn shifted(shift: Shift) -> Self {
        Self { shift, ..Self::default() }
    }

    /// Appends bytes, and returns the parts that they complete.
    ///
    /// # Errors
    /// When the stream is not a fragmented MP4 of one track.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Part>, FragmentError> {
        self.buffer.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some((head, size)) = self.next_box()? {
            let start = self.scanned;
            let Some(end) = start.checked_add(size).filter(|&end| end <= self.buffer.len()) else { break };
            let mut kind = [0; 4];
            kind.copy_from_slice(&self.buffer[start + 4..start + 8]);
            let moves = kind == *b"moof" && !self.shift.is_none();
            let end = if moves { self.shift_box(start, head, end)? } else { end };
            self.scanned = end;
            match &kind {
                b"moov" => parts.push(Part::Init(self.init(start + head, end)?)),
                b"moof" => {
                    let facts = fragment_facts(&self.buffer[start + head..end]);
                    self.moof = Some((start, facts.ok_or(FragmentError::BadFragment)?));
                }
                b"mdat" => parts.push(Part::Fragment(self.fragment()?)),
                _ => {}
            }
        }
        Ok(parts)
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// `CutShort` when the last part is incomplete.
    pub fn finish(self) -> Result<(), FragmentError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(FragmentError::CutShort) }
    }

    /// Header length and whole size of the box at `scanned`, once its header has arrived.
    fn next_box(&self) -> Result<Option<(usize, usize)>, FragmentError> {
        let rest = &self.buffer[self.scanned..];
        match header(rest) {
            Some((_, size)) if size > MAX_BOX_BYTES => Err(FragmentError::BadBox),
            Some((head, size)) => Ok(Some((head, usize::try_from(size).map_err(|_| FragmentError::BadBox)?))),
            None if rest.len() >= 16 => Err(FragmentError::BadBox),
            None => Ok(None),
        }
    }

    /// Moves the times in a `moof`. Returns the new offset of the end of the box.
    fn shift_box(&mut self, start: usize, head: usize, end: usize) -> Result<usize, FragmentError> {
        let body = &self.buffer[start + head..end];
        let moved = shifted(body, self.shift).ok_or(FragmentError::BadFragment)?;
        let size = u32::try_from(head + moved.len()).map_err(|_| FragmentError::BadBox)?;
        let rest = self.buffer.split_off(end);
        self.buffer.truncate(start + head);
        self.buffer[start..start + 4].copy_from_slice(&size.to_be_bytes());
        self.buffer.extend_from_slice(&moved);
        self.buffer.unsplit(rest);
        Ok(start + head + moved.len())
    }

    fn take(&mut self) -> Bytes {
        let bytes = self.buffer.split_to(self.scanned).freeze();
        self.scanned = 0;
        bytes
    }

    fn init(&mut self, start: usize, end: usize) -> Result<Init, FragmentError> {
        let moov = &self.buffer[start..end];
        let codec = codec(moov).ok_or(FragmentError::BadHeader)?;
        let timescale = timescale(moov).ok_or(FragmentError::BadHeader)?;
        self.timescale = Some(timescale);
        Ok(Init { bytes: self.take(), codec, timescale })
    }

    fn fragment(&mut self) -> Result<Fragment, FragmentError> {
        let (moof, facts) = self.moof.take().ok_or(FragmentError::BadFragment)?;
        let ticks = f64::from(self.timescale.ok_or(FragmentError::BadFragment)?);
        let bytes = self.take();
        let start = facts.start - u64::from(self.shift.decoding).min(facts.start);
        let is_known = facts.starts_with_keyframe && facts.first_sample_end > 0;
        let keyframe = if is_known { moof as u64 + facts.first_sample_end } else { 0 };
        Ok(Fragment {
            start: start as f64 / ticks,
            seconds: facts.ticks as f64 / ticks,
            start_ticks: start,
            ticks: facts.ticks,
            frames: facts.samples,
            starts_with_keyframe: facts.starts_with_keyframe,
            keyframe_bytes: if keyframe <= bytes.len() as u64 { keyframe } else { 0 },
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{FragmentError, Fragments, Part, Shift};

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len() + 8).expect("small");
        [&size.to_be_bytes()[..], kind, body].concat()
    }

    fn moov() -> Vec<u8> {
        let mut avc1 = vec![0; 78];
        avc1.extend(boxed(b"avcC", &[1, 0x64, 0, 0x1f, 0xff]));
        let stsd = boxed(b"stsd", &[&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(b"avc1", &avc1)].concat());
        let stbl = boxed(b"minf", &boxed(b"stbl", &stsd));
        let mut mdhd = vec![0; 24];
        mdhd[12..16].copy_from_slice(&15_360u32.to_be_bytes());
        boxed(b"moov", &boxed(b"trak", &boxed(b"mdia", &[boxed(b"mdhd", &mdhd), stbl].concat())))
    }

    fn fragment(start: u64, frames: u32, key: bool) -> Vec<u8> {
        let flags = if key { 0x0200_0000u32 } else { 0x0101_0000 };
        let tfhd = [0x0002_0008u32.to_be_bytes(), 1u32.to_be_bytes(), 512u32.to_be_bytes()].concat();
        let tfdt = [&[1, 0, 0, 0][..], &start.to_be_bytes()].concat();
        let trun = [0x04u32.to_be_bytes(), frames.to_be_bytes(), flags.to_be_bytes()].concat();
        let traf = [boxed(b"tfhd", &tfhd), boxed(b"tfdt", &tfdt), boxed(b"trun", &trun)].concat();
        [boxed(b"styp", b"msdh"), boxed(b"moof", &boxed(b"traf", &traf)), boxed(b"mdat", &[7; 100])].concat()
    }

    fn stream() -> Vec<u8> {
        [boxed(b"ftyp", b"iso6"), moov(), fragment(0, 120, true), fragment(61_440, 30, false)].concat()
    }

    #[test]
    fn push_whole_stream_returns_init_and_fragments() {
        let mut reader = Fragments::new();
        let parts = reader.push(&stream()).expect("parts");
        reader.finish().expect("whole");
        let [Part::Init(init), Part::Fragment(first), Part::Fragment(second)] = &parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!((init.codec.as_str(), init.timescale), ("avc1.64001f", 15_360));
        assert_eq!((first.start, first.seconds, first.frames), (0.0, 4.0, 120));
        assert!(first.starts_with_keyframe && !second.starts_with_keyframe);
        assert_eq!((second.start, second.seconds), (4.0, 1.0));
        assert_eq!((second.start_ticks, second.ticks), (61_440, 15_360));
        assert_eq!((first.keyframe_bytes, second.keyframe_bytes), (0, 0), "sizes are not given");
        assert!(second.bytes[4..8] == *b"styp");
    }

    /// A fragment of three samples of 50, 30 and 20 bytes after a `styp` of 12 bytes.
    fn sized(tfhd_flags: u32, offset: i32, first: [u8; 4]) -> Vec<u8> {
        let base: &[u8] = if tfhd_flags & 1 != 0 { &[0; 8] } else { &[] };
        let tfhd = [&tfhd_flags.to_be_bytes()[..], &1u32.to_be_bytes(), base, &512u32.to_be_bytes()].concat();
        let mut trun = [0x305u32.to_be_bytes(), 3u32.to_be_bytes(), offset.to_be_bytes(), first].concat();
        for size in [50u32, 30, 20] {
            trun.extend([512u32.to_be_bytes(), size.to_be_bytes()].concat());
        }
        let traf = [boxed(b"tfhd", &tfhd), boxed(b"tfdt", &[0; 8]), boxed(b"trun", &trun)].concat();
        [boxed(b"styp", b"msdh"), boxed(b"moof", &boxed(b"traf", &traf)), boxed(b"mdat", &[7; 100])].concat()
    }

    fn keyframe_bytes(fragment: &[u8]) -> u64 {
        let mut reader = Fragments::new();
        reader.push(&moov()).expect("a header");
        match &reader.push(fragment).expect("a fragment")[..] {
            [Part::Fragment(fragment)] => fragment.keyframe_bytes,
            parts => panic!("{parts:?}"),
        }
    }

    #[test]
    fn push_returns_the_size_of_a_leading_keyframe() {
        let (key, other) = ([2, 0, 0, 0], [1, 1, 0, 0]);
        let media = sized(0x0002_0008, 0, key).len() - 100;
        let offset = i32::try_from(media - 12).expect("small");
        let size = |flags, offset, first| keyframe_bytes(&sized(flags, offset, first));
        assert_eq!(size(0x0002_0008, offset, key), media as u64 + 50);
        assert_eq!(size(0x0002_0008, offset, other), 0, "not a keyframe");
        assert_eq!(size(0x09, offset, key), 0, "offsets do not count from the moof");
        assert_eq!(size(0x0002_0008, offset + 51, key), 0, "beyond the fragment");
        assert_eq!(size(0x0002_0008, -9, key), 0, "before the fragment");
    }

    #[test]
    fn push_with_shift_moves_times_in_the_bytes_only() {
        let mut reader = Fragments::shifted(Shift { decoding: 512, composition: 1024 });
        let key = [2, 0, 0, 0];
        let media = sized(0x0002_0008, 0, key).len() - 100;
        let offset = i32::try_from(media - 12).expect("small");
        let parts = reader.push(&[moov(), sized(0x0002_0008, offset, key), fragment(4096, 2, true)].concat());
        let parts = parts.expect("parts");
        reader.finish().expect("whole");
        let [Part::Init(_), Part::Fragment(first), Part::Fragment(second)] = &parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!((first.start_ticks, second.start_ticks), (0, 4096));
        assert_eq!(first.keyframe_bytes, media as u64 + 3 * 4 + 50, "three offsets precede it");
        assert_eq!(first.bytes.len(), media + 3 * 4 + 100);
        let mut unshifted = Fragments::new();
        unshifted.push(&moov()).expect("a header");
        let moved = unshifted.push(&second.bytes).expect("a fragment");
        assert!(matches!(&moved[..], [Part::Fragment(moved)] if moved.start_ticks == 4608), "{moved:?}");
    }

    #[test]
    fn finish_truncated_or_broken_stream_returns_error() {
        let mut reader = Fragments::new();
        let whole = stream();
        reader.push(&whole[..whole.len() - 1]).expect("parts");
        assert_eq!(reader.finish(), Err(FragmentError::CutShort));
        assert_eq!(Fragments::new().push(&[0; 16]), Err(FragmentError::BadBox));
        assert_eq!(Fragments::new().push(&fragment(0, 1, true)), Err(FragmentError::BadFragment));
    }

    proptest! {
        #[test]
        fn push_in_pieces_returns_the_same_parts(sizes in proptest::collection::vec(1usize..200, 1..200)) {
            let whole = stream();
            let mut at_once = Fragments::new();
            let expected = at_once.push(&whole).expect("parts");
            let mut reader = Fragments::new();
            let (mut parts, mut rest, mut sizes) = (Vec::new(), &whole[..], sizes.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                parts.extend(reader.push(now).expect("parts"));
                rest = later;
            }
            prop_assert_eq!(parts, expected);
            prop_assert!(reader.finish().is_ok());
        }

        #[test]
        fn push_broken_stream_does_not_panic(at in 0usize..600, byte in any::<u8>(), junk in any::<[u8; 32]>()) {
            let mut whole = stream();
            let index = at % whole.len();
            whole[index] = byte;
            whole.extend(junk);
            let _ignored = Fragments::new().push(&whole);
        }
    }
}
