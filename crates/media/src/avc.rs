//! The sequence parameters of H.264 in a container's description of a track (ISO/IEC 14496-15, 5.3.3.1; ITU-T H.264, 7.3.2.1).

/// First byte of the description: its version.
const VERSION: u8 = 1;
/// Reserved bits before the number of parameter sets, of which there is one.
const ONE_SET: u8 = 0xe1;
/// First byte of a set: its type, with either importance.
const SET_TYPES: [u8; 3] = [0x67, 0x47, 0x27];
/// Profiles whose parameters have a chroma format.
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
/// What is needed of a set is in its first bytes.
const MAX_SET_BYTES: usize = 1024;
/// Scaling lists: six of 16 values, the rest of 64.
const SMALL_LISTS: u32 = 6;

/// Whether frames of H.264 may consist of two fields, by the first description in a part of a file. None if there is none.
pub fn may_have_fields(part: &[u8]) -> Option<bool> {
    let starts = (0..part.len().saturating_sub(9)).filter(|&at| {
        let window = &part[at..];
        window[0] == VERSION && window[5] == ONE_SET && SET_TYPES.contains(&window[8])
    });
    starts
        .filter_map(|at| {
            let [profile, set_profile] = [part[at + 1], *part.get(at + 9)?];
            let length = usize::from(u16::from_be_bytes([part[at + 6], part[at + 7]]));
            let set = part.get(at + 9..at + 8 + length).filter(|_| profile == set_profile)?;
            fields_of(&set[..set.len().min(MAX_SET_BYTES)])
        })
        .next()
}

/// From a set without its first byte.
fn fields_of(set: &[u8]) -> Option<bool> {
    let mut bits = Bits { bytes: without_escapes(set), at: 24 };
    let profile = u32::from(*set.first()?);
    bits.exp_golomb()?;
    if HIGH_PROFILES.contains(&profile) {
        let chroma = bits.exp_golomb()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.take(1)? == 1 {
                    bits.skip_list(if list < SMALL_LISTS { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.exp_golomb()?;
    match bits.exp_golomb()? {
        0 => drop(bits.exp_golomb()?),
        1 => {
            bits.take(1)?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            for _ in 0..bits.exp_golomb()?.min(255) {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    bits.exp_golomb()?;
    bits.take(1)?;
    bits.exp_golomb()?;
    bits.exp_golomb()?;
    Some(bits.take(1)? == 0)
}

/// Removes the bytes that keep start codes out of the set.
fn without_escapes(set: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::with_capacity(set.len());
    let mut zeros = 0;
    for &byte in set {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        bytes.push(byte);
    }
    bytes
}

struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = u32::from(*self.bytes.get(self.at / 8)?);
            value = value << 1 | byte >> (7 - self.at % 8) & 1;
            self.at += 1;
        }
        Some(value)
    }

    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
        }
        (zeros < 32).then_some(())?;
        Some((1_u32 << zeros) - 1 + self.take(zeros)?)
    }

    fn skip_list(&mut self, size: u32) -> Option<()> {
        let (mut last, mut next) = (8_i32, 8_i32);
        for _ in 0..size {
            if next != 0 {
                let code = i32::try_from(self.exp_golomb()?).ok()?;
                let delta = if code % 2 == 0 { -(code / 2) } else { code / 2 + 1 };
                next = (last + delta).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::may_have_fields;

    // Descriptions that x264 wrote: 64x36; the same with `interlaced=1`; of the baseline profile.
    const PROGRESSIVE: &[u8] = &[
        1, 100, 0, 10, 255, 225, 0, 25, 103, 100, 0, 10, 172, 217, 68, 127, 159, 1, 16, 0, 0, 3, 0, 16, 0, 0,
        3, 3, 32, 241, 34, 89, 96, 1, 0, 6, 104, 235,
    ];
    const INTERLACED: &[u8] = &[
        1, 100, 0, 21, 255, 225, 0, 25, 103, 100, 0, 21, 172, 217, 68, 79, 196, 96, 34, 0, 0, 3, 0, 2, 0, 0,
        3, 0, 100, 62, 40, 83, 44, 1, 0, 6, 104, 251,
    ];
    const BASELINE: &[u8] = &[
        1, 66, 192, 10, 255, 225, 0, 24, 103, 66, 192, 10, 217, 4, 127, 159, 1, 16, 0, 0, 3, 0, 16, 0, 0, 3,
        3, 32, 241, 34, 100, 128, 1, 0, 5, 104, 203,
    ];

    #[test]
    fn may_have_fields_reads_the_first_description_in_a_part() {
        let found =
            |description: &[u8]| may_have_fields(&[b"avcC\x01\x64", description, INTERLACED].concat());
        assert_eq!(found(PROGRESSIVE), Some(false));
        assert_eq!(found(BASELINE), Some(false));
        assert_eq!(found(INTERLACED), Some(true));
        assert_eq!(may_have_fields(&PROGRESSIVE[..12]), None, "cut off");
        assert_eq!(may_have_fields(b""), None);
    }

    proptest! {
        #[test]
        fn may_have_fields_does_not_panic(before in any::<Vec<u8>>(), set in any::<Vec<u8>>()) {
            let length = u8::try_from(set.len() + 2).unwrap_or(u8::MAX);
            let part = [&before[..], &[1, 100, 0, 30, 0xff, 0xe1, 0, length, 0x67, 100], &set].concat();
            let _ignored = may_have_fields(&part);
        }
    }
}
