//! Moves the times of a fragment so that no composition offset is negative.
//!
//! A frame's composition offset (14496-12, 8.8.8) is its presentation time minus its decode time. ffmpeg's muxer starts
//! decoding at the presentation time of the first frame, so a reordered frame gets a negative offset. Browsers accept
//! that; players built on ffmpeg delay the whole track until no offset is negative, which breaks lip sync, and some
//! players in browsers ignore an edit list. So all tracks of a video start after zero, as the tracks of a transport
//! stream do: decoding starts before the first frame's presentation time, and no offset is negative.

use super::reader::{be32, be64, children, find};

/// Flags of a track run (`trun`): its data offset, flags of its first sample, and the fields of each sample.
const DATA_OFFSET: u32 = 0x01;
const FIRST_SAMPLE_FLAGS: u32 = 0x04;
const SAMPLE_FIELDS: [u32; 4] = [0x100, 0x200, 0x400, COMPOSITION_OFFSET];
const COMPOSITION_OFFSET: u32 = 0x800;
/// Version 1 of a track run: its composition offsets are signed.
const VERSION_1: u32 = 0x0100_0000;
/// Limit of the bytes by which a track run grows.
const MAX_RUN_GROWTH_BYTES: u32 = 1 << 24;

/// How far the times of a track's fragments are moved, ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Added to every decode time.
    pub decoding: u32,
    /// Added to every composition offset.
    pub composition: u32,
}

