//! Clock references (PCR, SCR) of an MPEG transport or program stream, read from parts of a file: finds discontinuities,
//! as in recordings that were joined or cut.

/// Ticks per second of the base of a clock reference, which has 33 bits.
const PCR_BASE_HZ: f64 = 90_000.0;
/// The clock wraps around after this many seconds, about 26.5 h.
const WRAP_SECONDS: f64 = (1u64 << 33) as f64 / PCR_BASE_HZ;
/// Clock references are at most 0.1 s apart, 0.7 s in program streams: after a longer step than this one is looked for.
const UNUSUAL_SECONDS: f64 = 5.0;
/// The longest gap that stays one. The clock is taken to jump where it advances further at once, and longer gaps in other
/// containers are reported.
pub const MAX_GAP_SECONDS: f64 = 120.0;
/// Sync bytes in a row that identify a transport stream.
const MIN_SYNC_BYTES: usize = 5;

/// The clock references in a part of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PcrRange {
    /// PID of the packets that carry the clock; 0 in a program stream.
    pub pcr_pid: u16,
    /// The first reference, seconds.
    pub first: f64,
    /// The last reference, seconds.
    pub last: f64,
    /// Longest step between two consecutive references, seconds.
    longest_step: f64,
}

impl PcrRange {
    /// Reads the clock references in `bytes`: those with `pcr_pid`, or else those of the first program.
    pub fn read(bytes: &[u8], pcr_pid: Option<u16>) -> Option<Self> {
        let references = match sync(bytes) {
            Some((first, packet_size)) => transport_references(bytes, first, packet_size),
            None => program_references(bytes),
        };
        let pcr_pid = pcr_pid.or_else(|| references.first().map(|&(pid, _)| pid))?;
        let times: Vec<f64> =
            references.into_iter().filter(|&(pid, _)| pid == pcr_pid).map(|(_, seconds)| seconds).collect();
        Some(Self {
            pcr_pid,
            first: *times.first()?,
            last: *times.last()?,
            longest_step: times.windows(2).map(|pair| elapsed(pair[0], pair[1])).fold(0.0, f64::max),
        })
    }

    /// The jump of the clock between two consecutive references, if there is one.
    pub fn jump(&self) -> Option<Jump> {
        Jump::of(self.longest_step)
    }

    /// Seconds from the start of this range to the end of a later one.
    pub fn seconds_to_end(&self, later: &Self) -> f64 {
        elapsed(self.first, later.last)
    }

    /// Seconds from the end of this range to the start of a later one. Modulo 2^33 ticks: a backward jump reads as
    /// about 26.5 h.
    pub fn seconds_until(&self, later: &Self) -> f64 {
        elapsed(self.last, later.first)
    }
}

/// A clock that jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// Time is missing.
    Ahead,
    /// Another recording follows.
    Back,
}

impl Jump {
    /// Of a clock that advances by `seconds` at once, modulo 2^33 ticks.
    pub fn of(seconds: f64) -> Option<Self> {
        match seconds {
            _ if seconds <= MAX_GAP_SECONDS => None,
            _ if seconds < WRAP_SECONDS / 2.0 => Some(Self::Ahead),
            _ => Some(Self::Back),
        }
    }
}

/// The index of the longest of the gaps between evenly spread ranges, if it is much longer than the median.
pub fn outlier_gap(gaps: &[f64]) -> Option<usize> {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = *sorted.get(sorted.len() / 2)?;
    let (index, longest) = gaps.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    (*longest > median * 3.0 + UNUSUAL_SECONDS).then_some(index)
}

fn elapsed(from: f64, to: f64) -> f64 {
    (to - from).rem_euclid(WRAP_SECONDS)
}

/// The offset of the first whole packet of a transport stream, and the packet size.
fn sync(bytes: &[u8]) -> Option<(usize, usize)> {
    [188, 192].into_iter().find_map(|packet_size| {
        let is_sync = |at: usize| bytes.get(at) == Some(&0x47);
        let first = (0..packet_size)
            .find(|first| (0..MIN_SYNC_BYTES).all(|packet| is_sync(first + packet * packet_size)))?;
        Some((first, packet_size))
    })
}

