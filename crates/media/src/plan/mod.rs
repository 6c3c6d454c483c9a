//! The plan of a job as a pure function: a probed source and options in, everything that is decided out. It is made
//! once, stored, and handed to every worker of the job, so that their outputs fit together whoever makes them.

mod chunks;
mod encoding;
mod work_units;

pub use chunks::Chunk;
pub use encoding::{Codec, Encoding, Options, Preset};
pub use work_units::WorkUnit;

use crate::fragments::Shift;
use crate::geometry::Size;
use crate::ladder::{ladder, step};
use crate::probe::{Audio, MAX_SECONDS, Source, Video, VideoRange};
use crate::rate::{Rate, output_rate};
use serde::{Deserialize, Serialize};

/// Seconds from one keyframe, and so one segment, to the next, as near as whole frames come to it.
pub const SEGMENT_SECONDS: u32 = 4;
/// Samples a second of the sound.
pub const AUDIO_SAMPLE_RATE: u32 = 48_000;
/// The long side of the poster, at most.
const POSTER_LONG_SIDE: u32 = 640;
/// The long side of a thumbnail.
const THUMBNAIL_LONG_SIDE: u32 = 160;
/// The poster shows a moment not later than this, so that there is one soon.
const POSTER_LATEST: f64 = 12.0;
/// So much of a frame is an error of counting.
const FRAME_TOLERANCE: f64 = 1e-6;
/// With fewer frames a second no picture refers to a later one: everything would have to begin long after zero.
const LIVELY: f64 = 10.0;
/// The short side from which on rungs keep more than 30 frames a second.
const FAST_RUNG: u32 = 720;

/// Everything that is decided about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What the source is.
    pub source: Source,
    /// The moment of the source, in its own time, that is the plan's zero.
    pub time_origin: f64,
    /// The picture; none where sound is all there is.
    pub video: Option<VideoPlan>,
    /// The sound, the rendition to play first in front.
    pub audio: Vec<AudioRendition>,
    /// Text.
    pub subtitles: Vec<SubtitleRendition>,
    /// The still that stands for the video.
    pub poster: Option<Poster>,
    /// The tasks, each a share of the work; the first is the preparing worker's own, the others are queued in
    /// this order.
    pub work_units: Vec<WorkUnit>,
    /// Threads of each encoder that may have several. Part of the plan, because output bytes depend on it.
    pub threads: u32,
    /// Nothing after this many seconds is encoded.
    pub end_seconds: f64,
    /// So many frames of the grid after zero, in its segments' own times, everything begins: as many as a rung is decoded
    /// ahead of what is shown.
    #[serde(default)]
    pub presentation_offset_frames: u32,
}

/// How the picture is prepared and cut, and what is made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoPlan {
    /// Constant output rate of the fastest rungs.
    pub rate: Rate,
    /// Frames of a segment at that rate; even where slower rungs keep every other one.
    pub segment_frames: u32,
    /// The stretches that are encoded by themselves, at segment boundaries.
    pub chunks: Vec<Chunk>,
    /// The rungs, highest first; each is scaled from the one before.
    pub rungs: Vec<Rung>,
    /// Stills for the seek bar.
    pub thumbnails: Thumbnails,
}

/// One rung of the ladder and how it is encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rung {
    /// Short name, as `720p`, by the short side.
    pub id: String,
    /// Pixels, even.
    pub size: Size,
    /// Every how many-th frame of the grid it keeps: 1 or 2.
    pub frame_step: u32,
    /// Range of brightness.
    pub range: VideoRange,
    /// How it is encoded.
    pub encoding: Encoding,
}

/// A track of sound as it is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioRendition {
    /// Short name: `audio-0`; `audio-0-surround` for more than two channels.
    pub id: String,
    /// Index of its source stream.
    pub index: u32,
    /// Channels: 1, 2 or 6.
    pub channels: u32,
    /// Bits a second.
    pub bit_rate: u32,
    /// Language as the source names it; empty when unknown.
    pub language: String,
    /// Name for people.
    pub name: String,
    /// Whether it is the one to play unless the viewer chooses.
    pub default: bool,
}

/// A text track as it is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubtitleRendition {
    /// Short name: `subtitles-0`.
    pub id: String,
    /// Index of its source stream.
    pub index: u32,
    /// Language as the source names it; empty when unknown.
    pub language: String,
    /// Name for people.
    pub name: String,
    /// Shown unless the viewer chooses.
    pub default: bool,
    /// Only what must be read to follow.
    pub forced: bool,
}

