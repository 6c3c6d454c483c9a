//! The clock of an MPEG transport or programme stream, read here and there: whether time goes on evenly through a file.
//! Recordings that were joined, or cut, leap.

/// Ticks a second of the coarse part of a clock reference; it has 33 bits.
const TICKS: f64 = 90_000.0;
/// Seconds after which the clock begins anew.
const WRAP: f64 = (1u64 << 33) as f64 / TICKS;
/// Clock references are a tenth of a second apart at most, in programme streams 0.7 s; this is no accident.
const LEAP: f64 = 5.0;

/// What the clock says in a stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PcrRange {
    /// The programme whose clock it is; 0 in a programme stream.
    pub pcr_pid: u16,
    /// The first reference, seconds.
    pub first: f64,
    /// The last one.
    pub last: f64,
    /// Whether time leaps between two references that follow one another.
    pub has_discontinuity: bool,
}

impl PcrRange {
    /// Reads the clock references in some bytes: those of `clock`, or of the first programme.
    pub fn read(bytes: &[u8], clock: Option<u16>) -> Option<Self> {
        let found = match packets(bytes) {
            Some((first, step)) => transport(bytes, first, step),
            None => programme(bytes),
        };
        let clock = clock.or_else(|| found.first().map(|&(clock, _)| clock))?;
        let times: Vec<f64> =
            found.into_iter().filter(|&(of, _)| of == clock).map(|(_, seconds)| seconds).collect();
        Some(Self {
            pcr_pid: clock,
            first: *times.first()?,
            last: *times.last()?,
            has_discontinuity: times.windows(2).any(|pair| passed(pair[0], pair[1]) > LEAP),
        })
    }

    /// Seconds from the end of this stretch to the beginning of a later one. Backwards is a day.
    pub fn seconds_until(&self, later: &Self) -> f64 {
        passed(self.last, later.first)
    }
}

/// Seconds between evenly spread stretches, one of which is far more than the usual: where it is, if anywhere.
pub fn outlier_gap(gaps: &[f64]) -> Option<usize> {
    let mut sorted = gaps.to_vec();
    sorted.sort_by(f64::total_cmp);
    let usual = *sorted.get(sorted.len() / 2)?;
    let (place, widest) = gaps.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    (*widest > usual * 3.0 + LEAP).then_some(place)
}

fn passed(from: f64, to: f64) -> f64 {
    (to - from).rem_euclid(WRAP)
}

/// Where the first whole packet of a transport stream begins, and from where to where they reach.
fn packets(bytes: &[u8]) -> Option<(usize, usize)> {
    const IN_A_ROW: usize = 5;
    [188, 192].into_iter().find_map(|step| {
        let starts =
            (0..step).find(|first| (0..IN_A_ROW).all(|nth| bytes.get(first + nth * step) == Some(&0x47)));
        starts.map(|first| (first, step))
    })
}

fn transport(bytes: &[u8], first: usize, step: usize) -> Vec<(u16, f64)> {
    let packets = bytes[first..].chunks(step).filter(|packet| packet.len() >= 12 && packet[0] == 0x47);
    // An adaptation field that has a reference: so long, and so flagged.
    let with_clock =
        packets.filter(|packet| packet[3] & 0x20 != 0 && packet[4] >= 7 && packet[5] & 0x10 != 0);
    with_clock
        .map(|packet| {
            let high = u32::from_be_bytes([packet[6], packet[7], packet[8], packet[9]]);
            let ticks = u64::from(high) << 1 | u64::from(packet[10] >> 7);
            (u16::from_be_bytes([packet[1] & 0x1f, packet[2]]), ticks as f64 / TICKS)
        })
        .collect()
}

fn programme(bytes: &[u8]) -> Vec<(u16, f64)> {
    let packs = bytes.windows(9).filter(|pack| pack.starts_with(&[0, 0, 1, 0xba]));
    packs
        .filter_map(|pack| {
            let byte = |place: usize| u64::from(pack[place]);
            // MPEG-2 has its marker bits elsewhere than MPEG-1.
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
            Some((0, ticks as f64 / TICKS))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{PcrRange, WRAP, outlier_gap};

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
    fn the_clock_of_one_programme_is_read() {
        let range = PcrRange::read(&stream(&[10.0, 10.1, 10.2]), None).expect("a clock");
        assert_eq!((range.pcr_pid, range.has_discontinuity), (256, false));
        assert!((range.first - 10.0).abs() < 1e-4 && (range.last - 10.2).abs() < 1e-4, "{range:?}");
        assert!((PcrRange::read(&stream(&[1.0; 4]), Some(257)).expect("a clock").first - 7.0).abs() < 1e-4);
        assert_eq!(PcrRange::read(&[0; 1000], None), None);
    }

    #[test]
    fn leaps_are_seen_and_a_clock_that_begins_anew_is_none() {
        let leaps = |times: &[f64]| PcrRange::read(&stream(times), None).expect("a clock").has_discontinuity;
        assert!(leaps(&[10.0, 10.1, 90.0]) && leaps(&[10.0, 10.1, 3.0]));
        assert!(!leaps(&[WRAP - 0.2, WRAP - 0.1, 0.05]));
    }

    #[test]
    fn programme_streams_have_one_clock() {
        // 1 s in MPEG-2's bits: 90000 = 2 << 15 | 24464.
        let pack = [0, 0, 1, 0xba, 0x44, 0, 0x14 | 2, 0xfc, 0x84, 0];
        let range = PcrRange::read(&pack, None).expect("a clock");
        assert!((range.first - 1.0).abs() < 1e-4, "{range:?}");
    }

    #[test]
    fn only_a_gap_far_beyond_the_usual_is_wide() {
        assert_eq!(outlier_gap(&[10.0, 12.0, 9.0, 30.0]), None);
        assert_eq!(outlier_gap(&[10.0, 12.0, 90.0, 9.0, 11.0]), Some(2));
        assert_eq!(outlier_gap(&[]), None);
    }
}
