//! HLS playlists (RFC 8216 and its successor, draft-pantos-hls-rfc8216bis).
//!
//! `EXT-X-VERSION` is the lowest that RFC 8216, section 7 allows for what a playlist holds.

use super::renditions::{Group, Rendition, audio_groups, subtitles};
use super::variants::{rungs, sound_variants, video_variants};
use super::{Bandwidth, Presentation, Segment, Track, TrackKind, address};
use crate::plan::SEGMENT_SECONDS;
use std::fmt::Write;

/// Segments are numbered from here.
const FIRST_SEGMENT: u32 = 1;

/// The master playlist of the tracks that have a segment.
///
/// For each audio group the variant nearest to 2 Mbit/s comes first, then the others, tallest first.
/// (hls.js and Shaka sort for themselves.)
pub fn master(presentation: &Presentation) -> String {
    let tracks: Vec<_> = presentation.tracks.iter().filter(|track| !track.segments.is_empty()).collect();
    let rungs = rungs(&tracks);
    let mut audio = audio_groups(&tracks);
    let texts = subtitles(&tracks);
    let variants = if rungs.is_empty() { sound_variants(&mut audio) } else { video_variants(&rungs, &audio) };

    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for group in audio.iter().chain(&texts) {
        for member in &group.members {
            rendition(&mut text, group.id, member);
        }
    }
    let text_bandwidth = texts.as_ref().map(Group::bandwidth).unwrap_or_default();
    for variant in variants {
        let bandwidth = variant.bandwidth.with(text_bandwidth);
        text.push_str("#EXT-X-STREAM-INF:");
        stream_attributes(&mut text, variant.track, bandwidth, &variant.codecs, true);
        if let Some(group) = variant.audio {
            put(&mut text, format_args!(",AUDIO=\"{group}\""));
        }
        if let Some(group) = &texts {
            put(&mut text, format_args!(",SUBTITLES=\"{}\"", group.id));
        }
        put(&mut text, format_args!(",CLOSED-CAPTIONS=NONE\n{}\n", variant.track.playlist()));
    }
    for rung in rungs.into_iter().filter(|rung| !keyframes(rung).is_empty()) {
        text.push_str("#EXT-X-I-FRAME-STREAM-INF:");
        let bandwidth = Bandwidth::of_keyframes(keyframes(rung));
        stream_attributes(&mut text, rung, bandwidth, &[&rung.codec], false);
        put(&mut text, format_args!(",URI=\"{}\"\n", rung.iframe_playlist()));
    }
    text
}

/// Writing to a string cannot fail.
fn put(text: &mut String, args: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(args);
}

fn rendition(text: &mut String, group: &str, member: &Rendition<'_>) {
    let kind = if member.track.is_subtitles() { "SUBTITLES" } else { "AUDIO" };
    let yes = |set: bool| if set { "YES" } else { "NO" };
    put(text, format_args!("#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"{group}\",NAME=\"{}\"", member.name));
    if let Some(language) = &member.language {
        put(text, format_args!(",LANGUAGE=\"{language}\""));
    }
    put(text, format_args!(",DEFAULT={},AUTOSELECT={}", yes(member.default), yes(member.autoselect)));
    match member.track.kind {
        TrackKind::Audio { channels, .. } => put(text, format_args!(",CHANNELS=\"{}\"", channels.max(1))),
        _ => put(text, format_args!(",FORCED={}", yes(member.forced))),
    }
    put(text, format_args!(",URI=\"{}\"\n", member.track.playlist()));
}

/// What `EXT-X-STREAM-INF` and `EXT-X-I-FRAME-STREAM-INF` have in common; the latter has no frame rate.
fn stream_attributes(text: &mut String, track: &Track, bandwidth: Bandwidth, codecs: &[&str], frames: bool) {
    put(text, format_args!("BANDWIDTH={},AVERAGE-BANDWIDTH={}", bandwidth.peak, bandwidth.average));
    put(text, format_args!(",CODECS=\"{}\"", codecs.join(",")));
    if let TrackKind::Video { size, rate, range } = &track.kind {
        put(text, format_args!(",RESOLUTION={}x{}", size.width, size.height));
        if frames {
            put(text, format_args!(",FRAME-RATE={:.3}", rate.fps()));
        }
        put(text, format_args!(",VIDEO-RANGE={}", range.as_str()));
    }
}