fn transport_references(bytes: &[u8], first: usize, packet_size: usize) -> Vec<(u16, f64)> {
    let packets = bytes[first..].chunks(packet_size).filter(|packet| packet.len() >= 12 && packet[0] == 0x47);
    // An adaptation field that is long enough for a PCR and flags one.
    let with_pcr = packets.filter(|packet| packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0);
    with_pcr
        .map(|packet| {
            let high = u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]);
            let ticks = u64::from(high) << 1 | u64::from(packet[10] >> 7);
            (u16::from_be_bytes([packet[1] & 0x1f, packet[2]]), ticks as f64 / PCR_BASE_HZ)
        })
        .collect()
}

fn program_references(bytes: &[u8]) -> Vec<(u16, f64)> {
    let packs = bytes.windows(9).filter(|pack| pack.starts_with(&[0, 0, 1, 0xba]));
    packs
        .filter_map(|pack| {
            let byte = |index: usize| u64::from(pack[index]);
            // MPEG-2 and MPEG-1 have their marker bits at different positions.
            let ticks = if pack[4] >> 6 == 1 {
                (byte(4) >> 3 & 7) << 30
                    | (byte(4) & 3) << 28
                    | byte(5) << 20
                    | (byte(6) >> 3) << 15
                    | (byte(6) & 3) << 13
                    | byte(7) << 5
                    | byte(8) >> 3
            } else if pack[4] >> 4 == 2 {
                (byte(4) >> 1 & 7) << 30 | byte(5) << 22 | (byte(6) >> 1) << 15 | byte(7) << 7 | byte(8) >> 1
            } else {
                return None;
            };
            Some((0, ticks as f64 / PCR_BASE_HZ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Jump, PcrRange, WRAP_SECONDS, outlier_gap};

    fn packet(pid: u16, seconds: f64) -> Vec<u8> {
        let ticks = (seconds * 90_000.0) as u64;
        let mut packet = vec![0xff; 188];
        let [high, low] = pid.to_be_bytes();
        packet[..6].copy_from_slice(&[0x47, high, low, 0x30, 7, 0x10]);
        packet[6..10].copy_from_slice(&u32::try_from(ticks >> 1).expect("33 bits").to_be_bytes());
        packet[10] = (ticks as u8) << 7;
        packet
    }

    fn stream(times: &[f64]) -> Vec<u8> {
        let mut bytes = vec![1, 2, 3];
        for &time in times {
            bytes.extend(packet(256, time));
            bytes.extend(packet(257, 7.0));
        }
        bytes
    }

    #[test]
    fn read_transport_stream_follows_one_program() {
        let range = PcrRange::read(&stream(&[10.0, 10.1, 10.2]), None).expect("a clock");
        assert_eq!((range.pcr_pid, range.jump()), (256, None));
        assert!((range.first - 10.0).abs() < 1e-4 && (range.last - 10.2).abs() < 1e-4, "{range:?}");
        assert!((PcrRange::read(&stream(&[1.0; 4]), Some(257)).expect("a clock").first - 7.0).abs() < 1e-4);
        assert_eq!(PcrRange::read(&[0; 1000], None), None);
    }

    #[test]
    fn jump_is_found_and_neither_a_gap_nor_wraparound_is_one() {
        let jump = |times: &[f64]| PcrRange::read(&stream(times), None).expect("a clock").jump();
        assert_eq!(jump(&[10.0, 10.1, 140.0]), Some(Jump::Ahead));
        assert_eq!(jump(&[10.0, 10.1, 3.0]), Some(Jump::Back));
        assert_eq!(jump(&[10.0, 10.1, 90.0]), None);
        assert_eq!(jump(&[WRAP_SECONDS - 0.2, WRAP_SECONDS - 0.1, 0.05]), None);
    }

    #[test]
    fn read_program_stream_returns_its_clock() {
        // 1 s in MPEG-2's bits: 90000 = 2 << 15 | 24464.
        let pack = [0, 0, 1, 0xba, 0x44, 0, 0x14 | 2, 0xfc, 0x84, 0];
        let range = PcrRange::read(&pack, None).expect("a clock");
        assert!((range.first - 1.0).abs() < 1e-4, "{range:?}");
    }

    #[test]
    fn outlier_gap_requires_much_more_than_the_median() {
        assert_eq!(outlier_gap(&[10.0, 12.0, 9.0, 30.0]), None);
        assert_eq!(outlier_gap(&[10.0, 12.0, 90.0, 9.0, 11.0]), Some(2));
        assert_eq!(outlier_gap(&[]), None);
    }
}
