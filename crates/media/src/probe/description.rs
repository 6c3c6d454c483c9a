//! The JSON description of a file as ffprobe prints it.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    numbers::{matrix, number, seconds},
    source::{Mix, Subtitles, Video, is_broadcast},
};
use crate::{geometry::Orientation, structure::CUT_OFF_MIN_RATIO};

/// Durations up to this are accepted for a file of any size, seconds.
const UNCHECKED_DURATION_SECONDS: f64 = 60.0;
/// Lowest bit rate of a real video, bits per second.
const MIN_BITS_PER_SECOND: f64 = 1000.0;
/// Codecs whose frames may be interlaced although the container does not say so. The decoder flags each frame.
const MAYBE_INTERLACED_CODECS: [&str; 3] = ["dvvideo", "mpeg2video", "vc1"];
/// ffmpeg assumes a layout of up to this many channels if the file states none.
const MAX_GUESSED_CHANNELS: u32 = 8;
/// Containers whose duration is the time of their end, even if their clock does not begin at zero.
const END_AS_DURATION: [&str; 2] = ["matroska", "flv"];
/// Containers that state one duration for all tracks.
const DURATION_OF_FILE: [&str; 2] = ["asf", "ogg"];
/// A clock that begins later than this does not begin at zero, seconds.
const LATE_CLOCK_SECONDS: f64 = 1.0;
/// Codecs in which progressive and interlaced frames follow one another. The decoder flags each frame.
const FIELD_CODECS: [&str; 2] = ["mpeg2video", "vc1"];
/// Subtitle codecs that contain text, and so can be converted to WebVTT.
const TEXT_SUBTITLE_CODECS: [&str; 7] = ["mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text"];

#[derive(Deserialize)]
pub(super) struct Description {
    #[serde(default)]
    pub(super) streams: Vec<Stream>,
    #[serde(default)]
    pub(super) format: Format,
    #[serde(default)]
    pub(super) programs: Vec<Program>,
    #[serde(default)]
    packets: Vec<Packet>,
}

/// A programme of a broadcast.
#[derive(Deserialize)]
pub(super) struct Program {
    /// As the programme table numbers it.
    #[serde(default)]
    program_num: u32,
    #[serde(default)]
    streams: Vec<ProgramStream>,
    #[serde(default)]
    tags: HashMap<String, String>,
}

impl Program {
    pub(super) fn number(&self) -> u32 {
        self.program_num
    }

    /// Name of the service.
    pub(super) fn title(&self) -> String {
        displayable(tag(&self.tags, "service_name"))
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.streams.iter().any(|stream| stream.index == index)
    }
}

#[derive(Deserialize)]
struct ProgramStream {
    index: u32,
}

#[derive(Deserialize)]
struct Packet {
    stream_index: Option<u32>,
    duration_time: Option<String>,
}

impl Description {
    pub(super) fn start_time(&self) -> f64 {
        self.format.start_time.as_deref().and_then(number).unwrap_or(0.0)
    }

    /// Whether a track is declared of which nothing more is known: it begins later than the file was read.
    pub(super) fn lacks_parameters(&self) -> bool {
        self.streams.iter().filter(|stream| stream.has_decoder()).any(|stream| {
            match stream.codec_type.as_str() {
                "audio" => !stream.has_audio_parameters(),
                "video" => stream.width.unwrap_or(0) == 0 || stream.height.unwrap_or(0) == 0,
                _ => false,
            }
        })
    }

    /// Whether a stream may be shown with the stream `chosen`: not if that is of another programme.
    pub(super) fn belongs_to(&self, stream: u32, chosen: Option<u32>) -> bool {
        let of_chosen = |program: &&Program| chosen.is_some_and(|chosen| program.has(chosen));
        let Some(program) = self.programs.iter().find(of_chosen) else { return true };
        program.has(stream) || !self.programs.iter().any(|program| program.has(stream))
    }

    /// Leaves out all programmes but one, and all streams that it has not.
    ///
    /// # Errors
    /// The file has no such programme: the numbers of those that it has.
    pub(super) fn keep_program(&mut self, number: u32) -> Result<(), Vec<u32>> {
        let Some(kept) = self.programs.iter().position(|program| program.number() == number) else {
            return Err(self.programs.iter().map(Program::number).collect());
        };
        // Programmes may share streams, so that the others must not decide where one belongs.
        self.programs = vec![self.programs.swap_remove(kept)];
        self.streams.retain(|stream| self.programs[0].has(stream.index));
        Ok(())
    }

