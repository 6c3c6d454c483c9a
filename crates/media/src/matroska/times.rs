//! Times of packets in a part of a file, for files whose index or end is missing.

use super::elements::{CLUSTER, SEGMENT, elements, head_elements, number, track_entries, variable_length};
use crate::tail::PartTimes;

const INFO: u32 = 0x1549_A966;
const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
const TRACK_NUMBER: u32 = 0xD7;
const TIMESTAMP: u64 = 0xE7;
const SIMPLE_BLOCK: u64 = 0xA3;
const BLOCK_GROUP: u64 = 0xA0;
const BLOCK: u64 = 0xA1;
/// Default of [`TIMESTAMP_SCALE`].
const NANOSECONDS_PER_TICK: u64 = 1_000_000;

/// How a file counts time and numbers its tracks, and how long it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// Seconds per tick.
    tick: f64,
    /// Numbers of the tracks in their order, which is that of ffmpeg's streams.
    pub track_numbers: Vec<u64>,
    /// Where the file should end, if it says so.
    pub stated_size: Option<u64>,
}

/// Reads the first bytes of a file. None if the tracks are not within these.
pub fn timeline(head: &[u8]) -> Option<Timeline> {
    let track_numbers: Vec<_> =
        track_entries(head).map(|entry| number(entry, TRACK_NUMBER).unwrap_or(0)).collect();
    let info = head_elements(head).find(|element| element.id == INFO);
    let scale = info
        .and_then(|info| number(info.body, TIMESTAMP_SCALE))
        .filter(|&scale| scale > 0)
        .unwrap_or(NANOSECONDS_PER_TICK);
    let tick = scale as f64 / 1e9;
    (!track_numbers.is_empty()).then(|| Timeline { tick, track_numbers, stated_size: stated_size(head) })
}

fn stated_size(head: &[u8]) -> Option<u64> {
    // The segment follows the header.
    let header = elements(head).next().filter(|header| header.is_complete)?;
    let (_, id_length) = variable_length(head, true)?;
    let (_, size_length) = variable_length(&head[id_length..], false)?;
    let before = id_length + size_length + header.body.len();
    let (id, id_length) = variable_length(&head[before..], true)?;
    let (size, size_length) = variable_length(&head[before + id_length..], false)?;
    let is_known = u64::from(SEGMENT) == id && size != (1 << (7 * size_length)) - 1;
    is_known.then(|| u64::try_from(before + id_length + size_length).unwrap_or(u64::MAX).saturating_add(size))
}

impl Timeline {
    /// Times of the packets in a part of the file, from the first cluster in it on.
    pub fn times(&self, part: &[u8]) -> PartTimes {
        let mut times = PartTimes::default();
        let id = CLUSTER.to_be_bytes();
        let Some(start) = part.windows(id.len()).position(|window| window == id) else { return times };
        let (mut rest, mut cluster) = (&part[start..], None);
        while let Some((id, id_length)) = variable_length(rest, true)
            && let Some((size, size_length)) = variable_length(&rest[id_length..], false)
        {
            rest = &rest[id_length + size_length..];
            // Their contents follow one another, whatever their sizes are.
            if id == u64::from(CLUSTER) || id == BLOCK_GROUP {
                continue;
            }
            let Some(body) = usize::try_from(size).ok().and_then(|size| rest.get(..size)) else { break };
            match id {
                TIMESTAMP => {
                    cluster = Some(body.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte)))
                }
                SIMPLE_BLOCK | BLOCK => {
                    if let (Some((track, length)), Some(cluster)) = (variable_length(body, false), cluster)
                        && let Some(&[high, low]) = body.get(length..length + 2)
                    {
                        let ticks = cluster as f64 + f64::from(i16::from_be_bytes([high, low]));
                        times.add(track, ticks * self.tick);
                    }
                }
                _ => {}
            }
            rest = &rest[body.len()..];
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matroska::elements::{TRACK_ENTRY, TRACKS};

    fn element(id: u32, body: &[u8]) -> Vec<u8> {
        let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
        let size = (u64::try_from(body.len()).expect("size") | 1 << 56).to_be_bytes();
        [&id, &size[..], body].concat()
    }

    fn block(track: u8, ticks: i16) -> Vec<u8> {
        [&[0x80 | track][..], &ticks.to_be_bytes(), &[0x80], b"frame"].concat()
    }

    fn cluster(ticks: u16, blocks: &[(u8, i16)]) -> Vec<u8> {
        let mut body = element(0xE7, &ticks.to_be_bytes());
        for (index, &(track, ticks)) in blocks.iter().enumerate() {
            let block = block(track, ticks);
            body.extend(if index == 0 {
                element(0xA0, &element(0xA1, &block))
            } else {
                element(0xA3, &block)
            });
        }
        element(CLUSTER, &body)
    }

    fn head(scale: u32) -> Vec<u8> {
        let info = element(INFO, &element(TIMESTAMP_SCALE, &scale.to_be_bytes()));
        let track = |number: u8| element(TRACK_ENTRY, &element(TRACK_NUMBER, &[number]));
        let tracks = element(TRACKS, &[track(2), track(1)].concat());
        let body = [info, tracks, vec![0; 100]].concat();
        [element(0x1A45_DFA3, b"header"), element(SEGMENT, &body)].concat()
    }

    #[test]
    fn timeline_reads_tracks_scale_and_size() {
        let head = head(100_000);
        let timeline = timeline(&head[..head.len() - 100]).expect("timeline");
        assert_eq!(timeline.track_numbers, [2, 1]);
        assert_eq!(timeline.stated_size, Some(u64::try_from(head.len()).expect("size")));
        let part = [
            b"the rest of a cluster".to_vec(),
            cluster(10_000, &[(1, 5), (2, -5)]),
            cluster(20_000, &[(1, 20)]),
        ];
        let times = timeline.times(&part.concat());
        let tenths = |time: Option<f64>| time.map(|seconds| (seconds * 10_000.0).round());
        let found = [times.first, times.last(1), times.last(2)].map(tenths);
        assert_eq!(found, [Some(10_005.0), Some(20_020.0), Some(9_995.0)], "tenths of milliseconds");
        assert_eq!(times.last(3), None);
        assert_eq!(timeline.times(b"no cluster"), PartTimes::default());
        assert_eq!(super::timeline(b"another file"), None);
    }

    proptest! {
        #[test]
        fn times_of_any_bytes_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..400) {
            let _ = timeline(&bytes);
            let head = head(1_000_000);
            let mut part = cluster(10, &[(1, 5), (2, 7)]);
            let at = at % part.len();
            part.splice(at..at, bytes);
            let _ = timeline(&head).expect("timeline").times(&part);
        }
    }
}
