mod lengths;

use std::collections::HashSet;

use proptest::prelude::*;

use super::{AudioPart, Codec, Options, Plan, WorkUnit, model::AUDIO_WORK_PIXELS, plan};
use crate::{
    fragments::Shift,
    geometry::{Orientation, Size},
    probe::{Audio, Contents, HdrMetadata, Mix, Source, Subtitles, Video, VideoRange},
    rate::Rate,
};

fn source(width: u32, height: u32, rate: (u32, u32), duration: Option<f64>) -> Source {
    Source {
        container: "mov".into(),
        start_time: 0.0,
        first_stream_start: 0.0,
        has_b_frames: false,
        duration,
        audio: vec![track(1, 2)],
        max_duration: f64::MAX,
        subtitles: Vec::new(),
        cover: None,
        output_version: crate::OUTPUT_VERSION,
        skipped: 0,
        other_programs: 0,
        contents: Contents::default(),
        probed_seconds: None,
        has_captions: false,
        has_clock_gap: false,
        pauses: Vec::new(),
        merges_tracks: false,
        stated_duration: None,
        is_seekable: true,
        has_another_recording: false,
        unknown_ends: Vec::new(),
        is_cut_off: false,
        claimed_duration: None,
        video: Some(Video {
            index: 0,
            codec: "h264".into(),
            stored: Size { width, height },
            crop: None,
            number: 0,
            pixel_aspect: (1, 1),
            orientation: Orientation::Upright,
            nominal_rate: Rate::new(rate.0, rate.1),
            mean_rate: Rate::new(rate.0, rate.1),
            pixel_format: "yuv420p".into(),
            interlaced: false,
            may_turn_interlaced: false,
            has_colour_tags: true,
            range: VideoRange::Sdr,
            needs_dolby_vision: false,
            hdr_metadata: HdrMetadata::default(),
            start: Some(0.0),
            duration,
            stated_end: None,
            end: None,
            held_from: None,
            coded_aspect: (1, 1),
            busiest_rate: None,
        }),
    }
}

fn track(index: u32, channels: u32) -> Audio {
    let (language, title) = (String::new(), String::new());
    Audio {
        index,
        codec: "aac".into(),
        channels,
        mix: Mix::Standard,
        sample_rate: 48_000,
        ends_early: false,
        language,
        title,
    }
}

fn options() -> Options {
    Options { threads: 2, ..Options::default() }
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.video.iter().flat_map(|video_plan| &video_plan.rungs).map(|rung| rung.id.as_str()).collect()
}