    /// Number of the first programme with a stream.
    pub(super) fn program_of(&self, stream: u32) -> Option<u32> {
        self.programs.iter().find(|program| program.has(stream)).map(Program::number)
    }

    /// Number of programmes with pictures or sound, beside the one with the stream `chosen`.
    pub(super) fn other_programs(&self, chosen: u32) -> usize {
        let plays = |program: &&Program| {
            let has = |stream: &Stream| program.has(stream.index);
            let mut streams = self.streams.iter().filter(|stream| stream.has_decoder());
            streams.any(|stream| matches!(stream.codec_type.as_str(), "audio" | "video") && has(stream))
        };
        let is_other = |program: &&Program| !program.has(chosen);
        if self.programs.iter().all(|program| is_other(&program)) {
            return 0;
        }
        self.programs.iter().filter(is_other).filter(plays).count()
    }

    /// Seconds from the start of the file to that of the last of these streams.
    pub(super) fn last_start(&self, chosen: impl Iterator<Item = u32>) -> f64 {
        let start = |index: u32| {
            let stream = self.streams.iter().find(|stream| stream.index == index)?;
            stream.start_time.as_deref().and_then(number)
        };
        chosen.filter_map(start).map(|start| start - self.start_time()).fold(0.0, f64::max)
    }

    /// Upper bound of the duration of a file of this size. A longer stated duration is an error in its header.
    pub(super) fn max_duration(&self) -> f64 {
        let size = self.format.size.as_deref().and_then(number);
        size.map_or(f64::MAX, |bytes| (bytes * 8.0 / MIN_BITS_PER_SECOND).max(UNCHECKED_DURATION_SECONDS))
    }

    /// Whether the file states a longer duration than files of its size have.
    pub(super) fn has_doubtful_duration(&self) -> bool {
        let ends = self.streams.iter().filter_map(|stream| self.stated_end(stream.index));
        let longest = ends.chain(self.file_duration()).fold(0.0, f64::max);
        longest > self.max_duration()
    }

    /// The earliest start time of the chosen streams.
    pub(super) fn first_stream_start(&self, chosen: impl Iterator<Item = u32>) -> f64 {
        let start = |index: u32| {
            let stream = self.streams.iter().find(|stream| stream.index == index)?;
            stream.start_time.as_deref().and_then(number)
        };
        chosen.filter_map(start).reduce(f64::min).unwrap_or_else(|| self.start_time())
    }

    /// Whether frames last as long as the frame rate says, judging by the first packets. If they do, ffmpeg knows the
    /// duration of the last frame too; otherwise it guesses one, which is usually close to zero.
    pub(super) fn has_constant_frame_durations(&self, video: &Video) -> bool {
        let rates = video.nominal_rate.zip(video.mean_rate);
        let Some((rate, _)) = rates.filter(|(nominal, mean)| nominal.agrees_with(*mean)) else {
            return false;
        };
        let duration = |packet: &Packet| packet.duration_time.as_deref().and_then(number);
        let first = self.packets.iter().find(|packet| packet.stream_index == Some(video.index));
        first.and_then(duration).is_some_and(|seconds| seconds * rate.fps() > 0.5)
    }

    /// Seconds from the start of the file to the end of the last of the chosen streams. If the container does not state
    /// the duration of each, that of the file, in which other streams may last longer.
    pub(super) fn duration(&self, chosen: &[u32]) -> Option<f64> {
        let ends: Option<Vec<f64>> = chosen.iter().map(|&index| self.stated_end(index)).collect();
        let last = ends.map(|ends| ends.into_iter().fold(0.0, f64::max));
        last.or_else(|| self.file_duration()).filter(|&seconds| seconds > 0.0)
    }

    /// Seconds from the start of the file to the end of a stream, if the container states it.
    pub(super) fn end(&self, index: u32) -> Option<f64> {
        self.stated_end(index).filter(|_| self.states_track_durations())
    }

    /// Whether a duration of a stream is its own. In a broadcast it is that of the last packets of the file, whatever stream
    /// they are of; ASF and Ogg state one for the file.
    fn states_track_durations(&self) -> bool {
        !self.is_broadcast() && !DURATION_OF_FILE.contains(&self.format.format_name.as_str())
    }

    fn stated_end(&self, index: u32) -> Option<f64> {
        let stream = self.streams.iter().find(|stream| stream.index == index)?;
        if let Some(end) = stream.tagged_duration().filter(|_| self.states_ends()) {
            return Some(self.since_start(end));
        }
        let duration = stream.duration.as_deref().and_then(seconds)?;
        let start = stream.start_time.as_deref().and_then(number).unwrap_or(self.start_time());
        Some(start - self.start_time() + duration)
    }

