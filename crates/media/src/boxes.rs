//! The few boxes of the ISO base media file format (ISO/IEC 14496-12, -14, -15) that segments and
//! playlists need. Every length comes from outside and is checked.

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

/// The track's RFC 6381 codec string, as `avc1.64001f` or `mp4a.40.2`.
pub fn codec(moov: &[u8]) -> Option<String> {
    let stsd = find(moov, &[b"trak", b"mdia", b"minf", b"stbl", b"stsd"])?;
    let entry = children(stsd.get(8..)?).next()?;
    match &entry.kind {
        b"avc1" | b"avc3" => {
            let avcc = find(entry.body.get(78..)?, &[b"avcC"])?;
            let &[_, profile, constraints, level, ..] = avcc else { return None };
            let kind = std::str::from_utf8(&entry.kind).ok()?.to_owned();
            Some(format!("{kind}.{profile:02x}{constraints:02x}{level:02x}"))
        }
        b"mp4a" => {
            let esds = find(entry.body.get(28..)?, &[b"esds"])?;
            Some(format!("mp4a.40.{}", audio_object_type(esds.get(4..)?)?))
        }
        _ => None,
    }
}

/// The AAC object type inside an elementary stream descriptor (ISO/IEC 14496-1, 7.2.6).
fn audio_object_type(esds: &[u8]) -> Option<u8> {
    let (tag, body) = descriptor(esds)?;
    let config = (tag == 3).then(|| body.get(3..)).flatten()?;
    let (tag, body) = descriptor(config)?;
    let specific = (tag == 4 && body.first() == Some(&0x40)).then(|| body.get(13..)).flatten()?;
    let (tag, body) = descriptor(specific)?;
    (tag == 5).then(|| body.first().map(|first| first >> 3)).flatten()
}

/// Tag and body of a descriptor whose length is written in up to four groups of seven bits.
fn descriptor(data: &[u8]) -> Option<(u8, &[u8])> {
    let tag = *data.first()?;
    let mut length = 0usize;
    for (place, &byte) in data.get(1..)?.iter().take(4).enumerate() {
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let start = place + 2;
            let end = start.checked_add(length)?.min(data.len());
            return Some((tag, data.get(start..end)?));
        }
    }
    None
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
}

/// Reads the one track of a `moof`.
pub fn fragment_facts(moof: &[u8]) -> Option<FragmentFacts> {
    let traf = find(moof, &[b"traf"])?;
    let (default_ticks, default_flags) = fragment_defaults(find(traf, &[b"tfhd"])?)?;
    let mut facts =
        FragmentFacts { start: decode_time(traf)?, ticks: 0, samples: 0, starts_with_keyframe: false };
    for run in children(traf).filter(|child| child.kind == *b"trun") {
        add_run(&mut facts, run.body, default_ticks, default_flags)?;
    }
    (facts.samples > 0).then_some(facts)
}

fn decode_time(traf: &[u8]) -> Option<u64> {
    let tfdt = find(traf, &[b"tfdt"])?;
    if tfdt.first() == Some(&1) { be64(tfdt, 4) } else { be32(tfdt, 4).map(u64::from) }
}

/// Default duration and flags of a sample, from `tfhd`.
fn fragment_defaults(tfhd: &[u8]) -> Option<(u32, u32)> {
    let flags = be32(tfhd, 0)?;
    let mut at = 8;
    at += if flags & 0x01 != 0 { 8 } else { 0 };
    at += if flags & 0x02 != 0 { 4 } else { 0 };
    let field = |present: bool, at: &mut usize| -> Option<u32> {
        if !present {
            return Some(0);
        }
        let value = be32(tfhd, *at);
        *at += 4;
        value
    };
    let ticks = field(flags & 0x08 != 0, &mut at)?;
    field(flags & 0x10 != 0, &mut at)?;
    let sample_flags = field(flags & 0x20 != 0, &mut at)?;
    Some((ticks, sample_flags))
}

fn add_run(facts: &mut FragmentFacts, trun: &[u8], default_ticks: u32, default_flags: u32) -> Option<()> {
    const NOT_A_KEYFRAME: u32 = 0x0001_0000;
    let flags = be32(trun, 0)?;
    let samples = be32(trun, 4)?;
    let mut at = 8 + if flags & 0x01 != 0 { 4 } else { 0 };
    let mut first_flags = default_flags;
    if flags & 0x04 != 0 {
        first_flags = be32(trun, at)?;
        at += 4;
    }
    let width = [0x100u32, 0x200, 0x400, 0x800].iter().filter(|&&bit| flags & bit != 0).count() * 4;
    let flags_at = [0x100u32, 0x200].iter().filter(|&&bit| flags & bit != 0).count() * 4;
    if flags & 0x400 != 0 && flags & 0x04 == 0 && samples > 0 {
        first_flags = be32(trun, at + flags_at)?;
    }
    if facts.samples == 0 {
        facts.starts_with_keyframe = first_flags & NOT_A_KEYFRAME == 0;
    }
    if flags & 0x100 == 0 {
        facts.ticks = facts.ticks.saturating_add(u64::from(samples) * u64::from(default_ticks));
    } else {
        let table = trun.get(at..)?;
        for sample in 0..usize::try_from(samples).ok()? {
            facts.ticks = facts.ticks.saturating_add(u64::from(be32(table, sample.checked_mul(width)?)?));
        }
    }
    facts.samples = facts.samples.checked_add(samples)?;
    Some(())
}