impl Shift {
    /// Whether it moves nothing.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// The contents of a `moof` with its times moved. None if they cannot be read.
pub(crate) fn shifted(moof: &[u8], by: Shift) -> Option<Vec<u8>> {
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
                b"tfdt" => {
                    put(&mut track, b"tfdt", &shifted_time(part.body, u64::from(by.decoding))?)?;
                }
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

/// The contents of a `moof` that is decoded `ticks` later, and has a sequence number higher by `numbers`. None if they cannot
/// be read.
pub(crate) fn delayed(moof: &[u8], ticks: u64, numbers: u32) -> Option<Vec<u8>> {
    let mut rebuilt = Vec::with_capacity(moof.len());
    for child in children(moof) {
        match &child.kind {
            b"mfhd" => {
                let number = be32(child.body, 4)?.wrapping_add(numbers).to_be_bytes();
                put(&mut rebuilt, b"mfhd", &[child.body.get(..4)?, &number].concat())?;
            }
            b"traf" => {
                let mut track = Vec::with_capacity(child.body.len());
                for part in children(child.body) {
                    let time = (part.kind == *b"tfdt").then(|| shifted_time(part.body, ticks));
                    let body = time.unwrap_or_else(|| Some(part.body.to_vec()))?;
                    put(&mut track, &part.kind, &body)?;
                }
                put(&mut rebuilt, b"traf", &track)?;
            }
            kind => put(&mut rebuilt, kind, child.body)?,
        }
    }
    (rebuilt.len() == moof.len()).then_some(rebuilt)
}

/// Bytes by which a `moof` grows, because some runs have no composition offsets yet.
fn growth(traf: &[u8]) -> Option<u32> {
    let runs = children(traf).filter(|part| part.kind == *b"trun");
    let mut growth = 0u32;
    for run in runs {
        if be32(run.body, 0)? & COMPOSITION_OFFSET == 0 {
            // The sample count is untrusted. A run has no more samples than its media has bytes.
            let more = be32(run.body, 4)?.checked_mul(4).filter(|&more| more < MAX_RUN_GROWTH_BYTES)?;
            growth = growth.checked_add(more)?;
        }
    }
    Some(growth)
}

fn shifted_time(time: &[u8], ticks: u64) -> Option<Vec<u8>> {
    let moved = if time.first()? == &1 {
        be64(time, 4)?.checked_add(ticks)?.to_be_bytes().to_vec()
    } else {
        be32(time, 4)?.checked_add(u32::try_from(ticks).ok()?)?.to_be_bytes().to_vec()
    };
    (time.len() == 4 + moved.len()).then(|| [&time[..4], &moved].concat())
}

fn shifted_run(run: &[u8], growth: u32, ticks: u32) -> Option<Vec<u8>> {
    let (flags, samples) = (be32(run, 0)?, be32(run, 4)?);
    let mut moved = Vec::with_capacity(run.len() + growth as usize);
    moved.extend((flags | COMPOSITION_OFFSET | VERSION_1).to_be_bytes());
    moved.extend(samples.to_be_bytes());
    let mut at = 8;
    let mut field = || {
        let value = be32(run, at)?;
        at += 4;
        Some(value)
    };
    if flags & DATA_OFFSET != 0 {
        // The offset counts from the start of the `moof`, which grows.
        moved.extend(field()?.wrapping_add(growth).to_be_bytes());
    }
    if flags & FIRST_SAMPLE_FLAGS != 0 {
        moved.extend(field()?.to_be_bytes());
    }
    for _ in 0..samples {
        for sample_field in SAMPLE_FIELDS {
            let value = if flags & sample_field != 0 { Some(field()?) } else { None };
            match value {
                // Signed in version 1. Offsets of version 0 are never large enough to read as negative.
                value if sample_field == COMPOSITION_OFFSET => {
                    moved.extend(value.unwrap_or(0).wrapping_add(ticks).to_be_bytes());
                }
                Some(value) => moved.extend(value.to_be_bytes()),
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
    use proptest::prelude::*;

    use super::{
        super::{
            fragment::fragment_facts,
            reader::{be32, find},
        },
        Shift, delayed, put, shifted,
    };

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
    fn shifted_moof_moves_decode_times_and_composition_offsets() {
        let minus = (-1024i32) as u32;
        let original = moof(&[0, 7], &[0x0100_0a05, 3, 100, 9, 50, 0, 30, 1024, 20, minus]);
        let moved = shifted(&original, LATER).expect("a fragment");
        assert_eq!(words_of(&moved, b"tfdt"), [0, 519]);
        assert_eq!(words_of(&moved, b"trun"), [0x0100_0a05, 3, 100, 9, 50, 1024, 30, 2048, 20, 0]);
        let (before, after) =
            (fragment_facts(&original).expect("facts"), fragment_facts(&moved).expect("facts"));
        assert_eq!(
            (after.samples, after.ticks, after.first_sample_end),
            (3, before.ticks, before.first_sample_end)
        );

        let without_offsets = moof(&[0x0100_0000, 1, 5], &[0x0000_0205, 2, 100, 9, 50, 30]);
        let moved = shifted(&without_offsets, LATER).expect("a fragment");
        assert_eq!(words_of(&moved, b"tfdt"), [0x0100_0000, 1, 517]);
        let grown = [0x0100_0a05, 2, 108, 9, 50, 1024, 30, 1024];
        assert_eq!(words_of(&moved, b"trun"), grown, "the run grew by two words");
        assert_eq!(fragment_facts(&moved).expect("facts").first_sample_end, 158);

        let audio = shifted(&without_offsets, Shift { composition: 0, ..LATER }).expect("a fragment");
        assert_eq!(
            words_of(&audio, b"trun"),
            words_of(&without_offsets, b"trun"),
            "only the decode time is moved"
        );
    }

    #[test]
    fn delayed_moof_is_later_and_has_a_higher_number() {
        let run = [0x0100_0a05, 2, 100, 9, 50, 0, 30, 1024];
        let original = moof(&[0x0100_0000, 1, 5], &run);
        let later = delayed(&original, 1 << 33, 3).expect("a fragment");
        assert_eq!(words_of(&later, b"tfdt"), [0x0100_0000, 3, 5]);
        assert_eq!(words_of(&later, b"trun"), run);
        assert_eq!(find(&later, &[b"mfhd"]), Some(&[0, 0, 0, 0, 0, 0, 0, 4][..]));
        assert_eq!(delayed(&moof(&[0, 7], &run), 1 << 33, 1), None, "too late for 32 bits");
    }

    proptest! {
        #[test]
        fn shifted_broken_box_does_not_panic(at in 0usize..90, byte in any::<u8>(), ticks in any::<(u32, u32)>()) {
            let mut original = moof(&[0, 7], &[0x0100_0a05, 3, 100, 9, 50, 0, 30, 1024, 20, 7]);
            let index = at % original.len();
            original[index] = byte;
            let _ignored = shifted(&original, Shift { decoding: ticks.0, composition: ticks.1 });
            let _ignored = delayed(&original, u64::from(ticks.0), ticks.1);
        }
    }
}
