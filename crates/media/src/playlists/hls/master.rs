//! The master playlist.

use super::{
    super::{
        bandwidth::Bandwidth,
        model::{Presentation, Track, TrackKind},
    },
    groups::{Group, Rendition, audio_groups, subtitle_group},
    media::leading_keyframes,
    put,
    variants::{audio_variants, rungs, video_variants},
};

/// The master playlist of the tracks that have a segment.
///
/// For each audio group the variant nearest to 2 Mbit/s comes first, then the others, highest first. (hls.js and Shaka
/// sort by themselves.)
pub fn master(presentation: &Presentation) -> String {
    let tracks: Vec<_> = presentation.tracks.iter().filter(|track| !track.segments.is_empty()).collect();
    let rungs = rungs(&tracks);
    let mut audio = audio_groups(&tracks);
    let subtitles = subtitle_group(&tracks);
    let variants = if rungs.is_empty() { audio_variants(&mut audio) } else { video_variants(&rungs, &audio) };

    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for group in audio.iter().chain(&subtitles) {
        for member in &group.members {
            rendition(&mut text, group.id, member);
        }
    }
    let subtitle_bandwidth = subtitles.as_ref().map(Group::bandwidth).unwrap_or_default();
    for variant in variants {
        let bandwidth = variant.bandwidth.with(subtitle_bandwidth);
        text.push_str("#EXT-X-STREAM-INF:");
        stream_attributes(&mut text, variant.track, bandwidth, &variant.codecs, true);
        if let Some(group) = variant.audio {
            put(&mut text, format_args!(",AUDIO=\"{group}\""));
        }
        if let Some(group) = &subtitles {
            put(&mut text, format_args!(",SUBTITLES=\"{}\"", group.id));
        }
        put(&mut text, format_args!(",CLOSED-CAPTIONS=NONE\n{}\n", variant.track.playlist()));
    }
    for rung in rungs {
        let keyframes = leading_keyframes(rung);
        if keyframes.is_empty() {
            continue;
        }
        text.push_str("#EXT-X-I-FRAME-STREAM-INF:");
        stream_attributes(&mut text, rung, Bandwidth::of_keyframes(keyframes), &[&rung.codec], false);
        put(&mut text, format_args!(",URI=\"{}\"\n", rung.iframe_playlist()));
    }
    text
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

/// The common attributes of `EXT-X-STREAM-INF` and `EXT-X-I-FRAME-STREAM-INF`; the latter has no frame rate.
fn stream_attributes(
    text: &mut String,
    track: &Track,
    bandwidth: Bandwidth,
    codecs: &[&str],
    with_frame_rate: bool,
) {
    put(text, format_args!("BANDWIDTH={},AVERAGE-BANDWIDTH={}", bandwidth.peak, bandwidth.average));
    put(text, format_args!(",CODECS=\"{}\"", codecs.join(",")));
    if let TrackKind::Video { size, rate, range } = &track.kind {
        put(text, format_args!(",RESOLUTION={}x{}", size.width, size.height));
        if with_frame_rate {
            put(text, format_args!(",FRAME-RATE={:.3}", rate.fps()));
        }
        put(text, format_args!(",VIDEO-RANGE={}", range.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::master;
    use crate::{
        playlists::{
            Bandwidth, Presentation, TrackKind,
            fixtures::{audio, presentation, rung, subtitles},
        },
        probe::VideoRange,
    };

    #[test]
    fn master_lists_renditions_variants_and_iframe_playlists() {
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
        // Three segments over 9 s; the last, of 1 s, is measured together with the one before: 5 s.
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

    /// `AUDIO` (or `-`) and URL of each variant.
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
    fn master_lists_each_rung_with_each_audio_group() {
        let tracks = vec![
            rung(1080, 3_000_000, VideoRange::Sdr),
            rung(720, 1_000_000, VideoRange::Pq),
            audio(0, 6, "", ""),
            audio(1, 2, "", ""),
        ];
        let text = master(&presentation(tracks));
        let found = variants(&text);
        let found: Vec<_> = found.iter().map(|(group, uri)| (group.as_str(), uri.as_str())).collect();
        let expected = [
            ("audio", "1080p.m3u8"),
            ("audio", "720p.m3u8"),
            ("audio-surround", "1080p.m3u8"),
            ("audio-surround", "720p.m3u8"),
        ];
        assert_eq!(found, expected, "SDR comes first, although the other is nearer to 2 Mbit/s");
        assert!(
            text.contains("CHANNELS=\"6\",URI=\"audio-0.m3u8\"") && text.contains("VIDEO-RANGE=PQ"),
            "{text}"
        );
    }

    #[test]
    fn master_audio_only_lists_one_variant_per_group() {
        let text = master(&presentation(vec![audio(0, 2, "eng", "")]));
        assert_eq!(variants(&text), [("-".to_owned(), "audio-0.m3u8".to_owned())]);
        assert!(!text.contains("EXT-X-MEDIA") && !text.contains("RESOLUTION"), "{text}");
        let text = master(&presentation(vec![audio(0, 2, "eng", ""), audio(1, 2, "deu", "")]));
        assert_eq!(variants(&text), [("audio".to_owned(), "audio-0.m3u8".to_owned())]);
        assert_eq!(text.matches("EXT-X-MEDIA:").count(), 2);
    }

    #[test]
    fn master_leaves_out_tracks_without_segments() {
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
        fn master_any_name_is_escaped(name in "\\PC*|[\"\\n\\r{}$,=#a]{0,12}", language in any::<String>(), id in any::<String>()) {
            let mut forced = subtitles(0, &language, &name, true);
            forced.id = id.clone();
            let tracks = vec![rung(360, 9, VideoRange::Sdr), audio(0, 2, &language, &name), audio(1, 2, &language, &name), forced];
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
        fn master_bandwidth_includes_audio(bytes in 1u64..1 << 40, channels in 1u32..9) {
            let tracks = vec![rung(360, bytes, VideoRange::Sdr), audio(0, channels, "", "")];
            let TrackKind::Audio { .. } = tracks[1].kind else { return Ok(()) };
            let text = master(&presentation(tracks.clone()));
            let line = text.lines().find_map(|line| line.strip_prefix("#EXT-X-STREAM-INF:")).expect("a variant");
            let attributes = attributes(line).expect("attributes");
            let number = |at: usize| attributes[at].1.parse::<u64>().expect("a number");
            let parts = tracks.iter().map(|track| Bandwidth::of(&track.segments));
            prop_assert_eq!(number(0), parts.map(|part| part.peak).sum::<u64>());
            prop_assert!(number(0) >= number(1) && number(1) > 0);
        }
    }
}
