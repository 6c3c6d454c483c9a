//! Times and sizes of a movie fragment (`moof`).

use super::reader::{be32, be64, children, find};

/// What a movie fragment contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FragmentFacts {
    /// Decode time of its first sample, ticks.
    pub(crate) start: u64,
    /// Duration, ticks.
    pub(crate) ticks: u64,
    /// Number of samples (frames).
    pub(crate) samples: u32,
    /// Whether its first sample is a keyframe.
    pub(crate) starts_with_keyframe: bool,
    /// Bytes from the start of the `moof` to the end of the first sample; 0 if unknown.
    pub(crate) first_sample_end: u64,
}

/// Reads the single track of a `moof`.
pub(crate) fn fragment_facts(moof: &[u8]) -> Option<FragmentFacts> {
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

/// The sample defaults of `tfhd`, for samples without values of their own.
#[derive(Clone, Copy)]
struct Defaults {
    ticks: u32,
    size: u32,
    flags: u32,
    /// Whether data offsets count from the start of the `moof`.
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
            // Without a base data offset, the first track's data counts from the `moof` in any case.
            from_moof: flags & 0x01 == 0,
        })
    }
}

fn add_run(facts: &mut FragmentFacts, trun: &[u8], defaults: Defaults) -> Option<()> {
    const NON_SYNC_SAMPLE: u32 = 0x0001_0000;
    let flags = be32(trun, 0)?;
    let samples = be32(trun, 4)?;
    let mut at = 8 + if flags & 0x01 != 0 { 4 } else { 0 };
    let mut first_flags = defaults.flags;
    if flags & 0x04 != 0 {
        first_flags = be32(trun, at)?;
        at += 4;
    }
    // Bytes of the given fields of a sample: duration, size, flags, composition offset.
    let width = |bits: u32| (flags & bits).count_ones() as usize * 4;
    if flags & 0x400 != 0 && flags & 0x04 == 0 && samples > 0 {
        first_flags = be32(trun, at + width(0x300))?;
    }
    if facts.samples == 0 && samples > 0 {
        facts.starts_with_keyframe = first_flags & NON_SYNC_SAMPLE == 0;
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
