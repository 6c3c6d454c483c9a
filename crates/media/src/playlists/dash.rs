//! The DASH manifest (ISO/IEC 23009-1), of the same segments as the HLS playlists.
//!
//! The main profile, since segments of one track lie at different prefixes: the on-demand profile asks
//! for one file a track, the live profile for addresses made from a template.

use super::renditions::{label, language, marks};
use super::xml::Xml;
use super::{Bandwidth, Presentation, Segment, Track, TrackKind, address};
use crate::plan::SEGMENT_SECONDS;
use crate::probe::VideoRange;

/// Ticks a second of subtitle tracks.
const TEXT_TIMESCALE: u32 = 1000;

/// The manifest of a complete presentation. It is static: it offers what there is when it is
/// written, and no more later.
pub fn manifest(presentation: &Presentation) -> String {
    let tracks: Vec<_> = presentation.tracks.iter().filter(|track| !track.segments.is_empty()).collect();
    let played = tracks.iter().filter(|track| !track.is_subtitles()).map(|track| track.end());
    let mut xml = Xml::new();
    xml.open(
        "MPD",
        &[
            ("xmlns", "urn:mpeg:dash:schema:mpd:2011"),
            ("profiles", "urn:mpeg:dash:profile:isoff-main:2011"),
            ("type", "static"),
            ("mediaPresentationDuration", &format!("PT{:.3}S", played.fold(0.0, f64::max))),
            ("minBufferTime", &format!("PT{SEGMENT_SECONDS}S")),
        ],
    );
    xml.open("Period", &[("id", "0"), ("start", "PT0S")]);
    let mut sets = 0..;
    let mut next_id = || sets.next().unwrap_or(0u32).to_string();
    let sound = tracks.iter().filter(|track| matches!(track.kind, TrackKind::Audio { .. }));
    let default = sound.clone().find(|track| marks(track).0).or(sound.clone().next()).map(|track| &track.id);
    for rungs in switchable(&tracks) {
        video_set(&mut xml, &next_id(), &rungs);
    }
    for track in &tracks {
        match track.kind {
            TrackKind::Video { .. } => {}
            TrackKind::Audio { channels, sample_rate, .. } => {
                let main = marks(track).0 || default == Some(&track.id);
                audio_set(&mut xml, &next_id(), track, main, (channels, sample_rate));
            }
            TrackKind::Subtitles { .. } => text_set(&mut xml, &next_id(), track),
        }
    }
    xml.close("Period");
    xml.close("MPD");
    xml.finish()
}

/// The rungs in sets a player may switch within: same codec, same range.
fn switchable<'a>(tracks: &[&'a Track]) -> Vec<Vec<&'a Track>> {
    let key = |track: &Track| {
        let range = if let TrackKind::Video { range, .. } = track.kind { range } else { VideoRange::Sdr };
        (track.codec.split('.').next().unwrap_or_default().to_owned(), range)
    };
    let mut sets: Vec<Vec<&Track>> = Vec::new();
    for track in tracks.iter().copied().filter(|track| track.is_video()) {
        match sets.iter_mut().find(|set| key(set[0]) == key(track)) {
            Some(set) => set.push(track),
            None => sets.push(vec![track]),
        }
    }
    sets
}

fn video_set(xml: &mut Xml, id: &str, rungs: &[&Track]) {
    let facts = |track: &&Track| match track.kind {
        TrackKind::Video { size, rate, range } => Some((size, rate, range)),
        _ => None,
    };
    let all: Vec<_> = rungs.iter().filter_map(facts).collect();
    let Some(&(largest, _, range)) = all.iter().max_by_key(|(size, ..)| size.pixels()) else { return };
    let fastest = all.iter().map(|(_, rate, _)| *rate).max_by(|a, b| a.fps().total_cmp(&b.fps()));
    let shared = gcd(largest.width, largest.height);
    xml.open(
        "AdaptationSet",
        &[
            ("id", id),
            ("contentType", "video"),
            ("mimeType", "video/mp4"),
            ("segmentAlignment", "true"),
            ("startWithSAP", "1"),
            ("par", &format!("{}:{}", largest.width / shared, largest.height / shared)),
            ("maxWidth", &all.iter().map(|(size, ..)| size.width).max().unwrap_or(0).to_string()),
            ("maxHeight", &all.iter().map(|(size, ..)| size.height).max().unwrap_or(0).to_string()),
            ("maxFrameRate", &fastest.map_or(String::new(), |rate| rate.to_string())),
        ],
    );
    for (property, value) in colours(range) {
        let scheme = format!("urn:mpeg:mpegB:cicp:{property}");
        xml.empty("SupplementalProperty", &[("schemeIdUri", &scheme), ("value", value)]);
    }
    for (track, (size, rate, _)) in rungs.iter().zip(&all) {
        let size = (size.width.to_string(), size.height.to_string());
        let more = [
            ("width", size.0.as_str()),
            ("height", &size.1),
            ("frameRate", &rate.to_string()),
            ("sar", "1:1"),
        ];
        representation(xml, track, &more, rate.timescale());
    }
    xml.close("AdaptationSet");
}

