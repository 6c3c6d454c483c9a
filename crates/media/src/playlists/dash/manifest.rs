//! The manifest and its adaptation sets.

use super::{
    super::{
        bandwidth::Bandwidth,
        labels::{label, language},
        model::{Presentation, Track, TrackKind},
        text::escape_uri,
    },
    timeline::timeline,
    xml::Xml,
};
use crate::{geometry::gcd, plan::SEGMENT_SECONDS, probe::VideoRange};

/// Ticks per second of subtitle tracks.
const SUBTITLE_TIMESCALE: u32 = 1000;

/// The manifest of a complete presentation. Its type is static: no segment may be added later.
pub fn manifest(presentation: &Presentation) -> String {
    let tracks: Vec<_> = presentation.tracks.iter().filter(|track| !track.segments.is_empty()).collect();
    let durations = tracks.iter().filter(|track| !track.is_subtitles()).map(|track| track.end());
    let mut xml = Xml::new();
    xml.open(
        "MPD",
        &[
            ("xmlns", "urn:mpeg:dash:schema:mpd:2011"),
            ("profiles", "urn:mpeg:dash:profile:isoff-main:2011"),
            ("type", "static"),
            ("mediaPresentationDuration", &format!("PT{:.3}S", durations.fold(0.0, f64::max))),
            ("minBufferTime", &format!("PT{SEGMENT_SECONDS}S")),
        ],
    );
    xml.open("Period", &[("id", "0"), ("start", "PT0S")]);
    let mut sets = 0..;
    let mut next_id = || sets.next().unwrap_or(0u32).to_string();
    let audio = tracks.iter().filter(|track| matches!(track.kind, TrackKind::Audio { .. }));
    let default =
        audio.clone().find(|track| track.is_default()).or(audio.clone().next()).map(|track| &track.id);
    for rungs in switching_sets(&tracks) {
        video_set(&mut xml, &next_id(), &rungs);
    }
    for track in &tracks {
        match track.kind {
            TrackKind::Video { .. } => {}
            TrackKind::Audio { channels, sample_rate, .. } => {
                let is_main = track.is_default() || default == Some(&track.id);
                audio_set(&mut xml, &next_id(), track, is_main, (channels, sample_rate));
            }
            TrackKind::Subtitles { .. } => subtitle_set(&mut xml, &next_id(), track),
        }
    }
    xml.close("Period");
    xml.close("MPD");
    xml.finish()
}

/// The rungs in sets within which a player may switch: same codec, same dynamic range.
fn switching_sets<'a>(tracks: &[&'a Track]) -> Vec<Vec<&'a Track>> {
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
    let video = |track: &&Track| match track.kind {
        TrackKind::Video { size, rate, range } => Some((size, rate, range)),
        _ => None,
    };
    let all: Vec<_> = rungs.iter().filter_map(video).collect();
    let Some(&(largest, _, range)) = all.iter().max_by_key(|(size, ..)| size.pixels()) else { return };
    let max_rate = all.iter().map(|(_, rate, _)| *rate).max_by(|a, b| a.fps().total_cmp(&b.fps()));
    let divisor = gcd(u64::from(largest.width), u64::from(largest.height));
    xml.open(
        "AdaptationSet",
        &[
            ("id", id),
            ("contentType", "video"),
            ("mimeType", "video/mp4"),
            ("segmentAlignment", "true"),
            ("startWithSAP", "1"),
            (
                "par",
                &format!("{}:{}", u64::from(largest.width) / divisor, u64::from(largest.height) / divisor),
            ),
            ("maxWidth", &all.iter().map(|(size, ..)| size.width).max().unwrap_or(0).to_string()),
            ("maxHeight", &all.iter().map(|(size, ..)| size.height).max().unwrap_or(0).to_string()),
            ("maxFrameRate", &max_rate.map_or(String::new(), |rate| rate.to_string())),
        ],
    );
    for (property, value) in colour_properties(range) {
        let scheme = format!("urn:mpeg:mpegB:cicp:{property}");
        xml.empty("SupplementalProperty", &[("schemeIdUri", &scheme), ("value", value)]);
    }
    for (track, (size, rate, _)) in rungs.iter().zip(&all) {
        let size = (size.width.to_string(), size.height.to_string());
        let attributes = [
            ("width", size.0.as_str()),
            ("height", &size.1),
            ("frameRate", &rate.to_string()),
            ("sar", "1:1"),
        ];
        representation(xml, track, &attributes, rate.timescale());
    }
    xml.close("AdaptationSet");
}

