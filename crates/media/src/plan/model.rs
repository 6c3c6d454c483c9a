//! The plan and its parts.

use serde::{Deserialize, Serialize};

use super::{
    AUDIO_FRAME_SAMPLES, AUDIO_SAMPLE_RATE, AUDIO_SEGMENT_FRAMES, FRAME_TOLERANCE,
    chunks::{Chunk, is_short, segments_of},
    encoding::Encoding,
};
use crate::{
    fragments::Shift,
    geometry::Size,
    probe::{Source, VideoRange},
    rate::Rate,
};

/// Work of encoding audio, in pixels of video per second.
pub(super) const AUDIO_WORK_PIXELS: f64 = 30_000.0;
/// Pixels per second of the highest rung above which the lowest rung of the first chunk is a task of its own.
const LARGE_PIXELS_PER_SECOND: f64 = 640.0 * 480.0 * 31.0;
/// Sound of a video of at most this many seconds takes a few seconds to encode.
pub(super) const EXPRESS_SOUND_MAX_SECONDS: f64 = 300.0;
/// Assumed duration of a source that does not state one, seconds.
const ASSUMED_SECONDS: f64 = 60.0;

/// Every decision about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The probed source.
    pub source: Source,
    /// Zero of the plan's times, in the source's timestamps, seconds.
    pub time_origin: f64,
    /// How the video stream is encoded; none for audio only.
    pub video: Option<VideoPlan>,
    /// Audio renditions, the one to play first at the front.
    pub audio: Vec<AudioRendition>,
    /// Subtitle renditions.
    pub subtitles: Vec<SubtitleRendition>,
    /// The poster image.
    pub poster: Option<Poster>,
    /// The encode tasks. The first is the task of the preparing worker, the others are queued in this order.
    pub work_units: Vec<WorkUnit>,
    /// Threads per encoder that may have several. Part of the plan, because output bytes depend on it.
    pub threads: u32,
    /// Encoding stops after this many seconds.
    pub end_seconds: f64,
    /// Frames on the grid by which all tracks start after zero: the most by which any rung is decoded ahead.
    #[serde(default)]
    pub presentation_offset_frames: u32,
}

/// How the video stream is cut, and the outputs encoded from it.
///
/// The grid is the sequence of frames at the constant output rate, counted from the plan's zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoPlan {
    /// The constant output rate of the grid.
    pub rate: Rate,
    /// Frames on the grid per segment; even if some rungs keep every second frame.
    pub segment_frames: u32,
    /// Parts that are encoded independently, cut at segment boundaries.
    pub chunks: Vec<Chunk>,
    /// The rungs, highest first; each is scaled from the one before.
    pub rungs: Vec<Rung>,
    /// Thumbnails for the seek bar.
    pub thumbnails: Thumbnails,
    /// The last frame, if it is shown for long after the end of the picture.
    #[serde(default)]
    pub held: Option<HeldPicture>,
}

/// A segment of nothing but the last frame: it is encoded once, and stands in the rendition several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPicture {
    /// Index of the segment.
    pub segment: u32,
    /// How many times it stands in the rendition, at least twice.
    pub times: u32,
}

/// One rung of the ladder and how it is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// Short name by the short side, for example `720p`.
    pub id: String,
    /// Frame size, both sides even.
    pub size: Size,
    /// Keeps every `frame_step`-th frame of the grid: 1 or 2.
    pub frame_step: u32,
    /// Dynamic range.
    pub range: VideoRange,
    /// Encoder settings.
    pub encoding: Encoding,
}

/// An audio track as published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioRendition {
    /// Short name: `audio-0`, or `audio-0-surround` for more than two channels.
    pub id: String,
    /// Index of its source stream.
    pub index: u32,
    /// Number of channels: 1, 2 or 6.
    pub channels: u32,
    /// Bits per second.
    pub bit_rate: u32,
    /// Language as the source names it; empty if unknown.
    pub language: String,
    /// Display name.
    pub name: String,
    /// Played unless the viewer chooses another.
    pub default: bool,
}