/// Code points of ISO/IEC 23091-2 for what is not plain BT.709.
fn colours(range: VideoRange) -> Vec<(&'static str, &'static str)> {
    let transfer = match range {
        VideoRange::Sdr => return Vec::new(),
        VideoRange::Pq => "16",
        VideoRange::Hlg => "18",
    };
    vec![("ColourPrimaries", "9"), ("TransferCharacteristics", transfer), ("MatrixCoefficients", "9")]
}

fn audio_set(xml: &mut Xml, id: &str, track: &Track, main: bool, (channels, sample_rate): (u32, u32)) {
    open_named(xml, id, track, "audio", "audio/mp4", "Audio");
    role(xml, if main { "main" } else { "alternate" });
    let rate = sample_rate.to_string();
    representation_with(xml, track, &[("audioSamplingRate", rate.as_str())], sample_rate, |xml| {
        if let Some(value) = channel_configuration(channels) {
            let scheme = "urn:mpeg:mpegB:cicp:ChannelConfiguration";
            xml.empty("AudioChannelConfiguration", &[("schemeIdUri", scheme), ("value", value)]);
        }
    });
    xml.close("AdaptationSet");
}

/// The usual layout of so many channels, by ISO/IEC 23091-3: 7 are 6.1, 8 are 7.1.
fn channel_configuration(channels: u32) -> Option<&'static str> {
    let layouts = ["1", "2", "3", "4", "5", "6", "11", "12"];
    layouts.get(usize::try_from(channels).ok()?.checked_sub(1)?).copied()
}

fn text_set(xml: &mut Xml, id: &str, track: &Track) {
    open_named(xml, id, track, "text", "text/vtt", "Subtitles");
    role(xml, if marks(track).1 { "forced-subtitle" } else { "subtitle" });
    if marks(track).0 {
        role(xml, "main");
    }
    // A whole file needs no list, and more players read it so.
    if let [whole] = &track.segments[..] {
        xml.open("Representation", &[("id", &address(&track.id)), ("bandwidth", &bandwidth(track))]);
        xml.leaf("BaseURL", &address(&whole.uri));
        xml.close("Representation");
    } else {
        representation(xml, track, &[], TEXT_TIMESCALE);
    }
    xml.close("AdaptationSet");
}

/// An adaptation set with the language and name of its one track.
fn open_named(xml: &mut Xml, id: &str, track: &Track, content: &str, mime: &str, otherwise: &str) {
    let language = language(track);
    let mut attributes = vec![("id", id), ("contentType", content), ("mimeType", mime)];
    attributes.extend([("segmentAlignment", "true"), ("startWithSAP", "1")]);
    attributes.extend(language.as_deref().map(|language| ("lang", language)));
    xml.open("AdaptationSet", &attributes);
    xml.leaf("Label", &label(track, otherwise));
}

fn role(xml: &mut Xml, value: &str) {
    xml.empty("Role", &[("schemeIdUri", "urn:mpeg:dash:role:2011"), ("value", value)]);
}

fn bandwidth(track: &Track) -> String {
    Bandwidth::of(&track.segments).peak.max(1).to_string()
}

fn representation(xml: &mut Xml, track: &Track, more: &[(&str, &str)], timescale: u32) {
    representation_with(xml, track, more, timescale, |_| {});
}