/// The still that stands for the video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Poster {
    /// The first frame at or after this time, seconds, is taken.
    pub at_seconds: f64,
    /// Pixels.
    pub size: Size,
}

/// Stills at even distances, for the seek bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnails {
    /// Frames of the grid from one to the next.
    pub interval_frames: u32,
    /// Pixels of one.
    pub size: Size,
    /// Stills in a row of a sheet.
    pub columns: u32,
    /// Rows of a sheet.
    pub rows: u32,
}

impl VideoPlan {
    /// The moment a chunk begins, seconds.
    pub fn chunk_start(&self, chunk: usize) -> f64 {
        self.chunks.get(chunk).map_or(0.0, |chunk| self.rate.seconds_of(chunk.first_frame))
    }

    /// The first frame of the grid that is shown at that moment or after it.
    pub fn frame_from(&self, moment: f64) -> u64 {
        (moment * self.rate.fps() - FRAME_TOLERANCE).ceil().max(0.0) as u64
    }

    /// How many frames of the grid come as near to that moment as can be.
    pub fn frames_until(&self, moment: f64) -> u64 {
        (moment * self.rate.fps()).round().max(1.0) as u64
    }
}

impl Poster {
    /// How many images are made of it, of which the last counts.
    pub fn images(&self, plan: &Plan) -> u32 {
        if plan.video.is_some() && plan.duration().is_none() && self.at_seconds > 0.0 { 2 } else { 1 }
    }
}

impl Rung {
    /// Frames of the grid by which it is decoded ahead of what is shown.
    fn ahead(&self) -> u32 {
        self.encoding.reordered() * self.frame_step.max(1)
    }

    /// Frames a second.
    pub fn rate(&self, grid: Rate) -> Rate {
        if self.frame_step > 1 { grid.halved() } else { grid }
    }
}

impl Plan {
    /// When everything begins in its segments' own times, seconds.
    pub fn presentation_time_offset(&self) -> f64 {
        self.video
            .as_ref()
            .map_or(0.0, |video_plan| video_plan.rate.seconds_of(u64::from(self.presentation_offset_frames)))
    }

    /// How the times of a rung are moved, from where its encoder puts them.
    pub fn rung_shift(&self, rung: usize) -> Shift {
        let found =
            self.video.as_ref().and_then(|video_plan| Some((video_plan.rate, video_plan.rungs.get(rung)?)));
        found.filter(|_| self.presentation_offset_frames > 0).map_or(Shift::default(), |(rate, rung)| Shift {
            decoding: rate.ticks_of(self.presentation_offset_frames.saturating_sub(rung.ahead())),
            composition: rate.ticks_of(rung.ahead()),
        })
    }

    /// How the times of sound are moved.
    pub fn audio_shift(&self) -> Shift {
        Shift {
            decoding: (self.presentation_time_offset() * f64::from(AUDIO_SAMPLE_RATE)).round() as u32,
            composition: 0,
        }
    }

    /// Whether the whole job is one task.
    pub fn is_single(&self) -> bool {
        self.work_units.len() == 1
    }

    /// Seconds of picture and sound, when the source says.
    pub fn duration(&self) -> Option<f64> {
        self.source.duration
    }

    /// Frames on the grid in the whole video, when its playing time is known.
    pub fn expected_frames(&self) -> Option<f64> {
        let video_plan = self.video.as_ref()?;
        let seconds = self.source.video.as_ref()?.duration.or(self.source.duration)?;
        Some((seconds * video_plan.rate.fps()).max(1.0))
    }

    /// Frames on the grid in a chunk; of the last one as far as the source says, none when it does not.
    pub fn chunk_frames(&self, chunk: usize) -> Option<f64> {
        let chunk = self.video.as_ref()?.chunks.get(chunk)?;
        let left = || Some((self.expected_frames()? - chunk.first_frame as f64).max(1.0));
        chunk.frames.map(|frames| frames as f64).or_else(left)
    }

    /// How much of the whole job's work a share is, 0 to 1, by the seconds of each rendition.
    pub fn weight(&self, unit: &WorkUnit) -> f64 {
        let all: f64 = self.work_units.iter().map(|unit| self.work(unit)).sum();
        if all > 0.0 { self.work(unit) / all } else { 1.0 / self.work_units.len().max(1) as f64 }
    }

