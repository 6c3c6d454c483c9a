//! Plans a job.

use super::{
    SEGMENT_SECONDS,
    chunks::{chunks, merge_still},
    encoding::{Encoding, Options},
    model::{EXPRESS_SOUND_MAX_SECONDS, HeldPicture, Plan, Poster, Rung, VideoPlan, is_large},
    renditions::{audio, subtitles},
    stills::{poster, thumbnails},
    work_units::{AudioCut, Tracks, work_units},
};
use crate::{
    geometry::Size,
    ladder::ladder,
    probe::{MAX_SECONDS, Source, Video, VideoRange},
    rate::{Rate, output_rate},
    seek::can_seek_audio,
};

/// Rungs with a shorter short side than this are halved to 30 frames per second or fewer.
const FULL_RATE_MIN_SHORT_SIDE: u32 = 720;
/// Rates above this are halved on the lower rungs, frames per second.
const HIGH_RATE_ABOVE_FPS: f64 = 31.0;
/// Below this rate B-frames are disabled, frames per second: two of them would delay the start of all tracks too much.
const B_FRAMES_MIN_FPS: f64 = 10.0;
/// Version of the output from which tracks may start after zero.
const PRESENTATION_OFFSET_VERSION: u32 = 2;
/// Version of the output from which audio may be encoded in parts.
const AUDIO_PARTS_VERSION: u32 = 5;
/// Version of the output from which parts of audio may be sought.
const SOUGHT_AUDIO_VERSION: u32 = 6;
/// Version of the output from which the last frame is shown until all tracks end.
const HELD_PICTURE_VERSION: u32 = 7;
/// At most this much audio is cut off at the start, seconds. Rather than cutting more, the first frame is moved earlier.
const MAX_AUDIO_CUT_SECONDS: f64 = 0.045;
/// ffmpeg's command line states times to the microsecond.
const TIME_RESOLUTION_SECONDS: f64 = 0.000_001;
/// Assumed duration of a frame when there is no video, seconds.
const ASSUMED_FRAME_SECONDS: f64 = 0.04;

/// Plans the encoding of `source`.
pub fn plan(source: &Source, options: &Options) -> Plan {
    let video = source.video.as_ref().map(|video| video_plan(source, video, options));
    let audio = audio(&source.audio);
    let subtitles = subtitles(&source.subtitles);
    let poster = match source.video.as_ref().zip(video.as_ref()) {
        Some((stream, video)) => {
            poster(stream, video.rate, stream.duration.or(source.duration), options.poster_seconds)
        }
        None => Poster { at_seconds: 0.0, size: Size { width: 640, height: 360 } },
    };
    let duration = source.video.as_ref().and_then(|video| video.duration).or(source.duration);
    let is_duration_known = duration.is_some() && source.is_seekable;
    let work_units = work_units(&Tracks {
        video: video.as_ref(),
        audio: audio.len(),
        subtitles: subtitles.len(),
        poster_seconds: poster.at_seconds,
        is_duration_known,
        audio_cut: audio_cut(source),
    });
    let reorder_frames = video.iter().flat_map(|video| &video.rungs).map(Rung::reorder_frames).max();
    Plan {
        presentation_offset_frames: reorder_frames
            .filter(|_| source.output_version >= PRESENTATION_OFFSET_VERSION)
            .unwrap_or(0),
        source: source.clone(),
        time_origin: time_origin(source, video.as_ref().map(|video| video.rate)),
        video,
        audio,
        subtitles,
        poster: Some(poster),
        work_units,
        threads: options.threads.max(1),
        end_seconds: if source.duration.is_some() {
            MAX_SECONDS
        } else {
            source.max_duration.min(MAX_SECONDS)
        },
    }
}

/// Audio is not cut in MPEG streams, which may change its format or have gaps in it: then frames cannot be counted.
fn audio_cut(source: &Source) -> AudioCut {
    match source.duration.filter(|&seconds| seconds > EXPRESS_SOUND_MAX_SECONDS) {
        _ if source.output_version < AUDIO_PARTS_VERSION || source.container.starts_with("mpeg") => {
            AudioCut::Whole
        }
        Some(seconds) if can_seek_audio(source) && source.output_version >= SOUGHT_AUDIO_VERSION => {
            AudioCut::Sought { seconds }
        }
        Some(_) => AudioCut::FirstAndRest,
        None => AudioCut::Whole,
    }
}

