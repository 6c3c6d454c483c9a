//! The variants of a master playlist, and their order.

use super::{
    super::{
        bandwidth::Bandwidth,
        model::{Track, TrackKind},
    },
    groups::Group,
};
use crate::probe::VideoRange;

/// Preferred average bit rate of the first variant, with which Safari starts, bits per second: Apple's HLS Authoring
/// Specification, 1.32.
const FIRST_VARIANT_BITS_PER_SECOND: u64 = 2_000_000;

/// A variant: an `EXT-X-STREAM-INF` tag.
pub(super) struct Variant<'a> {
    pub(super) track: &'a Track,
    pub(super) codecs: Vec<&'a str>,
    pub(super) bandwidth: Bandwidth,
    /// Id of its audio group.
    pub(super) audio: Option<&'static str>,
}

/// The video tracks, highest first.
pub(super) fn rungs<'a>(tracks: &[&'a Track]) -> Vec<&'a Track> {
    let mut rungs: Vec<_> = tracks.iter().copied().filter(|track| track.is_video()).collect();
    rungs.sort_by_key(|track| std::cmp::Reverse((track.pixels(), Bandwidth::of(&track.segments).average)));
    rungs
}

/// Every rung with every audio group. The preferred first variant of each group comes first.
pub(super) fn video_variants<'a>(rungs: &[&'a Track], audio: &[Group<'a>]) -> Vec<Variant<'a>> {
    let groups: Vec<_> = if audio.is_empty() { vec![None] } else { audio.iter().map(Some).collect() };
    let mut variants = Vec::new();
    for group in groups {
        let mut of_group: Vec<_> = rungs.iter().map(|rung| video_variant(rung, group)).collect();
        // Every device can display SDR.
        let distance = |variant: &Variant<'_>| {
            (!is_sdr(variant.track), variant.bandwidth.average.abs_diff(FIRST_VARIANT_BITS_PER_SECOND))
        };
        let nearest = of_group.iter().enumerate().min_by_key(|(_, variant)| distance(variant));
        if let Some(index) = nearest.map(|(index, _)| index) {
            of_group[..=index].rotate_right(1);
        }
        variants.extend(of_group);
    }
    variants
}

fn video_variant<'a>(rung: &'a Track, group: Option<&Group<'a>>) -> Variant<'a> {
    let mut codecs = vec![rung.codec.as_str()];
    codecs.extend(group.iter().flat_map(|group| group.codecs()));
    let audio = group.map(Group::bandwidth).unwrap_or_default();
    Variant {
        track: rung,
        codecs,
        bandwidth: Bandwidth::of(&rung.segments).with(audio),
        audio: group.map(|group| group.id),
    }
}

/// Variants of a presentation without video: one per group, with the group's default track. A single track needs no group:
/// its group is removed from `groups`.
pub(super) fn audio_variants<'a>(groups: &mut Vec<Group<'a>>) -> Vec<Variant<'a>> {
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

fn is_sdr(track: &Track) -> bool {
    matches!(track.kind, TrackKind::Video { range: VideoRange::Sdr, .. })
}