    fn work(&self, unit: &WorkUnit) -> f64 {
        const SOUND: f64 = 30_000.0;
        let length = self.source.duration.unwrap_or(60.0);
        let sound = unit.audio.len() as f64 * SOUND * length;
        let Some((video_plan, place)) = self.video.as_ref().zip(unit.chunk) else { return sound };
        let pixels: u64 = unit
            .rungs
            .iter()
            .filter_map(|&rung| video_plan.rungs.get(rung))
            .map(|rung| rung.size.pixels())
            .sum();
        let frames = self.chunk_frames(place).unwrap_or(60.0 * video_plan.rate.fps());
        sound + pixels as f64 * frames / video_plan.rate.fps()
    }
}

/// Plans the encoding of `source`.
pub fn plan(source: &Source, options: &Options) -> Plan {
    let video_plan = source.video.as_ref().map(|video| video_plan(source, video, options));
    let audio = audio(&source.audio);
    let subtitles = subtitles(source);
    let poster = match source.video.as_ref().zip(video_plan.as_ref()) {
        Some((video, video_plan)) => {
            Some(poster(video, video_plan.rate, video.duration.or(source.duration), options.poster_seconds))
        }
        None => Some(Poster { at_seconds: 0.0, size: Size { width: 640, height: 360 } }),
    };
    let work_units =
        work_units::work_units(video_plan.as_ref(), audio.len(), subtitles.len(), poster.as_ref());
    let ahead = video_plan.iter().flat_map(|video_plan| &video_plan.rungs).map(Rung::ahead);
    Plan {
        presentation_offset_frames: ahead.max().filter(|_| source.output_version >= 2).unwrap_or(0),
        source: source.clone(),
        time_origin: time_origin(source, video_plan.as_ref().map(|video_plan| video_plan.rate)),
        video: video_plan,
        audio,
        subtitles,
        poster,
        work_units,
        threads: options.threads.max(1),
        end_seconds: if source.duration.is_some() { MAX_SECONDS } else { source.longest.min(MAX_SECONDS) },
    }
}

fn video_plan(source: &Source, video: &Video, options: &Options) -> VideoPlan {
    let shown = video.shown();
    let rate = output_rate(video.nominal_rate, video.mean_rate);
    let fast = rate.fps() > 31.0;
    let mut rungs = Vec::new();
    for step in ladder(shown, &options.rungs) {
        // The source's rate is kept by one rung at least.
        let frame_step = if fast && step.short < FAST_RUNG && !rungs.is_empty() { 2 } else { 1 };
        let encoding = Encoding::of(options, step.size.short(), fast && frame_step == 1);
        rungs.push(Rung {
            id: format!("{}p", step.short),
            size: step.size,
            frame_step,
            range: VideoRange::Sdr,
            encoding,
        });
    }
    if options.keep_hdr
        && video.range != VideoRange::Sdr
        && let Some(top) = rungs.first().cloned()
        && Encoding::has_hdr(options, top.size.short())
    {
        let encoding = Encoding::hdr(options, top.size.short(), fast);
        rungs.insert(0, Rung { id: format!("{}-hdr", top.id), range: video.range, encoding, ..top });
    }
    if rate.fps() < LIVELY {
        for rung in &mut rungs {
            rung.encoding.in_order = true;
        }
    }
    let halved = rungs.iter().any(|rung| rung.frame_step > 1);
    let segment_frames = segment_frames(rate, halved);
    let length = video.duration.or(source.duration).map(|seconds| seconds * rate.fps());
    VideoPlan {
        rate,
        segment_frames,
        chunks: chunks::chunks(segment_frames, length),
        rungs,
        thumbnails: thumbnails(shown, rate, segment_frames, length),
    }
}

/// Where time begins: so that the first frame lies on the grid, and sound keeps its distance to it.
fn time_origin(source: &Source, rate: Option<Rate>) -> f64 {
    /// So much sound may be cut off; where it is more the first frame is shown earlier instead.
    const CUT: f64 = 0.045;
    /// Times are given to the microsecond.
    const TICK: f64 = 0.000_001;
    let slot = rate.map_or(0.04, |rate| 1.0 / rate.fps());
    let shown = source.video.as_ref().and_then(|video| video.start);
    let phase = shown.map_or(0.0, |shown| (shown - source.first).rem_euclid(slot));
    let phase = if slot - phase < 2.0 * TICK { 0.0 } else { phase };
    let zero = if phase <= CUT { source.first + phase } else { source.first - (slot - phase) };
    // At exactly the file's start ffmpeg would move the zero to the streams that a share uses.
    if (zero - source.start).abs() < TICK { source.start + TICK } else { zero }
}