/// Code points of ISO/IEC 23091-2 for HDR; none for BT.709.
fn colour_properties(range: VideoRange) -> Vec<(&'static str, &'static str)> {
    let transfer = match range {
        VideoRange::Sdr => return Vec::new(),
        VideoRange::Pq => "16",
        VideoRange::Hlg => "18",
    };
    vec![("ColourPrimaries", "9"), ("TransferCharacteristics", transfer), ("MatrixCoefficients", "9")]
}

fn audio_set(xml: &mut Xml, id: &str, track: &Track, is_main: bool, (channels, sample_rate): (u32, u32)) {
    open_named(xml, id, track, "audio", "audio/mp4", "Audio");
    role(xml, if is_main { "main" } else { "alternate" });
    let rate = sample_rate.to_string();
    representation_with(xml, track, &[("audioSamplingRate", rate.as_str())], sample_rate, |xml| {
        if let Some(value) = channel_configuration(channels) {
            let scheme = "urn:mpeg:mpegB:cicp:ChannelConfiguration";
            xml.empty("AudioChannelConfiguration", &[("schemeIdUri", scheme), ("value", value)]);
        }
    });
    xml.close("AdaptationSet");
}

/// The usual channel configuration of ISO/IEC 23091-3: 6.1 for 7 channels, 7.1 for 8.
fn channel_configuration(channels: u32) -> Option<&'static str> {
    let layouts = ["1", "2", "3", "4", "5", "6", "11", "12"];
    layouts.get(usize::try_from(channels).ok()?.checked_sub(1)?).copied()
}

fn subtitle_set(xml: &mut Xml, id: &str, track: &Track) {
    open_named(xml, id, track, "text", "text/vtt", "Subtitles");
    role(xml, if track.is_forced() { "forced-subtitle" } else { "subtitle" });
    if track.is_default() {
        role(xml, "main");
    }
    // A single file needs no segment list, and more players support it without one.
    if let [whole] = &track.segments[..] {
        xml.open("Representation", &[("id", &escape_uri(&track.id)), ("bandwidth", &bandwidth(track))]);
        xml.leaf("BaseURL", &escape_uri(&whole.uri));
        xml.close("Representation");
    } else {
        representation(xml, track, &[], SUBTITLE_TIMESCALE);
    }
    xml.close("AdaptationSet");
}

/// Opens an adaptation set with the language and the label of its only track.
fn open_named(xml: &mut Xml, id: &str, track: &Track, content: &str, mime: &str, fallback_label: &str) {
    let language = language(track);
    let mut attributes = vec![("id", id), ("contentType", content), ("mimeType", mime)];
    attributes.extend([("segmentAlignment", "true"), ("startWithSAP", "1")]);
    attributes.extend(language.as_deref().map(|language| ("lang", language)));
    xml.open("AdaptationSet", &attributes);
    xml.leaf("Label", &label(track, fallback_label));
}

fn role(xml: &mut Xml, value: &str) {
    xml.empty("Role", &[("schemeIdUri", "urn:mpeg:dash:role:2011"), ("value", value)]);
}

fn bandwidth(track: &Track) -> String {
    Bandwidth::of(&track.segments).peak.max(1).to_string()
}

fn representation(xml: &mut Xml, track: &Track, more_attributes: &[(&str, &str)], timescale: u32) {
    representation_with(xml, track, more_attributes, timescale, |_| {});
}

