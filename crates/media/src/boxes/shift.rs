//! Pictures that are shown in another order than they are decoded in, told so that every reader agrees.
//!
//! A picture's composition offset (14496-12, 8.8.8) says how long after its decoding it is shown. ffmpeg's muxer starts
//! decoding at the first picture's own moment, so a picture that is shown before one that is decoded earlier has a negative
//! offset. Browsers take that as it stands; readers that are built on ffmpeg move the whole track later until none is
//! negative, away from the sound. An edit list instead is what some players in browsers overlook. So all tracks of a video
//! begin a moment later than zero, as the tracks of a transport stream do: then decoding can begin before the first
//! picture's moment, and no offset is negative.

use super::{be32, be64, children, find};

/// Of a track run: offset of the data, flags of the first sample, and the columns of a sample.
const DATA_OFFSET: u32 = 0x01;
const FIRST_FLAGS: u32 = 0x04;
const COLUMNS: [u32; 4] = [0x100, 0x200, 0x400, COMPOSITION];
const COMPOSITION: u32 = 0x800;
/// Signed composition offsets.
const VERSION_1: u32 = 0x0100_0000;

/// How the times of a track's fragments are moved, ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// So much later the first sample is decoded, and all others.
    pub decoding: u32,
    /// So much more time is between a sample's decoding and its being shown.
    pub composition: u32,
}

impl Shift {
    /// Whether nothing is moved.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// A `moof` box's body with its times moved. None where it can't be read.
pub fn shifted(moof: &[u8], by: Shift) -> Option<Vec<u8>> {
    let growth = if by.composition > 0 { growth(find(moof, &[b"traf"])?)? } else { 0 };
    let mut rebuilt = Vec::with_capacity(moof.len() + growth as usize);
    for child in children(moof) {
        if child.kind != *b"traf" {
            put(&mut rebuilt, &child.kind, child.body)?;
            continue;
        }
        let mut track = Vec::with_capacity(child.body.len() + growth as usize);
        for part in children(child.body) {
            match &part.kind {
                b"tfdt" => put(&mut track, b"tfdt", &shifted_time(part.body, by.decoding)?)?,
                b"trun" if by.composition > 0 => {
                    put(&mut track, b"trun", &shifted_run(part.body, growth, by.composition)?)?;
                }
                kind => put(&mut track, kind, part.body)?,
            }
        }
        put(&mut rebuilt, b"traf", &track)?;
    }
    (rebuilt.len() == moof.len() + growth as usize).then_some(rebuilt)
}

/// How much longer a `moof` gets by runs that have no composition offsets yet.
fn growth(traf: &[u8]) -> Option<u32> {
    let runs = children(traf).filter(|part| part.kind == *b"trun");
    let mut growth = 0u32;
    for run in runs {
        if be32(run.body, 0)? & COMPOSITION == 0 {
            // It can't have more samples than bytes of the media that it tells of, which come in one box.
            growth = growth.checked_add(be32(run.body, 4)?.checked_mul(4).filter(|&more| more < 1 << 24)?)?;
        }
    }
    Some(growth)
}

fn shifted_time(time: &[u8], ticks: u32) -> Option<Vec<u8>> {
    let moved = if time.first()? == &1 {
        be64(time, 4)?.checked_add(u64::from(ticks))?.to_be_bytes().to_vec()
    } else {
        be32(time, 4)?.checked_add(ticks)?.to_be_bytes().to_vec()
    };
    (time.len() == 4 + moved.len()).then(|| [&time[..4], &moved].concat())
}

fn shifted_run(run: &[u8], growth: u32, ticks: u32) -> Option<Vec<u8>> {
    let (flags, samples) = (be32(run, 0)?, be32(run, 4)?);
    let mut moved = Vec::with_capacity(run.len() + growth as usize);
    moved.extend((flags | COMPOSITION | VERSION_1).to_be_bytes());
    moved.extend(samples.to_be_bytes());
    let mut at = 8;
    let mut field = || {
        let value = be32(run, at)?;
        at += 4;
        Some(value)
    };
    if flags & DATA_OFFSET != 0 {
        // It counts from the start of the `moof`, which grows.
        moved.extend(field()?.wrapping_add(growth).to_be_bytes());
    }
    if flags & FIRST_FLAGS != 0 {
        moved.extend(field()?.to_be_bytes());
    }
    for _ in 0..samples {
        for column in COLUMNS {
            let told = if flags & column != 0 { Some(field()?) } else { None };
            match told {
                // Signed in this version, and never as large as to be so in the other.
                told if column == COMPOSITION => {
                    moved.extend(told.unwrap_or(0).wrapping_add(ticks).to_be_bytes());
                }
                Some(told) => moved.extend(told.to_be_bytes()),
                None => {}
            }
        }
    }
    (at == run.len()).then_some(moved)
}

fn put(to: &mut Vec<u8>, kind: &[u8; 4], body: &[u8]) -> Option<()> {
    to.extend(u32::try_from(body.len() + 8).ok()?.to_be_bytes());
    to.extend(kind);
    to.extend(body);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Shift, put, shifted};
    use crate::boxes::{be32, find, fragment_facts};
    use proptest::prelude::*;