/// As many frames as come nearest to the segment's length; an even number where some rungs keep every other one.
fn segment_frames(rate: Rate, even: bool) -> u32 {
    let step = if even { 2.0 } else { 1.0 };
    let steps = (rate.fps() * f64::from(SEGMENT_SECONDS) / step).round().max(1.0);
    (steps * step) as u32
}

fn fitted(shown: Size, long_side: u32) -> Size {
    let long = shown.width.max(shown.height);
    let short = if long > long_side {
        u64::from(shown.short()) * u64::from(long_side) / u64::from(long)
    } else {
        u64::from(shown.short())
    };
    let short = u32::try_from(short & !1).unwrap_or(2).max(2);
    let size = step(shown, short).size;
    Size { width: size.width.min(long_side), height: size.height.min(long_side) }
}

fn poster(video: &Video, rate: Rate, duration: Option<f64>, wanted: Option<f64>) -> Poster {
    let size = fitted(video.shown(), POSTER_LONG_SIDE);
    let last = duration.map(|seconds| (seconds - 0.5).max(0.0));
    let chosen = match wanted {
        Some(wanted) => wanted.clamp(0.0, last.unwrap_or(MAX_SECONDS)),
        // A clip of a frame or two may have nothing after its first moment.
        None => duration
            .filter(|&seconds| seconds >= 2.0)
            .map_or(0.0, |seconds| (seconds * 0.1).min(POSTER_LATEST)),
    };
    // The frame that is shown then: the next one may not be in the same chunk, nor there at all.
    let shown = rate.seconds_of((chosen * rate.fps() + FRAME_TOLERANCE) as u64);
    Poster { at_seconds: (shown * 1000.0).floor() / 1000.0, size }
}

fn thumbnails(shown: Size, rate: Rate, segment_frames: u32, length: Option<f64>) -> Thumbnails {
    let segments = length.map_or(0.0, |frames| frames / f64::from(segment_frames));
    // Short videos get one a second, the longest one in 32 seconds. From two segments on it divides the chunks'
    // lengths, which keeps the distance even across them.
    let interval_frames = match segments {
        ..=8.0 => (rate.fps().round() as u32).max(1),
        ..=450.0 => segment_frames,
        ..=1800.0 => segment_frames * 2,
        ..=3600.0 => segment_frames * 4,
        _ => segment_frames * 8,
    };
    Thumbnails { interval_frames, size: fitted(shown, THUMBNAIL_LONG_SIDE), columns: 5, rows: 5 }
}

fn audio(tracks: &[Audio]) -> Vec<AudioRendition> {
    let mut renditions = Vec::new();
    let names = names(tracks.iter().map(|track| (track.title.as_str(), track.language.as_str())), "Audio");
    for ((place, track), name) in tracks.iter().enumerate().zip(names) {
        let channels = track.channels.min(2);
        let stereo = AudioRendition {
            id: format!("audio-{place}"),
            index: track.index,
            channels,
            bit_rate: 64_000 * channels,
            language: track.language.clone(),
            name,
            default: place == 0,
        };
        let surround = (track.channels >= 6).then(|| AudioRendition {
            id: format!("audio-{place}-surround"),
            channels: 6,
            bit_rate: 320_000,
            default: false,
            ..stereo.clone()
        });
        renditions.push(stereo);
        renditions.extend(surround);
    }
    renditions
}

fn subtitles(source: &Source) -> Vec<SubtitleRendition> {
    let texts = &source.subtitles;
    let names = names(texts.iter().map(|text| (text.title.as_str(), text.language.as_str())), "Subtitles");
    let rendition = |((place, text), name): ((usize, &crate::probe::Subtitles), String)| SubtitleRendition {
        id: format!("subtitles-{place}"),
        index: text.index,
        language: text.language.clone(),
        name,
        default: text.default,
        forced: text.forced,
    };
    texts.iter().enumerate().zip(names).map(rendition).collect()
}

/// Names of tracks by their titles and languages, each of its own.
fn names<'a>(tracks: impl Iterator<Item = (&'a str, &'a str)>, kind: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (place, (title, language)) in tracks.enumerate() {
        let plain = match (title, language) {
            ("", "") if place == 0 => kind.to_owned(),
            ("", "") => format!("{kind} {}", place + 1),
            ("", language) => language.to_owned(),
            (title, _) => title.to_owned(),
        };
        let numbered = (2..).map(|number: u32| format!("{plain} ({number})"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !names.contains(name));
        names.extend(name);
    }
    names
}

#[cfg(test)]
mod tests;
