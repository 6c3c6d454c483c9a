//! The few boxes of the ISO base media file format (ISO/IEC 14496-12, -14, -15) that segments and
//! playlists need. Every length comes from outside and is checked.

mod codecs;
mod shift;

pub use codecs::codec;
pub use shift::{Shift, shifted};

/// A box's four-character kind and contents.
#[derive(Clone, Copy)]
pub struct Mp4Box<'a> {
    /// The kind, as `b"moof"`.
    pub kind: [u8; 4],
    /// What is inside, without the header.
    pub body: &'a [u8],
}

/// The boxes in `data`, up to the first broken one.
pub fn children(data: &[u8]) -> impl Iterator<Item = Mp4Box<'_>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (header, size) = header(rest)?;
        let size = usize::try_from(size).ok()?;
        let kind = rest.get(4..8)?.try_into().ok()?;
        let body = rest.get(header..size)?;
        rest = rest.get(size..)?;
        Some(Mp4Box { kind, body })
    })
}

/// The header's length and the whole box's, header included. None while bytes are missing, or
/// where the sizes contradict each other.
pub fn header(data: &[u8]) -> Option<(usize, u64)> {
    let (header, size) = match be32(data, 0)? {
        1 => (16, be64(data, 8)?),
        short => (8, u64::from(short)),
    };
    data.get(4..8)?;
    (size >= header as u64).then_some((header, size))
}

/// The first box found by following `path` of kinds downwards.
pub fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let (first, deeper) = path.split_first()?;
    let found = children(data).find(|child| child.kind == **first)?.body;
    if deeper.is_empty() { Some(found) } else { find(found, deeper) }
}

/// A big-endian 16-bit number.
pub fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// A big-endian 32-bit number.
pub fn be32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A big-endian 64-bit number.
pub fn be64(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(data.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The track's timescale (ticks a second) from `moov/trak/mdia/mdhd`.
pub fn timescale(moov: &[u8]) -> Option<u32> {
    let mdhd = find(moov, &[b"trak", b"mdia", b"mdhd"])?;
    let at = if mdhd.first() == Some(&1) { 20 } else { 12 };
    be32(mdhd, at).filter(|&ticks| ticks > 0)
}

/// What a movie fragment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentFacts {
    /// When it begins, ticks.
    pub start: u64,
    /// How long it is, ticks.
    pub ticks: u64,
    /// Samples (frames) in it.
    pub samples: u32,
    /// Whether its first sample can be decoded by itself.
    pub starts_with_keyframe: bool,
    /// Bytes from the start of the `moof` to the end of the first sample; 0 where it does not tell.
    pub first_sample_end: u64,
}

/// Reads the one track of a `moof`.
pub fn fragment_facts(moof: &[u8]) -> Option<FragmentFacts> {
    let traf = find(moof, &[b"traf"])?;
    let defaults = Defaults::read(find(traf, &[b"tfhd"])?)?;
    let mut facts = FragmentFacts {
        start: decode_time(traf)?,
        ticks: 0,
        samples: 0,
        starts_with_keyframe: false,
        first_sample_end: 0,
    };
    for run in children(traf).filter(|child| child.kind == *b"trun") {
        add_run(&mut facts, run.body, defaults)?;
    }
    (facts.samples > 0).then_some(facts)
}

fn decode_time(traf: &[u8]) -> Option<u64> {
    let tfdt = find(traf, &[b"tfdt"])?;
    if tfdt.first() == Some(&1) { be64(tfdt, 4) } else { be32(tfdt, 4).map(u64::from) }
}

/// What `tfhd` says of every sample that says nothing itself.
#[derive(Clone, Copy)]
struct Defaults {
    ticks: u32,
    size: u32,
    flags: u32,
    /// Whether places of samples count from the start of the `moof`.
    from_moof: bool,
}

impl Defaults {
    fn read(tfhd: &[u8]) -> Option<Self> {
        let flags = be32(tfhd, 0)?;
        let mut at = 8;
        at += if flags & 0x01 != 0 { 8 } else { 0 };
        at += if flags & 0x02 != 0 { 4 } else { 0 };
        let mut field = |bit: u32| -> Option<u32> {
            if flags & bit == 0 {
                return Some(0);
            }
            let value = be32(tfhd, at);
            at += 4;
            value
        };
        Some(Self {
            ticks: field(0x08)?,
            size: field(0x10)?,
            flags: field(0x20)?,
            // Without an offset of its own, the first track's data counts from there in any case.
            from_moof: flags & 0x01 == 0,
        })
    }
}

fn add_run(facts: &mut FragmentFacts, trun: &[u8], defaults: Defaults) -> Option<()> {
    const NOT_A_KEYFRAME: u32 = 0x0001_0000;
    let flags = be32(trun, 0)?;
    let samples = be32(trun, 4)?;
    let mut at = 8 + if flags & 0x01 != 0 { 4 } else { 0 };
    let mut first_flags = defaults.flags;
    if flags & 0x04 != 0 {
        first_flags = be32(trun, at)?;
        at += 4;
    }
    // Bytes of a row's fields: duration, size, flags, composition offset.
    let width = |bits: u32| (flags & bits).count_ones() as usize * 4;
    if flags & 0x400 != 0 && flags & 0x04 == 0 && samples > 0 {
        first_flags = be32(trun, at + width(0x300))?;
    }
    if facts.samples == 0 && samples > 0 {
        facts.starts_with_keyframe = first_flags & NOT_A_KEYFRAME == 0;
        let size = if flags & 0x200 != 0 { be32(trun, at + width(0x100))? } else { defaults.size };
        if flags & 0x01 != 0 && defaults.from_moof && size > 0 {
            // The offset is signed. A negative one, which no segment has, reads as beyond its end.
            facts.first_sample_end = u64::from(be32(trun, 8)?) + u64::from(size);
        }
    }
    if flags & 0x100 == 0 {
        facts.ticks = facts.ticks.saturating_add(u64::from(samples) * u64::from(defaults.ticks));
    } else {
        let table = trun.get(at..)?;
        for sample in 0..usize::try_from(samples).ok()? {
            let row = sample.checked_mul(width(0xf00))?;
            facts.ticks = facts.ticks.saturating_add(u64::from(be32(table, row)?));
        }
    }
    facts.samples = facts.samples.checked_add(samples)?;
    Some(())
}
