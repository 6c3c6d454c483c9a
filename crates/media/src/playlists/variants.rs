//! Which variants a master playlist offers, and in which order.

use super::renditions::Group;
use super::{Bandwidth, Track, TrackKind};
use crate::probe::VideoRange;

/// Average bit rate of the variant that Safari begins with, bits a second: Apple's HLS Authoring
/// Specification, 1.32 asks for 2 Mbit/s in the first place.
const FIRST_VARIANT: u64 = 2_000_000;
/// One way to play it all, as `EXT-X-STREAM-INF` offers it.
pub(super) struct Variant<'a> {
    pub track: &'a Track,
    pub codecs: Vec<&'a str>,
    pub bandwidth: Bandwidth,
    /// Id of its audio group.
    pub audio: Option<&'static str>,
}

/// The rungs among these tracks, tallest first.
pub(super) fn rungs<'a>(tracks: &[&'a Track]) -> Vec<&'a Track> {
    let mut rungs: Vec<_> = tracks.iter().copied().filter(|track| track.is_video()).collect();
    rungs.sort_by_key(|track| std::cmp::Reverse((track.pixels(), Bandwidth::of(&track.segments).average)));
    rungs
}

/// Every rung with every audio group; of each group the start-up variant first.
pub(super) fn video_variants<'a>(rungs: &[&'a Track], audio: &[Group<'a>]) -> Vec<Variant<'a>> {
    let groups: Vec<_> = if audio.is_empty() { vec![None] } else { audio.iter().map(Some).collect() };
    let mut variants = Vec::new();
    for group in groups {
        let mut of_group: Vec<_> = rungs.iter().map(|rung| video_variant(rung, group)).collect();
        // Unlike the other ranges, the standard one shows everywhere.
        let distance = |variant: &Variant<'_>| {
            (!is_standard_range(variant.track), variant.bandwidth.average.abs_diff(FIRST_VARIANT))
        };
        let nearest = of_group.iter().enumerate().min_by_key(|(_, variant)| distance(variant));
        if let Some(place) = nearest.map(|(place, _)| place) {
            of_group[..=place].rotate_right(1);
        }
        variants.extend(of_group);
    }
    variants
}

fn video_variant<'a>(rung: &'a Track, group: Option<&Group<'a>>) -> Variant<'a> {
    let mut codecs = vec![rung.codec.as_str()];
    codecs.extend(group.iter().flat_map(|group| group.codecs()));
    let sound = group.map(Group::bandwidth).unwrap_or_default();
    Variant {
        track: rung,
        codecs,
        bandwidth: Bandwidth::of(&rung.segments).with(sound),
        audio: group.map(|group| group.id),
    }
}

/// Sound alone: one variant a group, played from its default track. A single track needs no group,
/// and its group is taken away.
pub(super) fn sound_variants<'a>(groups: &mut Vec<Group<'a>>) -> Vec<Variant<'a>> {
    let single = matches!(&groups[..], [group] if group.members.len() == 1);
    let variant = |group: &Group<'a>| {
        let member = group.members.iter().find(|member| member.default)?;
        Some(Variant {
            track: member.track,
            codecs: group.codecs(),
            bandwidth: group.bandwidth(),
            audio: (!single).then_some(group.id),
        })
    };
    let variants = groups.iter().filter_map(variant).collect();
    if single {
        groups.clear();
    }
    variants
}

fn is_standard_range(track: &Track) -> bool {
    matches!(track.kind, TrackKind::Video { range: VideoRange::Sdr, .. })
}