/// A subtitle track as published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubtitleRendition {
    /// Short name, for example `subtitles-0`.
    pub id: String,
    /// Index of its source stream.
    pub index: u32,
    /// Language as the source names it; empty if unknown.
    pub language: String,
    /// Display name.
    pub name: String,
    /// Displayed unless the viewer chooses otherwise.
    pub default: bool,
    /// Contains only what is needed to follow the original audio.
    pub forced: bool,
}

/// The poster image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poster {
    /// The first frame at or after this time is used, seconds.
    pub at_seconds: f64,
    /// Image size.
    pub size: Size,
}

/// Thumbnails at a constant interval, for the seek bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnails {
    /// Frames on the grid from one thumbnail to the next.
    pub interval_frames: u32,
    /// Size of one thumbnail.
    pub size: Size,
    /// Thumbnails per row of a sheet.
    pub columns: u32,
    /// Rows of a sheet.
    pub rows: u32,
}

/// The work of one encode task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkUnit {
    /// Index of the chunk of video to encode.
    pub chunk: Option<usize>,
    /// Indices of the rungs to encode.
    pub rungs: Vec<usize>,
    /// Indices of the audio renditions to encode.
    pub audio: Vec<usize>,
    /// The part of them to encode.
    #[serde(default)]
    pub audio_part: AudioPart,
    /// Indices of the subtitle renditions to extract, in full.
    pub subtitles: Vec<usize>,
    /// Whether to extract the poster.
    pub poster: bool,
    /// Whether to extract the thumbnails of the chunk.
    pub thumbnails: bool,
    /// Lower numbers are needed sooner.
    pub priority: u32,
}

/// Consecutive segments of audio; by default all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPart {
    /// Index of its first segment.
    pub first_segment: u32,
    /// Number of segments. None: to the end of the audio.
    pub segments: Option<u32>,
}

impl AudioPart {
    /// Number of segments of `seconds` of audio.
    pub(super) fn segments_of(seconds: f64) -> u32 {
        let frames = seconds * f64::from(AUDIO_SAMPLE_RATE) / f64::from(AUDIO_FRAME_SAMPLES);
        (frames / f64::from(AUDIO_SEGMENT_FRAMES)).ceil() as u32
    }

    /// Whether it is the beginning of longer audio.
    fn is_first(self) -> bool {
        self.first_segment == 0 && self.segments.is_some()
    }

    /// Whether other parts precede and follow it.
    pub(crate) fn is_middle(self) -> bool {
        self.first_segment > 0 && self.segments.is_some()
    }

    /// Start time, seconds.
    pub fn start_seconds(self) -> f64 {
        seconds_of_audio_frames(self.first_frame())
    }

    /// Index of the encoded frame that it starts with.
    pub(crate) fn first_frame(self) -> u32 {
        self.first_segment * AUDIO_SEGMENT_FRAMES
    }

    /// Number of encoded frames. None: to the end of the audio.
    pub(crate) fn frames(self) -> Option<u32> {
        self.segments.map(|segments| segments * AUDIO_SEGMENT_FRAMES)
    }

    /// Seconds of audio, of a track of `duration` seconds.
    fn seconds(self, duration: f64) -> f64 {
        let rest = (duration - self.start_seconds()).max(0.0);
        self.frames().map_or(rest, |frames| seconds_of_audio_frames(frames).min(rest))
    }
}

fn seconds_of_audio_frames(frames: u32) -> f64 {
    f64::from(frames) * f64::from(AUDIO_FRAME_SAMPLES) / f64::from(AUDIO_SAMPLE_RATE)
}

/// Whether encoding has more than a little to do each second: the first rung, the highest, has more pixels per second than
/// 480p has at 30 frames per second.
pub(super) fn is_large(rungs: &[Rung], rate: Rate) -> bool {
    let pixels = rungs.iter().map(|rung| rung.size.pixels()).max().unwrap_or(0) as f64;
    pixels * rate.fps() > LARGE_PIXELS_PER_SECOND
}

impl VideoPlan {
    /// Whether the lowest rung of its first chunk is a task of its own.
    pub(super) fn is_large(&self) -> bool {
        is_large(&self.rungs, self.rate)
    }