    /// Whether the index of the file lists clearly more bytes than the file has: its end is missing.
    pub(super) fn is_cut_off(&self) -> bool {
        let Some(size) = self.format.size.as_deref().and_then(number) else { return false };
        let bytes = |stream: &Stream| {
            let bits_per_second = stream.bit_rate.as_deref().and_then(seconds)?;
            Some(bits_per_second / 8.0 * stream.duration.as_deref().and_then(seconds)?)
        };
        let is_indexed = self.format.format_name.starts_with("mov");
        is_indexed && self.streams.iter().filter_map(bytes).sum::<f64>() > size * CUT_OFF_MIN_RATIO
    }

    fn file_duration(&self) -> Option<f64> {
        let stated = self.format.duration.as_deref().and_then(seconds)?;
        Some(if self.states_ends() { self.since_start(stated) } else { stated })
    }

    /// Whether durations in the container are times of ends.
    fn states_ends(&self) -> bool {
        END_AS_DURATION.iter().any(|name| self.format.format_name.starts_with(name))
    }

    /// Seconds from the start of the file to a time, unless that is a duration: then it is before the start, or the start
    /// is close to zero.
    fn since_start(&self, end: f64) -> f64 {
        let start = self.start_time();
        if start > LATE_CLOCK_SECONDS && end > start { end - start } else { end }
    }

    /// Whether the durations of its streams are those of the file, guessed from its last packets.
    pub(super) fn is_broadcast(&self) -> bool {
        is_broadcast(&self.format.format_name)
    }

    /// Whether a progressive stream may turn interlaced. For H.264 in other containers, its parameters say.
    pub(super) fn may_turn_interlaced(&self, codec: &str) -> bool {
        FIELD_CODECS.contains(&codec) || self.is_broadcast() && codec == "h264"
    }
}

fn tag<'a>(tags: &'a HashMap<String, String>, name: &str) -> &'a str {
    let named = |(key, _): &(&String, &String)| key.eq_ignore_ascii_case(name);
    tags.iter().find(named).map_or("", |(_, value)| value.as_str())
}

/// The start of a text in a file, without control characters.
fn displayable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[derive(Deserialize, Default)]
pub(super) struct Format {
    #[serde(default)]
    pub(super) format_name: String,
    pub(super) start_time: Option<String>,
    pub(super) duration: Option<String>,
    pub(super) size: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Stream {
    pub(super) index: u32,
    #[serde(default)]
    pub(super) codec_type: String,
    pub(super) codec_name: Option<String>,
    pub(super) codec_tag_string: Option<String>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
    pub(super) sample_aspect_ratio: Option<String>,
    pub(super) r_frame_rate: Option<String>,
    pub(super) avg_frame_rate: Option<String>,
    pub(super) pix_fmt: Option<String>,
    #[serde(default)]
    pub(super) has_b_frames: u32,
    pub(super) field_order: Option<String>,
    pub(super) color_space: Option<String>,
    pub(super) color_transfer: Option<String>,
    pub(super) start_time: Option<String>,
    pub(super) duration: Option<String>,
    pub(super) channels: Option<u32>,
    pub(super) channel_layout: Option<String>,
    pub(super) nb_frames: Option<String>,
    bit_rate: Option<String>,
    pub(super) sample_rate: Option<String>,
    #[serde(default)]
    pub(super) disposition: Disposition,
    #[serde(default)]
    pub(super) tags: HashMap<String, String>,
    #[serde(default)]
    pub(super) side_data_list: Vec<SideData>,
}

#[derive(Deserialize, Default)]
pub(super) struct Disposition {
    #[serde(default)]
    pub(super) default: u8,
    #[serde(default)]
    pub(super) attached_pic: u8,
    #[serde(default)]
    pub(super) forced: u8,
    #[serde(default)]
    comment: u8,
    #[serde(default)]
    visual_impaired: u8,
    #[serde(default)]
    descriptions: u8,
}

#[derive(Deserialize)]
pub(super) struct SideData {
    pub(super) displaymatrix: Option<String>,
    pub(super) rotation: Option<f64>,
    /// Dolby Vision profile.
    pub(super) dv_profile: Option<u32>,
    /// What other decoders can display of the base layer; 0 for nothing.
    pub(super) dv_bl_signal_compatibility_id: Option<u32>,
}

impl Stream {
    pub(super) fn has_decoder(&self) -> bool {
        self.codec_name.as_deref().is_some_and(|name| !matches!(name, "" | "unknown" | "none"))
    }