/// A representation; `describe` writes what stands before its segments.
fn representation_with(
    xml: &mut Xml,
    track: &Track,
    more: &[(&str, &str)],
    timescale: u32,
    describe: impl FnOnce(&mut Xml),
) {
    let (id, bandwidth) = (address(&track.id), bandwidth(track));
    let mut attributes = vec![("id", id.as_str()), ("bandwidth", &bandwidth)];
    if !track.codec.is_empty() {
        attributes.push(("codecs", &track.codec));
    }
    attributes.extend(more);
    xml.open("Representation", &attributes);
    describe(xml);
    let timescale = timescale.max(1);
    let lead = (track.presentation_time_offset * f64::from(timescale)).round() as u64;
    let (ticks, offset) = (timescale.to_string(), lead.to_string());
    let mut attributes = vec![("timescale", ticks.as_str())];
    attributes.extend((lead > 0).then_some(("presentationTimeOffset", offset.as_str())));
    xml.open("SegmentList", &attributes);
    if !track.init.is_empty() {
        xml.empty("Initialization", &[("sourceURL", &address(&track.init))]);
    }
    xml.open("SegmentTimeline", &[]);
    for (start, ticks) in timeline(&track.segments, timescale) {
        // In the segments' own times.
        let start = start.map(|start| ("t", (start + lead).to_string()));
        let attributes: Vec<_> = start.into_iter().chain([("d", ticks.to_string())]).collect();
        xml.empty("S", &attributes.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    }
    xml.close("SegmentTimeline");
    for segment in &track.segments {
        xml.empty("SegmentURL", &[("media", &address(&segment.uri))]);
    }
    xml.close("SegmentList");
    xml.close("Representation");
}

/// Each segment's ticks, and when it begins unless that is where the one before ends. Equal lengths
/// are not joined by `@r`: dash.js 5 finds only the first address of such a run in a `SegmentList`.
fn timeline(segments: &[Segment], timescale: u32) -> Vec<(Option<u64>, u64)> {
    let to_ticks = |seconds: f64| (seconds * f64::from(timescale)).round() as u64;
    // Seconds are rounded: a segment ends where the next begins, when that is within a millisecond.
    let slack = u64::from(timescale / 1000).max(1);
    let mut end = None;
    let mut times = Vec::with_capacity(segments.len());
    for (place, segment) in segments.iter().enumerate() {
        let (start, mut ticks) = (to_ticks(segment.start), to_ticks(segment.seconds).max(1));
        if let Some(next) = segments.get(place + 1).map(|next| to_ticks(next.start))
            && next > start
            && next.abs_diff(start.saturating_add(ticks)) <= slack
        {
            ticks = next - start;
        }
        times.push(((end != Some(start)).then_some(start), ticks));
        end = Some(start.saturating_add(ticks));
    }
    times
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::{manifest, timeline};
    use crate::playlists::tests::{audio, presentation, rung, segments, subtitles};
    use crate::playlists::{Segment, Track, TrackKind};
    use crate::probe::VideoRange;
    use proptest::prelude::*;

    #[test]
    fn a_lead_is_taken_off() {
        let track = Track { presentation_time_offset: 0.1, ..rung(720, 1_000_000, VideoRange::Sdr) };
        let text = manifest(&presentation(vec![track]));
        assert!(text.contains(r#"<SegmentList timescale="30000" presentationTimeOffset="3000">"#), "{text}");
        assert!(text.contains(r#"<S t="3000" d="120000"/>"#), "{text}");
        assert!(text.contains(r#"mediaPresentationDuration="PT9.000S""#), "{text}");
    }

    #[test]
    fn a_manifest() {
        let mut text = subtitles(0, "deu", "", true);
        text.segments.push(Segment {
            start: 9.0,
            seconds: 1.0,
            uri: "1a/s.vtt".into(),
            ..text.segments[0].clone()
        });
        let tracks = vec![rung(720, 1_000_000, VideoRange::Sdr), audio(0, 2, "eng", "R & B"), text];
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-main:2011" type="static" mediaPresentationDuration="PT9.000S" minBufferTime="PT4S">
  <Period id="0" start="PT0S">
    <AdaptationSet id="0" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1" par="16:9" maxWidth="1280" maxHeight="720" maxFrameRate="30000/1001">
      <Representation id="720p" bandwidth="3200000" codecs="avc1.64001f" width="1280" height="720" frameRate="30000/1001" sar="1:1">
        <SegmentList timescale="30000">
          <Initialization sourceURL="0a/720p/init.mp4"/>
          <SegmentTimeline>
            <S t="0" d="120000"/>
            <S d="120000"/>
            <S d="30000"/>
          </SegmentTimeline>
          <SegmentURL media="0a/720p/seg_00000.m4s"/>
          <SegmentURL media="0a/720p/seg_00001.m4s"/>
          <SegmentURL media="1a/720p/seg_00002.m4s"/>
        </SegmentList>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="1" contentType="audio" mimeType="audio/mp4" segmentAlignment="true" startWithSAP="1" lang="en">
      <Label>R &amp; B</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <Representation id="audio-0" bandwidth="51200" codecs="mp4a.40.2" audioSamplingRate="48000">
        <AudioChannelConfiguration schemeIdUri="urn:mpeg:mpegB:cicp:ChannelConfiguration" value="2"/>
        <SegmentList timescale="48000">
          <Initialization sourceURL="0a/audio-0/init.mp4"/>
          <SegmentTimeline>
            <S t="0" d="192000"/>
            <S d="192000"/>
            <S d="48000"/>
          </SegmentTimeline>
          <SegmentURL media="0a/audio-0/seg_00000.m4s"/>
          <SegmentURL media="0a/audio-0/seg_00001.m4s"/>
          <SegmentURL media="1a/audio-0/seg_00002.m4s"/>
        </SegmentList>
      </Representation>
    </AdaptationSet>
    <AdaptationSet id="2" contentType="text" mimeType="text/vtt" segmentAlignment="true" startWithSAP="1" lang="de">
      <Label>de</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="forced-subtitle"/>
      <Representation id="subtitles-0" bandwidth="144">
        <SegmentList timescale="1000">
          <SegmentTimeline>
            <S t="0" d="9000"/>
            <S d="1000"/>
          </SegmentTimeline>
          <SegmentURL media="0a/subtitles-0.vtt"/>
          <SegmentURL media="1a/s.vtt"/>
        </SegmentList>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
"#;
        assert_eq!(manifest(&presentation(tracks)), expected);
    }

    #[test]
    fn players_switch_only_within_one_range_and_codec() {
        let mut hevc = rung(2160, 9, VideoRange::Sdr);
        hevc.codec = "hvc1.1.6.L153.B0".into();
        let tracks = vec![
            rung(1080, 9, VideoRange::Pq),
            rung(720, 9, VideoRange::Sdr),
            rung(360, 9, VideoRange::Sdr),
            hevc,
        ];
        let text = manifest(&presentation(tracks));
        let sets: Vec<_> =
            text.split("<AdaptationSet").skip(1).map(|set| set.matches("<Representation").count()).collect();
        assert_eq!(sets, [1, 2, 1]);
        assert_eq!(text.matches("cicp:TransferCharacteristics\" value=\"16\"").count(), 1);
    }

    #[test]
    fn one_audio_track_is_the_main_one() {
        let mut tracks = vec![audio(0, 2, "eng", ""), audio(1, 2, "deu", "")];
        let roles = |tracks: &[Track]| {
            let text = manifest(&presentation(tracks.to_vec()));
            [r#""main""#, r#""alternate""#].map(|role| text.find(role).unwrap_or(0))
        };
        assert!(roles(&tracks).is_sorted(), "the first, as none is marked");
        if let TrackKind::Audio { default, .. } = &mut tracks[1].kind {
            *default = true;
        }
        assert!(!roles(&tracks).is_sorted());
    }

    #[test]
    fn a_subtitle_file_is_named_as_a_whole() {
        let text = manifest(&presentation(vec![subtitles(0, "", "", false)]));
        assert!(
            text.contains("<BaseURL>0a/subtitles-0.vtt</BaseURL>") && !text.contains("SegmentList"),
            "{text}"
        );
    }

    #[test]
    fn timelines_follow_rounded_seconds_and_gaps() {
        let segment = |start: f64, seconds: f64| Segment { start, seconds, ..segments("s", 0, 9)[0].clone() };
        // 188 and 187 frames of AAC, rounded; the third is followed by a gap.
        let cuts = [(0.0, 4.010_7), (4.010_667, 3.989_333), (8.0, 3.989_333), (12.0, 1.0)];
        let list: Vec<_> = cuts.iter().map(|&(start, seconds)| segment(start, seconds)).collect();
        let expected = [(Some(0), 192_512), (None, 191_488), (None, 191_488), (Some(576_000), 48_000)];
        assert_eq!(timeline(&list, 48_000), expected);
    }

    proptest! {
        #[test]
        fn any_name_is_safe(name in any::<String>(), language in any::<String>(), id in any::<String>()) {
            let mut sound = audio(0, 2, &language, &name);
            (sound.id, sound.init, sound.codec) = (id.clone(), format!("i{id}"), format!("c{name}"));
            let text = manifest(&presentation(vec![sound]));
            let plain = manifest(&presentation(vec![audio(0, 2, "en", "x")]));
            prop_assert_eq!(text.matches('<').count(), plain.matches('<').count());
            prop_assert_eq!(text.matches('>').count(), plain.matches('>').count());
            let quotes = |text: &str| text.matches('"').count() - 2 * text.matches(" lang=\"").count();
            prop_assert_eq!(quotes(&text), quotes(&plain), "{}", text);
        }

        #[test]
        fn a_timeline_holds_every_segment(lengths in proptest::collection::vec(1u32..400_000, 1..40), timescale in 1000u32..90_001) {
            let mut start = 0;
            let mut list = Vec::new();
            for ticks in lengths {
                let to_seconds = |ticks: u32| f64::from(ticks) / f64::from(timescale);
                list.push(Segment { start: to_seconds(start), seconds: to_seconds(ticks), ..segments("s", 0, 9)[0].clone() });
                start += ticks;
            }
            let times = timeline(&list, timescale);
            prop_assert_eq!(times.len(), list.len());
            prop_assert_eq!(times.iter().map(|(_, ticks)| ticks).sum::<u64>(), u64::from(start));
            prop_assert!(times[1..].iter().all(|(start, _)| start.is_none()));
            let track = Track { segments: list, ..rung(720, 9, VideoRange::Sdr) };
            let text = manifest(&presentation(vec![track.clone()]));
            prop_assert_eq!(text.matches("<SegmentURL").count(), track.segments.len());
        }
    }
}