    /// Index of the chunk that is played at a time.
    pub(super) fn chunk_at(&self, seconds: f64) -> usize {
        let later = self.chunks.iter().filter(|chunk| self.rate.seconds_of(chunk.first_frame) <= seconds);
        later.count().saturating_sub(1)
    }

    /// Frames on the grid that are encoded once and stand in the rendition more often.
    fn repeated_frames(&self) -> u64 {
        self.held.map_or(0, |held| u64::from(held.times - 1) * u64::from(self.segment_frames))
    }

    /// Start time of a chunk, seconds.
    pub fn chunk_start(&self, chunk: usize) -> f64 {
        self.chunks.get(chunk).map_or(0.0, |chunk| self.rate.seconds_of(chunk.first_frame))
    }

    /// Index of the first frame on the grid at or after a time.
    pub fn first_frame_from(&self, seconds: f64) -> u64 {
        (seconds * self.rate.fps() - FRAME_TOLERANCE).ceil().max(0.0) as u64
    }

    /// Number of frames on the grid up to a time, rounded to the nearest, at least 1.
    pub fn frames_until(&self, seconds: f64) -> u64 {
        (seconds * self.rate.fps()).round().max(1.0) as u64
    }
}

impl Rung {
    /// Frames on the grid by which it is decoded ahead of its presentation.
    pub(super) fn reorder_frames(&self) -> u32 {
        self.encoding.reorder_frames() * self.frame_step.max(1)
    }

    /// Frame rate of the rung, from the rate of the grid.
    pub fn rate(&self, grid: Rate) -> Rate {
        if self.frame_step > 1 { grid.halved() } else { grid }
    }
}

impl Plan {
    /// Presentation time at which all tracks start in their segments, seconds: `presentationTimeOffset` of DASH.
    pub fn presentation_time_offset(&self) -> f64 {
        self.video
            .as_ref()
            .map_or(0.0, |video| video.rate.seconds_of(u64::from(self.presentation_offset_frames)))
    }

    /// How far the times of a rung are moved from those of its encoder.
    pub fn rung_shift(&self, rung: usize) -> Shift {
        let found = self.video.as_ref().and_then(|video| Some((video.rate, video.rungs.get(rung)?)));
        found.filter(|_| self.presentation_offset_frames > 0).map_or(Shift::default(), |(rate, rung)| Shift {
            decoding: rate.ticks_of(self.presentation_offset_frames.saturating_sub(rung.reorder_frames())),
            composition: rate.ticks_of(rung.reorder_frames()),
        })
    }

    /// How far the times of audio are moved from those of its encoder.
    pub fn audio_shift(&self) -> Shift {
        let ticks = (self.presentation_time_offset() * f64::from(AUDIO_SAMPLE_RATE)).round() as u32;
        Shift { decoding: ticks, composition: 0 }
    }

    /// Until when silence follows an audio rendition that ends early, seconds.
    pub fn silence_until(&self, audio: usize) -> Option<f64> {
        let index = self.audio.get(audio)?.index;
        let track = self.source.audio.iter().find(|track| track.index == index)?;
        let end = self.source.start_time + self.duration()? - self.time_origin;
        track.ends_early.then_some(end.min(self.end_seconds))
    }

    /// Number of segments that a part of audio must have, at least one.
    pub fn audio_segments(&self, audio: usize, part: AudioPart) -> u32 {
        let rest = |end: f64| AudioPart::segments_of(end).saturating_sub(part.first_segment).max(1);
        part.segments.unwrap_or_else(|| self.silence_until(audio).map_or(1, rest))
    }

    /// Whether the whole job is one task.
    pub fn is_single(&self) -> bool {
        self.work_units.len() == 1
    }

    /// Whether the video has so few segments that decoding from its start costs little, even for its last chunk.
    pub fn is_short(&self) -> bool {
        let segments = self.video.as_ref().zip(self.expected_frames());
        segments.is_some_and(|(video, frames)| is_short(segments_of(video.segment_frames, frames)))
    }

    /// Duration of the source, seconds, if it states one.
    pub fn duration(&self) -> Option<f64> {
        self.source.duration
    }

