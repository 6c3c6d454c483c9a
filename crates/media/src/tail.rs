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

/// Parses `ffprobe -show_entries packet=stream_index,pts_time,duration_time -of csv=p=0`: the end of the last packet of each
/// stream, in the file's timestamps.
pub fn packet_ends(packets: &str) -> BTreeMap<u32, f64> {
    let mut ends = BTreeMap::new();
    for line in packets.lines() {
        let mut fields = line.split(',');
        let stream = fields.next().and_then(|field| field.parse().ok());
        let (Some(stream), Some(time)) = (stream, fields.next().and_then(number)) else { continue };
        let end = time + fields.next().and_then(number).unwrap_or(0.0);
        ends.entry(stream).and_modify(|last: &mut f64| *last = last.max(end)).or_insert(end);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::packet_ends;

    #[test]
    fn packet_ends_returns_the_last_end_of_each_stream() {
        let ends = packet_ends("0,1.5,0.5\n1,1.0,N/A\n0,1.25,0.25\n,,\n1,N/A,1\n2\n1,3.5,\n");
        assert_eq!(ends.into_iter().collect::<Vec<_>>(), [(0, 2.0), (1, 3.5)]);
        assert!(packet_ends("").is_empty());
    }
}