/// A track's media playlist. While the track grows, so does the text, by whole segments at its end;
/// once complete its type changes to VOD and its end is marked.
pub fn media(track: &Track) -> String {
    let version = if track.init.is_empty() { 3 } else { 6 };
    let mut text = head(track, version);
    if !track.is_subtitles() {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    map(&mut text, track);
    for segment in &track.segments {
        put(&mut text, format_args!("#EXTINF:{:.6},\n{}\n", segment.seconds, address(&segment.uri)));
    }
    end(&mut text, track);
    text
}

/// The playlist of a rung's keyframes, for scrubbing: one a segment, up to the first whose size is
/// unknown. None when there is nothing to list.
pub fn iframes(track: &Track) -> Option<String> {
    let keyframes = keyframes(track);
    if !track.is_video() || keyframes.is_empty() {
        return None;
    }
    let mut text = head(track, 5);
    text.push_str("#EXT-X-I-FRAMES-ONLY\n");
    map(&mut text, track);
    for segment in keyframes {
        let (seconds, bytes) = (segment.seconds, segment.keyframe_bytes);
        let uri = address(&segment.uri);
        put(&mut text, format_args!("#EXTINF:{seconds:.6},\n#EXT-X-BYTERANGE:{bytes}@0\n{uri}\n"));
    }
    end(&mut text, track);
    Some(text)
}

/// The segments whose keyframes can be listed.
fn keyframes(track: &Track) -> &[Segment] {
    let known = |segment: &Segment| (1..=segment.bytes).contains(&segment.keyframe_bytes);
    let count = track.segments.iter().take_while(|segment| known(segment)).count();
    &track.segments[..count]
}

fn head(track: &Track, version: u32) -> String {
    // Must not change while the playlist grows, and segments are cut to this length.
    let longest = track.segments.iter().map(|segment| segment.seconds).fold(0.0, f64::max);
    let target = (longest.round() as u32).max(SEGMENT_SECONDS);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}\n\
         #EXT-X-MEDIA-SEQUENCE:{FIRST_SEGMENT}\n"
    );
    // A playlist without an end is taken for live: without START players begin at its last segments.
    text.push_str(if track.complete {
        "#EXT-X-PLAYLIST-TYPE:VOD\n"
    } else {
        "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-START:TIME-OFFSET=0,PRECISE=YES\n"
    });
    text
}

fn map(text: &mut String, track: &Track) {
    if !track.init.is_empty() {
        put(text, format_args!("#EXT-X-MAP:URI=\"{}\"\n", address(&track.init)));
    }
}

fn end(text: &mut String, track: &Track) {
    if track.complete {
        text.push_str("#EXT-X-ENDLIST\n");
    }
}

#[cfg(test)]
mod tests {
    use super::{iframes, master, media};
    use crate::playlists::tests::{audio, presentation, rung, subtitles};
    use crate::playlists::{Presentation, Track, TrackKind};
    use crate::probe::VideoRange;
    use proptest::prelude::*;

    #[test]
    fn a_media_playlist() {
        assert_eq!(
            media(&rung(720, 1_000, VideoRange::Sdr)),
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:1\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"0a/720p/init.mp4\"\n\
             #EXTINF:4.000000,\n0a/720p/seg_00000.m4s\n#EXTINF:4.000000,\n0a/720p/seg_00001.m4s\n\
             #EXTINF:1.000000,\n1a/720p/seg_00002.m4s\n#EXT-X-ENDLIST\n"
        );
        assert_eq!(
            media(&subtitles(0, "eng", "", false)),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:1\n\
             #EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:9.000000,\n0a/subtitles-0.vtt\n#EXT-X-ENDLIST\n"
        );
    }