/// A representation; `describe` writes the elements before its segments.
fn representation_with(
    xml: &mut Xml,
    track: &Track,
    more_attributes: &[(&str, &str)],
    timescale: u32,
    describe: impl FnOnce(&mut Xml),
) {
    let (id, bandwidth) = (escape_uri(&track.id), bandwidth(track));
    let mut attributes = vec![("id", id.as_str()), ("bandwidth", &bandwidth)];
    if !track.codec.is_empty() {
        attributes.push(("codecs", &track.codec));
    }
    attributes.extend(more_attributes);
    xml.open("Representation", &attributes);
    describe(xml);
    let timescale = timescale.max(1);
    let offset_ticks = (track.presentation_time_offset * f64::from(timescale)).round() as u64;
    let (ticks, offset) = (timescale.to_string(), offset_ticks.to_string());
    let mut attributes = vec![("timescale", ticks.as_str())];
    attributes.extend((offset_ticks > 0).then_some(("presentationTimeOffset", offset.as_str())));
    xml.open("SegmentList", &attributes);
    if !track.init.is_empty() {
        xml.empty("Initialization", &[("sourceURL", &escape_uri(&track.init))]);
    }
    xml.open("SegmentTimeline", &[]);
    for (start, ticks) in timeline(&track.segments, timescale) {
        // Presentation times in the segments.
        let start = start.map(|start| ("t", (start + offset_ticks).to_string()));
        let attributes: Vec<_> = start.into_iter().chain([("d", ticks.to_string())]).collect();
        xml.empty("S", &attributes.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    }
    xml.close("SegmentTimeline");
    for segment in &track.segments {
        xml.empty("SegmentURL", &[("media", &escape_uri(&segment.uri))]);
    }
    xml.close("SegmentList");
    xml.close("Representation");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::timeline::timeline, manifest};
    use crate::{
        playlists::{
            Segment, Track, TrackKind,
            fixtures::{audio, presentation, rung, segments, subtitles},
        },
        probe::VideoRange,
    };

    #[test]
    fn manifest_states_the_presentation_time_offset() {
        let track = Track { presentation_time_offset: 0.1, ..rung(720, 1_000_000, VideoRange::Sdr) };
        let text = manifest(&presentation(vec![track]));
        assert!(text.contains(r#"<SegmentList timescale="30000" presentationTimeOffset="3000">"#), "{text}");
        assert!(text.contains(r#"<S t="3000" d="120000"/>"#), "{text}");
        assert!(text.contains(r#"mediaPresentationDuration="PT9.000S""#), "{text}");
    }

    #[test]
    fn manifest_lists_video_audio_and_subtitles() {
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
    fn manifest_adaptation_set_has_one_range_and_codec() {
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
    fn manifest_has_one_main_audio_track() {
        let mut tracks = vec![audio(0, 2, "eng", ""), audio(1, 2, "deu", "")];
        let roles = |tracks: &[Track]| {
            let text = manifest(&presentation(tracks.to_vec()));
            [r#""main""#, r#""alternate""#].map(|role| text.find(role).unwrap_or(0))
        };
        assert!(roles(&tracks).is_sorted(), "the first, because none is marked");
        if let TrackKind::Audio { default, .. } = &mut tracks[1].kind {
            *default = true;
        }
        assert!(!roles(&tracks).is_sorted());
    }

    #[test]
    fn manifest_single_subtitle_file_has_no_segment_list() {
        let text = manifest(&presentation(vec![subtitles(0, "", "", false)]));
        assert!(
            text.contains("<BaseURL>0a/subtitles-0.vtt</BaseURL>") && !text.contains("SegmentList"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn manifest_any_name_is_escaped(name in any::<String>(), language in any::<String>(), id in any::<String>()) {
            let mut track = audio(0, 2, &language, &name);
            (track.id, track.init, track.codec) = (id.clone(), format!("i{id}"), format!("c{name}"));
            let text = manifest(&presentation(vec![track]));
            let plain = manifest(&presentation(vec![audio(0, 2, "en", "x")]));
            prop_assert_eq!(text.matches('<').count(), plain.matches('<').count());
            prop_assert_eq!(text.matches('>').count(), plain.matches('>').count());
            let quotes = |text: &str| text.matches('"').count() - 2 * text.matches(" lang=\"").count();
            prop_assert_eq!(quotes(&text), quotes(&plain), "{}", text);
        }

        #[test]
        fn timeline_and_manifest_cover_every_segment(durations in proptest::collection::vec(1u32..400_000, 1..40), timescale in 1000u32..90_001) {
            let mut start = 0;
            let mut list = Vec::new();
            for ticks in durations {
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