#[test]
fn plan_long_video_starts_with_the_lowest_rung_and_audio() {
    let plan = plan(&source(1920, 1080, (30, 1), Some(60.0)), &options());
    assert_eq!(ids(&plan), ["1080p", "720p", "480p", "360p"]);
    assert_eq!(plan.expected_frames(), Some(1800.0));
    let poster = plan.poster.as_ref().expect("poster");
    assert_eq!((poster.size.width, poster.size.height, poster.at_seconds), (640, 360, 6.0));
    let video_plan = plan.video.as_ref().expect("video");
    let starts: Vec<_> = (0..video_plan.chunks.len()).map(|chunk| video_plan.chunk_start(chunk)).collect();
    assert_eq!(starts, [0.0, 4.0, 12.0, 28.0, 48.0]);
    let work_units: Vec<_> =
        plan.work_units.iter().map(|unit| (unit.chunk, unit.rungs.len(), unit.audio.len())).collect();
    assert_eq!(
        work_units,
        [
            (Some(0), 1, 0),
            (None, 0, 1),
            (Some(0), 3, 0),
            (Some(1), 4, 0),
            (Some(2), 4, 0),
            (Some(3), 4, 0),
            (Some(4), 4, 0)
        ]
    );
    assert_eq!(plan.work_units[0].rungs, [3], "the lowest rung");
    assert!(plan.work_units[3].poster && plan.work_units.iter().filter(|unit| unit.poster).count() == 1);
    assert!((plan.work_units.iter().map(|unit| plan.weight(unit)).sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn plan_chunks_grow_at_the_start_and_shrink_at_the_end() {
    let plan = plan(&source(1920, 1080, (30, 1), Some(600.0)), &options());
    let firsts: Vec<_> = plan
        .video
        .iter()
        .flat_map(|video_plan| &video_plan.chunks)
        .map(|chunk| chunk.first_segment)
        .collect();
    let sizes: Vec<_> = firsts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(sizes[..4], [1, 2, 4, 8]);
    assert!(sizes[3..].windows(2).all(|pair| pair[1] <= pair[0]), "{sizes:?}");
    assert_eq!(sizes.last(), Some(&5));
    // Distributed to eight workers, none gets much more than an eighth of the work.
    let mut busy = [0; 8];
    for size in sizes.iter().chain([&(150 - firsts.last().copied().unwrap_or_default())]) {
        *busy.iter_mut().min().expect("worker") += size;
    }
    assert!(busy.iter().max() <= Some(&(150 / 8 + 3)), "{busy:?}");
}

#[test]
fn plan_video_of_unknown_duration_is_one_work_unit() {
    let plan = plan(&source(1920, 1080, (25, 1), None), &options());
    assert!(plan.is_single());
    let [unit] = &plan.work_units[..] else { panic!() };
    assert!(unit.poster && unit.thumbnails && unit.audio == [0] && unit.rungs.len() == 4);
    assert!(!plan.is_express(unit), "it can be long");
}

#[test]
fn plan_short_video_is_playable_after_its_first_work_units_and_uses_two_cores() {
    // Sizes of the chunks, segments.
    let sizes = |seconds: f64| -> Vec<u32> {
        let plan = plan(&source(1920, 1080, (25, 1), Some(seconds)), &options());
        let segments = (seconds / 4.0).ceil() as u32;
        let chunks = plan.video.expect("video").chunks;
        let firsts: Vec<_> = chunks.iter().map(|chunk| chunk.first_segment).chain([segments]).collect();
        firsts.windows(2).map(|pair| pair[1] - pair[0]).collect()
    };
    assert_eq!([sizes(8.0), sizes(12.0), sizes(16.0)], [vec![1, 1], vec![1, 2], vec![1, 2, 1]]);
    assert_eq!([sizes(24.0), sizes(29.0)], [vec![1, 3, 2], vec![1, 4, 3]]);
    for seconds in [5.0, 12.0, 29.0] {
        let plan = plan(&source(1920, 1080, (25, 1), Some(seconds)), &options());
        let [first, sound, rest, ..] = &plan.work_units[..] else { panic!("{seconds}") };
        assert_eq!((first.chunk, first.rungs.as_slice(), first.audio.len()), (Some(0), [3].as_slice(), 0));
        assert_eq!((sound.chunk, sound.audio.as_slice()), (None, [0].as_slice()));
        assert_eq!((rest.chunk, rest.rungs.as_slice()), (Some(0), [0, 1, 2].as_slice()));
        assert!(plan.is_express(first) && plan.is_express(sound) && !plan.is_express(rest));
    }
}

#[test]
fn plan_video_of_one_segment_has_its_sound_in_the_first_work_unit() {
    let plan = plan(&source(1920, 1080, (25, 1), Some(2.0)), &options());
    let [first, rest] = &plan.work_units[..] else { panic!("{:?}", plan.work_units) };
    assert_eq!((first.rungs.as_slice(), first.audio.as_slice()), ([3].as_slice(), [0].as_slice()));
    assert_eq!((rest.rungs.as_slice(), rest.audio.len()), ([0, 1, 2].as_slice(), 0));
    assert!(rest.poster && rest.thumbnails && !first.poster && !first.thumbnails);
    let small = super::plan(&source(320, 180, (25, 1), Some(2.0)), &options());
    assert!(small.is_single());
}

#[test]
fn plan_long_video_has_its_first_sound_in_an_express_work_unit() {
    let tracks = |seconds| {
        let plan = plan(&source(1920, 1080, (25, 1), Some(seconds)), &options());
        let tracks = plan.work_units.iter().filter(|unit| unit.chunk.is_none());
        let seconds = |unit: &WorkUnit| plan.work(unit) / AUDIO_WORK_PIXELS;
        tracks
            .map(|unit| (unit.audio_part.segments, seconds(unit), plan.is_express(unit)))
            .collect::<Vec<_>>()
    };
    assert_eq!(tracks(300.0), [(None, 300.0, true)]);
    // Four segments of 188 frames of 1024 samples.
    let first = 4.0 * 188.0 * 1024.0 / 48_000.0;
    assert_eq!(tracks(400.0), [(Some(4), first, true), (None, 400.0 - first, false)]);
}

#[test]
fn plan_long_sound_of_a_file_with_exact_times_is_cut_into_parts_of_ten_minutes() {
    let mut hour = source(1920, 1080, (25, 1), Some(3600.0));
    hour.container = "matroska,webm".into();
    hour.subtitles = vec![Subtitles {
        index: 4,
        language: String::new(),
        title: String::new(),
        default: false,
        forced: false,
    }];
    let parts = |source: &Source| {
        let plan = plan(source, &options());
        let audio = plan.work_units.iter().filter(|unit| !unit.audio.is_empty());
        audio.map(|unit| (unit.audio_part.first_segment, unit.audio_part.segments)).collect::<Vec<_>>()
    };
    assert_eq!(parts(&hour), [(0, Some(4)), (4, None)]);
    hour.container = "mov,mp4".into();
    // An hour has 898 segments.
    let later = [4, 153, 302, 451, 600].map(|first| (first, Some(149)));
    let expected: Vec<_> = [(0, Some(4))].into_iter().chain(later).chain([(749, None)]).collect();
    assert_eq!(parts(&hour), expected);
    let planned = plan(&hour, &options());
    // Each before the chunk that is played with its first second, and the subtitles with the first sound.
    let mut subtitles = 0;
    let mut chunk_end = 0.0;
    for unit in &planned.work_units {
        subtitles += usize::from(unit.chunk.is_none() && unit.audio.is_empty() && unit.subtitles == [0]);
        if let Some(chunk) = unit.chunk {
            let video = planned.video.as_ref().expect("video");
            chunk_end =
                video.chunks.get(chunk + 1).map_or(f64::MAX, |next| video.rate.seconds_of(next.first_frame));
        } else if unit.audio_part.first_segment > 0 {
            assert!(
                (0.0..40.0).contains(&(unit.audio_part.start_seconds() - chunk_end)),
                "{unit:?} {chunk_end}"
            );
            assert!(!planned.is_express(unit));
        }
    }
    assert_eq!(subtitles, 1);
    assert_eq!(parts(&Source { output_version: 5, ..hour }), [(0, Some(4)), (4, None)], "an older worker");
}

#[test]
fn plan_offsets_all_tracks_by_the_most_reordered_rung() {
    let with_codec = |codec| plan(&source(1920, 1080, (60, 1), Some(60.0)), &Options { codec, ..options() });
    let h264 = with_codec(Codec::H264);
    let shifts = [0, 3].map(|rung| h264.rung_shift(rung)).map(|shift| (shift.decoding, shift.composition));
    // Two frames at 60 per second, and two at 30: both start at the fourth frame at 60 per second.
    assert_eq!((h264.presentation_offset_frames, shifts), (4, [(512, 512), (0, 1024)]));
    assert_eq!(h264.audio_shift(), Shift { decoding: 3200, composition: 0 });
    for codec in [Codec::H264, Codec::Hevc] {
        let slow = plan(&source(1920, 1080, (5, 1), Some(60.0)), &Options { codec, ..options() });
        assert_eq!(
            (slow.presentation_offset_frames, slow.rung_shift(0)),
            (0, Shift::default()),
            "no B-frames"
        );
    }
    let older = Source { output_version: 0, ..source(1920, 1080, (60, 1), Some(60.0)) };
    assert_eq!(plan(&older, &options()).presentation_offset_frames, 0, "an older worker does not support it");
    let av1 = with_codec(Codec::Av1);
    assert_eq!(
        (av1.presentation_time_offset(), av1.rung_shift(0), av1.audio_shift()),
        (0.0, Shift::default(), Shift::default())
    );
}

#[test]
fn plan_audio_only_is_one_work_unit() {
    let mut audio_only = source(16, 16, (25, 1), Some(4000.0));
    audio_only.video = None;
    audio_only.audio = vec![track(3, 6), track(4, 1)];
    let plan = plan(&audio_only, &options());
    let audio: Vec<_> =
        plan.audio.iter().map(|audio| (audio.id.as_str(), audio.channels, audio.default)).collect();
    assert_eq!(audio, [("audio-0", 2, true), ("audio-0-surround", 6, false), ("audio-1", 1, false)]);
    assert!(plan.is_single() && plan.work_units[0].poster && plan.work_units[0].audio == [0, 1, 2]);
}

#[test]
fn plan_high_rate_is_halved_on_the_lower_rungs() {
    let plan = plan(&source(1920, 1080, (60_000, 1001), Some(60.0)), &options());
    let video_plan = plan.video.expect("video");
    let frame_steps: Vec<_> = video_plan.rungs.iter().map(|rung| rung.frame_step).collect();
    assert_eq!(frame_steps, [1, 1, 2, 2]);
    assert_eq!(
        (video_plan.segment_frames, video_plan.rungs[3].rate(video_plan.rate).to_string()),
        (240, "30000/1001".into())
    );
}

#[test]
fn plan_keeps_the_source_rate_on_at_least_one_rung() {
    let every = |planned: Plan| {
        planned.video.expect("video").rungs.iter().map(|rung| rung.frame_step).collect::<Vec<_>>()
    };
    assert_eq!(every(plan(&source(854, 480, (60, 1), Some(60.0)), &options())), [1, 2]);
    let options = Options { rungs: vec![480], ..options() };
    assert_eq!(every(plan(&source(1920, 1080, (60, 1), Some(60.0)), &options)), [1]);
}

#[test]
fn plan_frames_too_small_for_the_codec_use_h264() {
    let codecs = |codec, width, height| {
        let planned = plan(&source(width, height, (25, 1), Some(5.0)), &Options { codec, ..options() });
        planned.video.expect("video").rungs.iter().map(|rung| rung.encoding.codec).collect::<Vec<_>>()
    };
    assert_eq!(codecs(Codec::Av1, 64, 36), [Codec::H264]);
    assert_eq!(codecs(Codec::Av1, 320, 180), [Codec::Av1]);
    assert_eq!(codecs(Codec::Hevc, 20, 12), [Codec::H264]);
    assert_eq!(codecs(Codec::Hevc, 64, 36), [Codec::Hevc]);
    let mut hdr = source(20, 12, (25, 1), Some(5.0));
    if let Some(video) = &mut hdr.video {
        video.range = VideoRange::Hlg;
    }
    assert_eq!(ids(&plan(&hdr, &Options { keep_hdr: true, ..options() })), ["12p"]);
}

#[test]
fn plan_unknown_duration_is_limited_by_the_file_size() {
    let small = Source { max_duration: 90.0, ..source(1920, 1080, (25, 1), None) };
    assert_eq!(plan(&small, &options()).end_seconds, 90.0);
    let known = Source { max_duration: 90.0, ..source(1920, 1080, (25, 1), Some(80.0)) };
    assert_eq!(plan(&known, &options()).end_seconds, 43_200.0);
}

#[test]
fn plan_time_origin_puts_the_first_frame_on_the_grid() {
    let origin = |first_frame: f64| {
        let mut late = source(640, 360, (25, 1), None);
        (late.start_time, late.first_stream_start) = (10.0, 10.0);
        if let Some(video) = &mut late.video {
            video.start = Some(first_frame);
        }
        (plan(&late, &options()).time_origin * 1e6).round() / 1e6
    };
    assert_eq!(origin(10.0), 10.000_001, "never exactly the start time of the file");
    assert_eq!(origin(10.021), 10.021);
    assert_eq!(origin(10.51), 10.03, "every 0.04 s counted from the start");
}

#[test]
fn plan_applies_the_options() {
    let mut hdr = source(3840, 2160, (24, 1), Some(600.0));
    if let Some(video) = &mut hdr.video {
        video.range = VideoRange::Pq;
    }
    let options = Options { rungs: vec![720], keep_hdr: true, poster_seconds: Some(1000.0), ..options() };
    let planned = plan(&hdr, &options);
    assert_eq!(ids(&planned), ["720p-hdr", "720p"]);
    let video_plan = planned.video.expect("video");
    assert_eq!((video_plan.rungs[0].encoding.codec, video_plan.rungs[0].encoding.depth), (Codec::Hevc, 10));
    assert_eq!(video_plan.rungs[0].range, VideoRange::Pq);
    assert_eq!(planned.poster.expect("poster").at_seconds, 599.5, "not beyond the end");
    assert_eq!(ids(&plan(&source(640, 360, (24, 1), None), &options)), ["360p"]);
}

#[test]
fn plan_subtitles_have_unique_names() {
    let track = |language: &str| Subtitles {
        index: 5,
        language: language.into(),
        title: String::new(),
        default: false,
        forced: false,
    };
    let mut source = source(640, 360, (24, 1), None);
    source.subtitles = vec![track("eng"), track("eng"), track("")];
    let names: Vec<_> = plan(&source, &options()).subtitles.into_iter().map(|track| track.name).collect();
    assert_eq!(names, ["eng", "eng (2)", "Subtitles 3"]);
    source.subtitles = vec![track("eng"), track("deu"), track("eng")];
    let names: Vec<_> = plan(&source, &options()).subtitles.into_iter().map(|track| track.name).collect();
    assert_eq!(names, ["eng", "deu", "eng (2)"], "a number only if it is needed");
}

proptest! {
    #[test]
    fn plan_of_any_source_is_complete_and_serialisable(w in 1u32..16_000, h in 1u32..16_000, num in 1u32..100_000, den in 1u32..5000,
                                     seconds in proptest::option::of(0.001f64..43_200.0), threads in 0u32..4) {
        let plan = plan(&source(w, h, (num, den), seconds), &Options { threads, ..Options::default() });
        let video_plan = plan.video.as_ref().expect("video");
        prop_assert!(!video_plan.rungs.is_empty() && plan.threads >= 1);
        prop_assert!(video_plan.rungs.windows(2).all(|pair| pair[0].size.pixels() > pair[1].size.pixels()));
        let poster = plan.poster.as_ref().expect("poster");
        prop_assert!(poster.size.width <= 640 && poster.size.height <= 640);
        prop_assert!(poster.size.width.is_multiple_of(2) && poster.size.height >= 2);
        prop_assert!(seconds.is_none_or(|seconds| poster.at_seconds <= seconds));
        let json = serde_json::to_vec(&plan).expect("json");
        let stored: Plan = serde_json::from_slice(&json).expect("plan");
        prop_assert_eq!((&stored.video, &stored.work_units), (&plan.video, &plan.work_units), "unchanged when stored and loaded");
    }

    /// Every frame of every rung, every track and the poster belong to exactly one work unit.
    #[test]
    fn work_units_cover_the_plan_exactly_once(num in 1u32..61, ntsc in any::<bool>(), seconds in 0.1f64..43_200.0,
                                      height in 100u32..2200, poster_at in proptest::option::of(0.0f64..50.0)) {
        let rate = if ntsc { (num * 1000, 1001) } else { (num, 1) };
        let options = Options { poster_seconds: poster_at, ..options() };
        let plan = plan(&source(height * 16 / 9, height, rate, Some(seconds)), &options);
        let video_plan = plan.video.as_ref().expect("video");
        let segment = u64::from(video_plan.segment_frames);
        let mut next = 0;
        for (index, chunk) in video_plan.chunks.iter().enumerate() {
            prop_assert_eq!(chunk.first_frame, next);
            prop_assert_eq!(u64::from(chunk.first_segment) * segment, next);
            let is_last = index + 1 == video_plan.chunks.len();
            prop_assert_eq!(chunk.frames.is_none(), is_last);
            if let Some(frames) = chunk.frames {
                let longest = if segment <= 8 { 24 } else { 8 };
                prop_assert!(frames > 0 && frames % segment == 0 && frames <= longest * segment);
                next += frames;
            }
        }
        prop_assert!((next as f64) < seconds * video_plan.rate.fps() + 1.0, "the last chunk starts before the end of the video");
        let mut covered = HashSet::new();
        for unit in &plan.work_units {
            prop_assert!(unit.chunk.is_some() || unit.rungs.is_empty());
            for &rung in &unit.rungs {
                prop_assert!(covered.insert((unit.chunk, rung)));
            }
        }
        prop_assert_eq!(covered.len(), video_plan.chunks.len() * video_plan.rungs.len());
        let total = |count: fn(&WorkUnit) -> usize| plan.work_units.iter().map(count).sum::<usize>();
        let mut audio_parts = plan.work_units.iter().filter(|unit| !unit.audio.is_empty()).map(|unit| {
            prop_assert_eq!(unit.audio.len(), plan.audio.len());
            Ok(unit.audio_part)
        });
        let mut next = Some(0);
        audio_parts.try_for_each(|part| {
            let part = part?;
            prop_assert_eq!(Some(part.first_segment), next);
            next = part.segments.map(|segments| part.first_segment + segments);
            Ok(())
        })?;
        prop_assert!(plan.audio.is_empty() || next.is_none(), "the last part has no end");
        prop_assert_eq!(total(|unit| usize::from(unit.poster)), 1);
        // The poster's frame is in the chunk of its work unit.
        let poster = plan.poster.as_ref().expect("poster").at_seconds;
        let frame = (0..).find(|&frame| video_plan.rate.seconds_of(frame) >= poster).expect("a frame");
        prop_assert!(frame as f64 <= seconds * video_plan.rate.fps(), "not after the end");
        let chunk = plan.work_units.iter().find(|unit| unit.poster).and_then(|unit| unit.chunk).expect("a chunk");
        let chunk = video_plan.chunks[chunk];
        prop_assert!(frame >= chunk.first_frame && chunk.frames.is_none_or(|frames| frame < chunk.first_frame + frames));
        prop_assert!(plan.work_units.windows(2).all(|pair| pair[0].priority <= pair[1].priority));
    }
}