    /// Frames on the grid that are encoded, if the video's duration is known.
    pub fn expected_frames(&self) -> Option<f64> {
        let video = self.video.as_ref()?;
        let bounded = video.chunks.last().and_then(|last| Some((last.first_frame + last.frames?) as f64));
        let seconds = || self.source.video.as_ref()?.duration.or(self.source.duration);
        bounded.or_else(|| Some((seconds()? * video.rate.fps()).max(1.0)))
    }

    /// Seconds of the whole video as its container states them, if it does.
    pub fn expected_seconds(&self) -> Option<f64> {
        if self.source.stated_duration.is_some() {
            return self.source.stated_duration;
        }
        let Some(video) = &self.video else { return self.duration() };
        Some((self.expected_frames()? + video.repeated_frames() as f64) / video.rate.fps())
    }

    /// Frames on the grid in a chunk; for the last chunk an estimate from the stated duration, none without one.
    pub fn chunk_frames(&self, chunk: usize) -> Option<f64> {
        let chunk = self.video.as_ref()?.chunks.get(chunk)?;
        let rest = || Some((self.expected_frames()? - chunk.first_frame as f64).max(1.0));
        chunk.frames.map(|frames| frames as f64).or_else(rest)
    }

    /// The plan for a chunk throughout which one picture is shown: its first segment stands for all of them. None for a chunk
    /// that has no more than one, or is the last.
    pub fn with_still_chunk(&self, chunk: usize) -> Option<Self> {
        let mut plan = self.clone();
        let video = plan.video.as_mut()?;
        let size = u64::from(video.segment_frames);
        let chunk = video.chunks.get_mut(chunk)?;
        let times = u32::try_from(chunk.frames? / size).ok().filter(|&times| times > 1)?;
        chunk.frames = Some(size);
        let start = video.rate.seconds_of(chunk.first_frame);
        if let Some(poster) = &mut plan.poster {
            poster.at_seconds = poster.at_seconds.min(start);
        }
        video.held = Some(HeldPicture { segment: chunk.first_segment, times });
        Some(plan)
    }

    /// Number of poster images that are encoded, of which the last is used.
    ///
    /// If the duration is unknown, the poster's time may be after the end: then the first frame is encoded too.
    pub fn poster_images(&self) -> u32 {
        let is_late = self.poster.as_ref().is_some_and(|poster| poster.at_seconds > 0.0);
        if self.video.is_some() && self.duration().is_none() && is_late { 2 } else { 1 }
    }

    /// Whether a work unit is short and makes the video playable: it goes before everything else.
    pub fn is_express(&self, unit: &WorkUnit) -> bool {
        let is_first = unit.priority == 0 && !self.is_single();
        let is_short_sound = unit.chunk.is_none()
            && (unit.audio_part.is_first()
                || self.duration().is_some_and(|seconds| seconds <= EXPRESS_SOUND_MAX_SECONDS));
        is_first || is_short_sound
    }

    /// Fraction of the whole job's work in a work unit, 0 to 1.
    pub fn weight(&self, unit: &WorkUnit) -> f64 {
        let all: f64 = self.work_units.iter().map(|unit| self.work(unit)).sum();
        if all > 0.0 { self.work(unit) / all } else { 1.0 / self.work_units.len().max(1) as f64 }
    }

    /// Estimated work of a work unit: pixels per second of each rendition, times its duration.
    pub fn work(&self, unit: &WorkUnit) -> f64 {
        let duration = self.source.duration.unwrap_or(ASSUMED_SECONDS);
        let audio = unit.audio.len() as f64 * AUDIO_WORK_PIXELS * unit.audio_part.seconds(duration);
        let Some((video, chunk)) = self.video.as_ref().zip(unit.chunk) else { return audio };
        let pixels: u64 =
            unit.rungs.iter().filter_map(|&rung| video.rungs.get(rung)).map(|rung| rung.size.pixels()).sum();
        let frames = self.chunk_frames(chunk).unwrap_or(ASSUMED_SECONDS * video.rate.fps());
        audio + pixels as f64 * frames / video.rate.fps()
    }
}