    /// Whether it is video, and not a cover image.
    pub(super) fn is_video(&self) -> bool {
        self.codec_type == "video" && self.disposition.attached_pic == 0
    }

    /// Whether it is a commentary, or describes the picture, beside the main sound.
    pub(super) fn is_supplementary(&self) -> bool {
        let Disposition { comment, visual_impaired, descriptions, .. } = self.disposition;
        comment != 0 || visual_impaired != 0 || descriptions != 0
    }

    pub(super) fn has_audio_parameters(&self) -> bool {
        self.channels.unwrap_or(0) > 0 && self.sample_rate() > 0
    }

    /// Which of its channels are played.
    pub(super) fn mix(&self) -> Mix {
        let layout = self.channel_layout.as_deref().unwrap_or("unknown");
        match self.channels.unwrap_or(0) {
            _ if layout.starts_with("ambisonic") => Mix::FirstChannel,
            channels
                if channels > MAX_GUESSED_CHANNELS
                    && (layout == "unknown" || layout.ends_with(" channels")) =>
            {
                Mix::FirstTwoChannels
            }
            _ => Mix::Standard,
        }
    }

    /// Whether it is a single picture, judging by the number of frames.
    pub(super) fn is_picture(&self) -> bool {
        self.nb_frames
            .as_deref()
            .and_then(|frames| frames.parse::<u64>().ok())
            .is_some_and(|frames| frames <= 1)
    }

    pub(super) fn pixels(&self) -> u64 {
        u64::from(self.width.unwrap_or(0)) * u64::from(self.height.unwrap_or(0))
    }

    pub(super) fn may_be_interlaced(&self) -> bool {
        match self.field_order.as_deref() {
            Some("tt" | "bb" | "tb" | "bt") => true,
            None | Some("unknown") => {
                self.codec_name.as_deref().is_some_and(|name| MAYBE_INTERLACED_CODECS.contains(&name))
            }
            Some(_) => false,
        }
    }

    /// Whether it is Dolby Vision without a compatible base layer.
    pub(super) fn needs_dolby_vision(&self) -> bool {
        let mut sides = self.side_data_list.iter();
        sides.any(|side| {
            side.dv_profile.is_some_and(|profile| [5, 10, 20].contains(&profile))
                && side.dv_bl_signal_compatibility_id.unwrap_or(0) == 0
        })
    }

    pub(super) fn codec_tag(&self) -> &str {
        self.codec_tag_string.as_deref().filter(|tag| tag.is_ascii()).unwrap_or("unknown")
    }

    pub(super) fn sample_rate(&self) -> u32 {
        self.sample_rate.as_deref().and_then(|rate| rate.parse().ok()).unwrap_or(0)
    }

    fn tag(&self, name: &str) -> &str {
        tag(&self.tags, name)
    }

    /// Duration of the stream in the tags of Matroska: `00:01:02.345000000`.
    fn tagged_duration(&self) -> Option<f64> {
        let (hours, rest) = self.tag("DURATION").split_once(':')?;
        let (minutes, rest) = rest.split_once(':')?;
        Some(seconds(hours)? * 3600.0 + seconds(minutes)? * 60.0 + seconds(rest)?)
    }

    /// An ISO 639-2 code or a BCP 47 tag; empty for anything else, and for "undetermined".
    pub(super) fn language(&self) -> String {
        let tag = self.tag("language");
        let is_valid = tag.len() <= 16 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if is_valid && tag.len() >= 2 && tag != "und" { tag.to_owned() } else { String::new() }
    }

    pub(super) fn title(&self) -> String {
        displayable(self.tag("title"))
    }

    pub(super) fn subtitles(&self) -> Option<Subtitles> {
        let codec = self.codec_name.as_deref()?;
        (self.codec_type == "subtitle" && TEXT_SUBTITLE_CODECS.contains(&codec)).then(|| Subtitles {
            index: self.index,
            language: self.language(),
            title: self.title(),
            default: self.disposition.default != 0,
            forced: self.disposition.forced != 0,
        })
    }

    pub(super) fn orientation(&self) -> Orientation {
        let found = |side: &SideData| {
            let by_matrix = side.displaymatrix.as_deref().and_then(matrix);
            by_matrix
                .map(|matrix| Orientation::from_matrix(&matrix))
                .or(side.rotation.map(Orientation::from_degrees))
        };
        self.side_data_list.iter().find_map(found).unwrap_or_default()
    }
}
