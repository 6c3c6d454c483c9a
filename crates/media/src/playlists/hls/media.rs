//! Media playlists and I-frame playlists.

use super::{
    super::{
        model::{Segment, Track},
        text::escape_uri,
    },
    put,
};
use crate::plan::SEGMENT_SECONDS;

/// Media sequence number of the first segment.
const FIRST_MEDIA_SEQUENCE: u32 = 1;

/// The media playlist of a track. While the track grows, whole segments are appended to the text. Once the track is
/// complete, the playlist type changes to VOD and the end is marked.
pub fn media(track: &Track) -> String {
    let version = if track.init.is_empty() { 3 } else { 6 };
    let mut text = head(track, version);
    if !track.is_subtitles() {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    map(&mut text, track);
    for segment in &track.segments {
        put(&mut text, format_args!("#EXTINF:{:.6},\n{}\n", segment.seconds, escape_uri(&segment.uri)));
    }
    end(&mut text, track);
    text
}

/// The playlist of a rung's keyframes, for scrubbing: one per segment, up to the first of unknown size. None if there is
/// nothing to list.
pub fn iframes(track: &Track) -> Option<String> {
    let keyframes = leading_keyframes(track);
    if !track.is_video() || keyframes.is_empty() {
        return None;
    }
    let mut text = head(track, 5);
    text.push_str("#EXT-X-I-FRAMES-ONLY\n");
    map(&mut text, track);
    for segment in keyframes {
        let (seconds, bytes) = (segment.seconds, segment.keyframe_bytes);
        let uri = escape_uri(&segment.uri);
        put(&mut text, format_args!("#EXTINF:{seconds:.6},\n#EXT-X-BYTERANGE:{bytes}@0\n{uri}\n"));
    }
    end(&mut text, track);
    Some(text)
}

/// The segments before the first whose keyframe has an unknown size.
pub(super) fn leading_keyframes(track: &Track) -> &[Segment] {
    let known = |segment: &Segment| (1..=segment.bytes).contains(&segment.keyframe_bytes);
    let count = track.segments.iter().take_while(|segment| known(segment)).count();
    &track.segments[..count]
}

fn head(track: &Track, version: u32) -> String {
    // Must not change while the playlist grows. Segments are cut to this duration.
    let longest = track.segments.iter().map(|segment| segment.seconds).fold(0.0, f64::max);
    let target = (longest.round() as u32).max(SEGMENT_SECONDS);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}\n\
         #EXT-X-MEDIA-SEQUENCE:{FIRST_MEDIA_SEQUENCE}\n"
    );
    // Players treat a playlist without an end as live, and start at its last segments unless there is a START.
    text.push_str(if track.complete {
        "#EXT-X-PLAYLIST-TYPE:VOD\n"
    } else {
        "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-START:TIME-OFFSET=0,PRECISE=YES\n"
    });
    text
}

fn map(text: &mut String, track: &Track) {
    if !track.init.is_empty() {
        put(text, format_args!("#EXT-X-MAP:URI=\"{}\"\n", escape_uri(&track.init)));
    }
}

fn end(text: &mut String, track: &Track) {
    if track.complete {
        text.push_str("#EXT-X-ENDLIST\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{iframes, media};
    use crate::{
        playlists::{
            Segment, Track,
            fixtures::{audio, rung, subtitles},
        },
        probe::VideoRange,
    };

    #[test]
    fn media_complete_track_is_vod() {
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
    fn media_incomplete_track_is_event() {
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
    fn iframes_lists_keyframes_of_known_size() {
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
        assert_eq!(iframes(&track), None, "more bytes than the segment has");
        assert_eq!(iframes(&audio(0, 2, "", "")), None);
    }

    proptest! {
        #[test]
        fn media_and_iframes_of_growing_track_only_append(lengths in proptest::collection::vec(0.1f64..4.4, 1..20), known in 0usize..20, audio_only in any::<bool>()) {
            let model = if audio_only { audio(0, 2, "", "") } else { rung(720, 1_000, VideoRange::Sdr) };
            let one = model.segments[0].clone();
            let mut track = Track { segments: Vec::new(), complete: false, ..model };
            let (mut before, mut scrub_before) = (media(&track), String::new());
            for (index, seconds) in lengths.into_iter().enumerate() {
                let keyframe_bytes = if index == known { 0 } else { one.keyframe_bytes };
                track.segments.push(Segment { seconds, keyframe_bytes, ..one.clone() });
                let (now, scrub) = (media(&track), iframes(&track).unwrap_or_default());
                prop_assert!(now.len() > before.len() && now.starts_with(&before));
                prop_assert!(scrub.starts_with(&scrub_before));
                prop_assert_eq!(scrub.matches("BYTERANGE").count(), if audio_only { 0 } else { known.min(index + 1) });
                (before, scrub_before) = (now, scrub);
            }
            let complete = media(&Track { complete: true, ..track });
            let growing = "EVENT\n#EXT-X-START:TIME-OFFSET=0,PRECISE=YES\n";
            prop_assert_eq!(complete, before.replace(growing, "VOD\n") + "#EXT-X-ENDLIST\n");
        }
    }
}