    const LATER: Shift = Shift { decoding: 512, composition: 1024 };

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        put(&mut whole, kind, body).expect("small");
        whole
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn moof(time: &[u32], run: &[u32]) -> Vec<u8> {
        let parts = [
            boxed(b"tfhd", &words(&[0x0002_0008, 1, 512])),
            boxed(b"tfdt", &words(time)),
            boxed(b"trun", &words(run)),
        ];
        [boxed(b"mfhd", &words(&[0, 1])), boxed(b"traf", &parts.concat())].concat()
    }

    fn words_of(moof: &[u8], kind: &[u8; 4]) -> Vec<u32> {
        let found = find(moof, &[b"traf", kind]).expect("a box");
        (0..found.len() / 4).filter_map(|word| be32(found, word * 4)).collect()
    }

    #[test]
    fn every_sample_is_decoded_and_shown_so_much_later() {
        let minus = (-1024i32) as u32;
        let told = moof(&[0, 7], &[0x0100_0a05, 3, 100, 9, 50, 0, 30, 1024, 20, minus]);
        let moved = shifted(&told, LATER).expect("a fragment");
        assert_eq!(words_of(&moved, b"tfdt"), [0, 519]);
        assert_eq!(words_of(&moved, b"trun"), [0x0100_0a05, 3, 100, 9, 50, 1024, 30, 2048, 20, 0]);
        let (before, after) = (fragment_facts(&told).expect("facts"), fragment_facts(&moved).expect("facts"));
        assert_eq!(
            (after.samples, after.ticks, after.first_sample_end),
            (3, before.ticks, before.first_sample_end)
        );

        let untold = moof(&[0x0100_0000, 1, 5], &[0x0000_0205, 2, 100, 9, 50, 30]);
        let moved = shifted(&untold, LATER).expect("a fragment");
        assert_eq!(words_of(&moved, b"tfdt"), [0x0100_0000, 1, 517]);
        let grown = [0x0100_0a05, 2, 108, 9, 50, 1024, 30, 1024];
        assert_eq!(words_of(&moved, b"trun"), grown, "it has grown by two words");
        assert_eq!(fragment_facts(&moved).expect("facts").first_sample_end, 158);

        let sound = shifted(&untold, Shift { composition: 0, ..LATER }).expect("a fragment");
        assert_eq!(
            words_of(&sound, b"trun"),
            words_of(&untold, b"trun"),
            "nothing but its beginning is moved"
        );
    }

    proptest! {
        #[test]
        fn broken_boxes_never_panic(at in 0usize..90, byte in any::<u8>(), ticks in any::<(u32, u32)>()) {
            let mut told = moof(&[0, 7], &[0x0100_0a05, 3, 100, 9, 50, 0, 30, 1024, 20, 7]);
            let place = at % told.len();
            told[place] = byte;
            let _answered = shifted(&told, Shift { decoding: ticks.0, composition: ticks.1 });
        }
    }
}
