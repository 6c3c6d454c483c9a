//! How long tracks are, and what is shown where nothing is recorded.

use super::{AudioPart, Rate, Source, options, plan, source};

/// A picture of `picture` seconds in a file of `all` seconds.
fn held(picture: f64, all: f64) -> Source {
    let mut source = source(1920, 1080, (25, 1), Some(all));
    let video = source.video.as_mut().expect("video");
    (video.end, video.duration) = (Some(picture), Some(picture));
    source.hold_picture(picture);
    source
}

#[test]
fn plan_picture_that_ends_early_is_held_by_one_segment_that_is_repeated() {
    // Segments of 100 frames.
    let cases = [
        (10.0, 900.0, 300 + 100, Some((3, 222))),
        (10.0, 901.0, 300 + 100 + 25, Some((3, 222))),
        (12.0, 22.0, 300 + 100 + 50, Some((3, 2))),
        (10.0, 17.0, 425, None),
        (10.0, 10.5, 262, None),
        (0.04, 3600.0, 100 + 100, Some((1, 899))),
    ];
    for (picture, all, encoded, repeated) in cases {
        let plan = plan(&held(picture, all), &options());
        let video = plan.video.as_ref().expect("video");
        let last = video.chunks.last().expect("chunk");
        assert_eq!(last.frames.map(|frames| last.first_frame + frames), Some(encoded), "{picture} of {all}");
        assert_eq!(video.held.map(|held| (held.segment, held.times)), repeated, "{picture} of {all}");
        assert!(video.held.is_none_or(|held| held.segment >= last.first_segment));
        assert_eq!(plan.expected_frames(), Some(encoded as f64));
        let seconds = plan.expected_seconds().expect("known");
        assert!((seconds - all).abs() < 0.03, "{seconds} of {all}");
    }
}

#[test]
fn plan_picture_that_ends_with_the_other_tracks_is_not_held() {
    for picture in [9.95, 10.0, 10.3] {
        let video = plan(&held(picture, 10.0), &options()).video.expect("video");
        assert_eq!(
            (video.held, video.chunks.last().and_then(|chunk| chunk.frames)),
            (None, None),
            "{picture}"
        );
    }
    // The end of the file is missing: what it states is not there.
    let mut truncated = source(1920, 1080, (25, 1), Some(20.0));
    truncated.video.as_mut().expect("video").end = Some(18.0);
    truncated.hold_picture(11.0);
    assert_eq!(truncated.video.as_ref().and_then(|video| video.held_from), None);
    truncated.video.as_mut().expect("video").mean_rate = Rate::new(1, 6);
    truncated.hold_picture(11.0);
    assert_eq!(truncated.video.and_then(|video| video.held_from), Some(11.0), "a sequence of slides");
    let older = plan(&Source { output_version: 6, ..held(10.0, 900.0) }, &options());
    assert_eq!(older.video.and_then(|video| video.held), None);
}

#[test]
fn plan_silence_follows_sound_that_ends_early() {
    let mut source = source(1920, 1080, (25, 1), Some(100.0));
    let part = |first_segment, segments| AudioPart { first_segment, segments };
    let complete = plan(&source, &options());
    assert_eq!(complete.silence_until(0), None);
    assert_eq!(complete.audio_segments(0, part(4, None)), 1, "as many as it has");
    source.audio[0].ends_early = true;
    let plan = plan(&source, &options());
    assert!(plan.silence_until(0).is_some_and(|end| (end - 100.0).abs() < 0.001));
    // 100 s are 25 segments of 188 frames of 1024 samples.
    assert_eq!(plan.audio_segments(0, part(0, None)), 25);
    assert_eq!(plan.audio_segments(0, part(4, None)), 21);
    assert_eq!(plan.audio_segments(0, part(4, Some(7))), 7);
}

#[test]
fn plan_of_a_still_chunk_encodes_its_first_segment_for_all() {
    let plan = plan(&source(1920, 1080, (25, 1), Some(600.0)), &options());
    let index = 4;
    let chunk = plan.video.as_ref().expect("video").chunks[index];
    let still = plan.with_still_chunk(index).expect("several segments");
    let video = still.video.as_ref().expect("video");
    assert_eq!((chunk.frames, video.chunks[index].frames), (Some(800), Some(100)));
    assert_eq!(video.held.map(|held| (held.segment, held.times)), Some((chunk.first_segment, 8)));
    assert!(still.poster.expect("poster").at_seconds <= video.chunk_start(index));
    assert!(plan.with_still_chunk(0).is_none(), "one segment");
    assert!(plan.with_still_chunk(video.chunks.len() - 1).is_none(), "the last one");
}