    #[test]
    fn a_growing_media_playlist() {
        let track = Track { complete: false, ..rung(720, 1_000, VideoRange::Sdr) };
        let text = media(&Track { segments: track.segments[..1].to_vec(), ..track });
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:1\n\
             #EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-START:TIME-OFFSET=0,PRECISE=YES\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"0a/720p/init.mp4\"\n\
             #EXTINF:4.000000,\n0a/720p/seg_00000.m4s\n"
        );
    }

    #[test]
    fn an_iframe_playlist() {
        let mut track = rung(720, 1_000, VideoRange::Sdr);
        track.segments[2].keyframe_bytes = 0;
        assert_eq!(
            iframes(&track).as_deref(),
            Some(
                "#EXTM3U\n#EXT-X-VERSION:5\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:1\n\
                 #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-I-FRAMES-ONLY\n#EXT-X-MAP:URI=\"0a/720p/init.mp4\"\n\
                 #EXTINF:4.000000,\n#EXT-X-BYTERANGE:100@0\n0a/720p/seg_00000.m4s\n\
                 #EXTINF:4.000000,\n#EXT-X-BYTERANGE:100@0\n0a/720p/seg_00001.m4s\n#EXT-X-ENDLIST\n"
            )
        );
        track.segments[0].keyframe_bytes = 1_001;
        assert_eq!(iframes(&track), None, "more than the segment holds");
        assert_eq!(iframes(&audio(0, 2, "", "")), None);
    }

    #[test]
    fn a_master_playlist() {
        let tracks = vec![
            rung(360, 300_000, VideoRange::Sdr),
            rung(1080, 3_000_000, VideoRange::Sdr),
            rung(720, 1_000_000, VideoRange::Sdr),
            audio(0, 2, "eng", "Main"),
            subtitles(0, "deu", "", false),
        ];
        let stream = |peak: u64, average: u64, size: &str, id: &str| {
            format!(
                "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},\
                 CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION={size},FRAME-RATE=29.970,VIDEO-RANGE=SDR,\
                 AUDIO=\"audio\",SUBTITLES=\"subtitles\",CLOSED-CAPTIONS=NONE\n{id}.m3u8\n"
            )
        };
        let iframes = |peak: u64, average: u64, size: &str, id: &str| {
            format!(
                "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"avc1.64001f\",\
                 RESOLUTION={size},VIDEO-RANGE=SDR,URI=\"{id}.iframes.m3u8\"\n"
            )
        };
        // Three segments over 9 s; the last, 1 s long, counts with the one before: 5 s.
        let expected = [
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",LANGUAGE=\"en\",DEFAULT=YES,AUTOSELECT=YES,\
             CHANNELS=\"2\",URI=\"audio-0.m3u8\"\n\
             #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"de\",LANGUAGE=\"de\",DEFAULT=NO,AUTOSELECT=YES,\
             FORCED=NO,URI=\"subtitles-0.m3u8\"\n"
                .to_owned(),
            stream(3_251_280, 2_709_414, "1280x720", "720p"),
            stream(9_651_280, 8_042_747, "1920x1080", "1080p"),
            stream(1_011_280, 842_747, "640x360", "360p"),
            iframes(960_000, 800_000, "1920x1080", "1080p"),
            iframes(320_000, 266_667, "1280x720", "720p"),
            iframes(96_000, 80_000, "640x360", "360p"),
        ];
        assert_eq!(master(&presentation(tracks)), expected.concat());
    }

    /// `AUDIO` (or `-`) and address of each variant.
    fn variants(text: &str) -> Vec<(String, String)> {
        let lines: Vec<_> = text.lines().collect();
        let group = |line: &str| {
            line.split("AUDIO=\"").nth(1).map_or("-", |rest| rest.split('"').next().unwrap_or("")).to_owned()
        };
        lines
            .windows(2)
            .filter(|pair| pair[0].starts_with("#EXT-X-STREAM-INF"))
            .map(|pair| (group(pair[0]), pair[1].to_owned()))
            .collect()
    }

    #[test]
    fn each_rung_is_offered_with_each_audio_group() {
        let tracks = vec![
            rung(1080, 3_000_000, VideoRange::Sdr),
            rung(720, 1_000_000, VideoRange::Pq),
            audio(0, 6, "", ""),
            audio(1, 2, "", ""),
        ];
        let text = master(&presentation(tracks));
        let told = variants(&text);
        let told: Vec<_> = told.iter().map(|(group, uri)| (group.as_str(), uri.as_str())).collect();
        let expected = [
            ("audio", "1080p.m3u8"),
            ("audio", "720p.m3u8"),
            ("audio-surround", "1080p.m3u8"),
            ("audio-surround", "720p.m3u8"),
        ];
        assert_eq!(told, expected, "the first shows everywhere, though the other is nearer to 2 Mbit/s");
        assert!(
            text.contains("CHANNELS=\"6\",URI=\"audio-0.m3u8\"") && text.contains("VIDEO-RANGE=PQ"),
            "{text}"
        );
    }

    #[test]
    fn sound_alone() {
        let text = master(&presentation(vec![audio(0, 2, "eng", "")]));
        assert_eq!(variants(&text), [("-".to_owned(), "audio-0.m3u8".to_owned())]);
        assert!(!text.contains("EXT-X-MEDIA") && !text.contains("RESOLUTION"), "{text}");
        let text = master(&presentation(vec![audio(0, 2, "eng", ""), audio(1, 2, "deu", "")]));
        assert_eq!(variants(&text), [("audio".to_owned(), "audio-0.m3u8".to_owned())]);
        assert_eq!(text.matches("EXT-X-MEDIA:").count(), 2);
    }

    #[test]
    fn tracks_without_segments_are_not_listed() {
        let mut empty = rung(1080, 1, VideoRange::Sdr);
        empty.segments.clear();
        let text = master(&presentation(vec![empty, rung(360, 9_000, VideoRange::Sdr)]));
        assert_eq!(variants(&text), [("-".to_owned(), "360p.m3u8".to_owned())]);
        assert_eq!(master(&Presentation::default()).lines().count(), 3);
    }

    /// Splits `NAME=value,NAME="value"` by the grammar of RFC 8216, section 4.2.
    fn attributes(mut line: &str) -> Option<Vec<(&str, &str)>> {
        let mut found = Vec::new();
        while !line.is_empty() {
            let (name, rest) = line.split_once('=')?;
            let (value, rest) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
            };
            found.push((name, value));
            line = if rest.is_empty() { rest } else { rest.strip_prefix(',')? };
        }
        Some(found)
    }

    proptest! {
        #[test]
        fn any_name_is_safe(name in "\\PC*|[\"\\n\\r{}$,=#a]{0,12}", language in any::<String>(), id in any::<String>()) {
            let mut text = subtitles(0, &language, &name, true);
            text.id = id.clone();
            let tracks = vec![rung(360, 9, VideoRange::Sdr), audio(0, 2, &language, &name), audio(1, 2, &language, &name), text];
            let master = master(&presentation(tracks));
            let kinds: Vec<_> = master.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
            prop_assert_eq!(&kinds[..3], ["#EXTM3U", "#EXT-X-VERSION", "#EXT-X-INDEPENDENT-SEGMENTS"]);
            prop_assert_eq!(&kinds[3..7], ["#EXT-X-MEDIA", "#EXT-X-MEDIA", "#EXT-X-MEDIA", "#EXT-X-STREAM-INF"]);
            prop_assert_eq!(&kinds[7..], ["360p.m3u8"]);
            for line in master.lines().skip(3).take(3) {
                let found = attributes(line.trim_start_matches("#EXT-X-MEDIA:"));
                let names: Vec<_> = found.into_iter().flatten().map(|(name, _)| name).filter(|&name| name != "LANGUAGE").collect();
                prop_assert_eq!(&names[..5], ["TYPE", "GROUP-ID", "NAME", "DEFAULT", "AUTOSELECT"], "{}", line);
                prop_assert_eq!((names[6], names.len()), ("URI", 7), "{}", line);
                prop_assert!(!line.contains('{'), "{}", line);
            }
        }

        #[test]
        fn playlists_only_grow(lengths in proptest::collection::vec(0.1f64..4.4, 1..20), known in 0usize..20, sound in any::<bool>()) {
            let model = if sound { audio(0, 2, "", "") } else { rung(720, 1_000, VideoRange::Sdr) };
            let one = model.segments[0].clone();
            let mut track = Track { segments: Vec::new(), complete: false, ..model };
            let (mut before, mut scrub_before) = (media(&track), String::new());
            for (place, seconds) in lengths.into_iter().enumerate() {
                let keyframe_bytes = if place == known { 0 } else { one.keyframe_bytes };
                track.segments.push(crate::playlists::Segment { seconds, keyframe_bytes, ..one.clone() });
                let (now, scrub) = (media(&track), iframes(&track).unwrap_or_default());
                prop_assert!(now.len() > before.len() && now.starts_with(&before));
                prop_assert!(scrub.starts_with(&scrub_before));
                prop_assert_eq!(scrub.matches("BYTERANGE").count(), if sound { 0 } else { known.min(place + 1) });
                (before, scrub_before) = (now, scrub);
            }
            let complete = media(&Track { complete: true, ..track });
            let growing = "EVENT\n#EXT-X-START:TIME-OFFSET=0,PRECISE=YES\n";
            prop_assert_eq!(complete, before.replace(growing, "VOD\n") + "#EXT-X-ENDLIST\n");
        }

        #[test]
        fn variants_hold_their_audio(bytes in 1u64..1 << 40, channels in 1u32..9) {
            let tracks = vec![rung(360, bytes, VideoRange::Sdr), audio(0, channels, "", "")];
            let TrackKind::Audio { .. } = tracks[1].kind else { return Ok(()) };
            let text = master(&presentation(tracks.clone()));
            let line = text.lines().find_map(|line| line.strip_prefix("#EXT-X-STREAM-INF:")).expect("a variant");
            let told = attributes(line).expect("attributes");
            let number = |at: usize| told[at].1.parse::<u64>().expect("a number");
            let parts = tracks.iter().map(|track| crate::playlists::Bandwidth::of(&track.segments));
            prop_assert_eq!(number(0), parts.map(|part| part.peak).sum::<u64>());
            prop_assert!(number(0) >= number(1) && number(1) > 0);
        }
    }
}