fn video_plan(source: &Source, video: &Video, options: &Options) -> VideoPlan {
    let display = video.display_size();
    let rate = output_rate(video.nominal_rate, video.mean_rate, video.busiest_rate);
    let is_high_rate = rate.fps() > HIGH_RATE_ABOVE_FPS;
    let mut rungs = Vec::new();
    for size in ladder(display, &options.rungs) {
        // At least one rung keeps the source's rate.
        let is_halved = is_high_rate && size.short < FULL_RATE_MIN_SHORT_SIDE && !rungs.is_empty();
        rungs.push(Rung {
            id: format!("{}p", size.short),
            size: size.size,
            frame_step: if is_halved { 2 } else { 1 },
            range: VideoRange::Sdr,
            encoding: Encoding::sdr(options, size.size.short(), is_high_rate && !is_halved),
        });
    }
    if options.keep_hdr
        && video.range != VideoRange::Sdr
        && let Some(top) = rungs.first().cloned()
        && Encoding::supports_hdr(options, top.size.short())
    {
        let encoding = Encoding::hdr(options, top.size.short(), is_high_rate);
        rungs.insert(0, Rung { id: format!("{}-hdr", top.id), range: video.range, encoding, ..top });
    }
    if rate.fps() < B_FRAMES_MIN_FPS {
        for rung in &mut rungs {
            rung.encoding.no_b_frames = true;
        }
    }
    let has_halved_rung = rungs.iter().any(|rung| rung.frame_step > 1);
    let segment_frames = segment_frames(rate, has_halved_rung);
    let hold = hold(source, video, rate, has_halved_rung);
    let moving = video.duration.or(source.duration).map(|seconds| seconds * rate.fps());
    let frames = hold.map(|hold| hold.moving as f64).or(moving);
    let cut_frames = frames.filter(|_| source.is_seekable);
    let mut chunks = chunks(segment_frames, cut_frames, is_large(&rungs, rate));
    let since_origin = source.start_time - time_origin(source, Some(rate));
    let on_grid = |seconds: f64| (seconds + since_origin) * rate.fps();
    let pauses = source.pauses.iter().map(|(from, to)| (on_grid(*from), on_grid(*to)));
    merge_still(&mut chunks, segment_frames, &pauses.collect::<Vec<_>>());
    if let (true, Some(frames), Some(last)) =
        (source.has_another_recording && hold.is_none(), frames, chunks.last_mut())
    {
        // What follows is not of this recording.
        last.frames = Some((frames.round() as u64).saturating_sub(last.first_frame).max(1));
    }
    let encoded = hold.map(|hold| hold.encoded(segment_frames));
    if let (Some((end, _)), Some(last)) = (encoded, chunks.last_mut()) {
        last.frames = Some(end - last.first_frame);
    }
    VideoPlan {
        rate,
        segment_frames,
        chunks,
        rungs,
        thumbnails: thumbnails(display, rate, segment_frames, frames),
        held: encoded.and_then(|(_, held)| held),
    }
}

/// A picture that ends before other tracks do: its last frame is shown until they end. Counted in frames on the grid.
#[derive(Clone, Copy)]
struct Hold {
    /// Length of the picture.
    moving: u64,
    /// Length of the presentation.
    all: u64,
}

impl Hold {
    /// Number of frames that are encoded, and the segment that stands for most of the others.
    ///
    /// The segment with the picture's end is completed by its last frame. A whole segment of nothing but that frame follows,
    /// which is repeated, and one as long as the rest.
    fn encoded(self, segment_frames: u32) -> (u64, Option<HeldPicture>) {
        let size = u64::from(segment_frames);
        let moving = self.moving.div_ceil(size);
        let held = self.all.saturating_sub(moving * size);
        match (u32::try_from(moving), u32::try_from(held / size)) {
            (Ok(segment), Ok(times)) if times > 1 => {
                (moving * size + size + held % size, Some(HeldPicture { segment, times }))
            }
            _ => (self.all, None),
        }
    }
}

/// None if the picture lasts as long as other tracks, to within a frame.
fn hold(source: &Source, video: &Video, rate: Rate, is_even: bool) -> Option<Hold> {
    if source.output_version < HELD_PICTURE_VERSION {
        return None;
    }
    let (end, duration) = (video.held_from?, source.duration?);
    let since_origin = |seconds: f64| seconds + source.start_time - time_origin(source, Some(rate));
    let frames = |seconds: f64| (since_origin(seconds) * rate.fps()).round().max(1.0) as u64;
    let (moving, all) = (frames(end), frames(duration.min(MAX_SECONDS)));
    let all = if is_even { all.next_multiple_of(2) } else { all };
    (all >= moving).then_some(Hold { moving, all })
}

/// Zero of the plan's times: the first frame lies on the grid, and audio keeps its distance to it.
fn time_origin(source: &Source, rate: Option<Rate>) -> f64 {
    let frame = rate.map_or(ASSUMED_FRAME_SECONDS, |rate| 1.0 / rate.fps());
    let first_frame = source.video.as_ref().and_then(|video| video.start);
    let phase = first_frame.map_or(0.0, |time| (time - source.first_stream_start).rem_euclid(frame));
    let phase = if frame - phase < 2.0 * TIME_RESOLUTION_SECONDS { 0.0 } else { phase };
    let origin = if phase <= MAX_AUDIO_CUT_SECONDS {
        source.first_stream_start + phase
    } else {
        source.first_stream_start - (frame - phase)
    };
    // At exactly the file's start time ffmpeg would count from the first of the streams that a work unit uses.
    if (origin - source.start_time).abs() < TIME_RESOLUTION_SECONDS {
        source.start_time + TIME_RESOLUTION_SECONDS
    } else {
        origin
    }
}

/// Frames per segment, rounded to the nearest; to an even number if `even`, because some rungs keep every second frame.
fn segment_frames(rate: Rate, even: bool) -> u32 {
    let step = if even { 2.0 } else { 1.0 };
    let steps = (rate.fps() * f64::from(SEGMENT_SECONDS) / step).round().max(1.0);
    (steps * step) as u32
}
