//! Where the tracks of a file end, by the packets in its last part.

use std::collections::BTreeMap;

use crate::probe::number;

/// Times of the packets in a part of a file, seconds, in the file's timestamps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartTimes {
    /// Of the first packet.
    pub first: Option<f64>,
    last: BTreeMap<u64, f64>,
}

impl PartTimes {
    /// Adds a packet of a track.
    pub(crate) fn add(&mut self, track: u64, time: f64) {
        self.first.get_or_insert(time);
        let last = self.last.entry(track).or_insert(time);
        *last = last.max(time);
    }

    /// Of the last packet of a track.
    pub fn last(&self, track: u64) -> Option<f64> {
        self.last.get(&track).copied()
    }
}

/// How much later than it is decoded a packet may be displayed, seconds. A later time is wrong.
const MAX_DELAY_SECONDS: f64 = 10.0;

/// A packet among many that is so much later than one that follows it has a wrong time, seconds.
const MAX_DISTANCE_SECONDS: f64 = 60.0;
const MANY_PACKETS: usize = 20;

/// Parses `ffprobe -show_entries packet=stream_index,pts_time,dts_time,duration_time -of csv=p=0`: the end of the last packet of
/// each stream, in the file's timestamps.
pub fn packet_ends(packets: &str) -> BTreeMap<u32, f64> {
    let mut times: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for line in packets.lines() {
        let mut fields = line.split(',');
        let stream = fields.next().and_then(|field| field.parse().ok());
        let (Some(stream), Some(time)) = (stream, fields.next().and_then(number)) else { continue };
        let decoded = fields.next().and_then(number);
        let time = decoded.filter(|decoded| time - decoded > MAX_DELAY_SECONDS).unwrap_or(time);
        let end = time + fields.next().and_then(number).unwrap_or(0.0);
        times.entry(stream).or_default().push((time, end));
    }
    let last = |(stream, packets): (u32, Vec<(f64, f64)>)| {
        let is_wrong = |at: usize| {
            let (time, _) = packets[at];
            let mut later = packets[at + 1..].iter();
            packets.len() >= MANY_PACKETS && later.any(|&(other, _)| time - other > MAX_DISTANCE_SECONDS)
        };
        let ends = packets.iter().enumerate().filter(|&(at, _)| !is_wrong(at)).map(|(_, &(_, end))| end);
        Some((stream, ends.reduce(f64::max)?))
    };
    times.into_iter().filter_map(last).collect()
}

#[cfg(test)]
mod tests {
    use super::packet_ends;

    #[test]
    fn packet_ends_returns_the_last_end_of_each_stream() {
        let ends =
            packet_ends("0,1.5,1.5,0.5\n1,1.0,N/A,N/A\n0,3601.25,1.25,0.25\n,,\n1,N/A,1,1\n2\n1,3.5,,\n");
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), [(0, 2.0), (1, 3.5)]);
        assert!(packet_ends("").is_empty());
        let many = |count: u32| (0..count).map(|n| format!("0,{n},{n},1\n")).collect::<String>();
        assert_eq!(
            packet_ends(&format!("{}0,3600,3600,1\n0,30,30,1\n", many(30)))[&0],
            31.0,
            "one wrong time"
        );
        assert_eq!(packet_ends(&format!("{}0,3600,3600,1\n", many(5)))[&0], 3601.0, "a slide");
    }
}
