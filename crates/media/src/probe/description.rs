//! The description of a file as ffprobe prints it.

use super::{
    BELIEVED_SECONDS, FEWEST_BITS, OFTEN_INTERLACED, Subtitles, TEXT_CODECS, Video, number, seconds,
};
use crate::geometry::Orientation;
use serde::Deserialize;
use std::collections::HashMap;

/// `00000000:  0  65536  0` three times, as ffprobe prints a display matrix.
fn matrix(text: &str) -> Option<[i64; 9]> {
    let numbers: Vec<i64> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, row)| row.split_whitespace())
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    numbers.try_into().ok()
}

#[derive(Deserialize)]
pub(super) struct Probed {
    #[serde(default)]
    pub(super) streams: Vec<Stream>,
    #[serde(default)]
    pub(super) format: Format,
    #[serde(default)]
    packets: Vec<Packet>,
}

#[derive(Deserialize)]
struct Packet {
    stream_index: Option<u32>,
    duration_time: Option<String>,
}

impl Probed {
    pub(super) fn start(&self) -> f64 {
        self.format.start_time.as_deref().and_then(number).unwrap_or(0.0)
    }

    /// How long a file of this size may be. A longer claim is an error of its header, and leaves next to no bits a second.
    pub(super) fn longest(&self) -> f64 {
        let size = self.format.size.as_deref().and_then(number);
        size.map_or(f64::MAX, |bytes| (bytes * 8.0 / FEWEST_BITS).max(BELIEVED_SECONDS))
    }

    /// When the first of the chosen streams begins.
    pub(super) fn first(&self, chosen: impl Iterator<Item = u32>) -> f64 {
        let begin = |index: u32| {
            let stream = self.streams.iter().find(|stream| stream.index == index)?;
            stream.start_time.as_deref().and_then(number)
        };
        chosen.filter_map(begin).reduce(f64::min).unwrap_or_else(|| self.start())
    }

    /// Whether pictures last as long as their rate says, as far as the first packets tell: then ffmpeg knows it of the
    /// last one too. Else it guesses, mostly next to nothing.
    pub(super) fn has_steady_packets(&self, video: &Video) -> bool {
        let rates = video.nominal_rate.zip(video.mean_rate);
        let Some((rate, _)) = rates.filter(|(nominal, mean)| nominal.agrees_with(*mean)) else {
            return false;
        };
        let length = |packet: &Packet| packet.duration_time.as_deref().and_then(number);
        let own = self.packets.iter().find(|packet| packet.stream_index == Some(video.index));
        own.and_then(length).is_some_and(|seconds| seconds * rate.fps() > 0.5)
    }

    /// When the last of the chosen streams ends. Where the container does not say it of each, it
    /// says it of the file, in which other streams may go on for longer.
    pub(super) fn duration(&self, chosen: &[u32]) -> Option<f64> {
        let start = self.start();
        let end = |&index: &u32| {
            let stream = self.streams.iter().find(|stream| stream.index == index)?;
            let length = stream.duration.as_deref().and_then(seconds)?;
            let begin = stream.start_time.as_deref().and_then(number).unwrap_or(start);
            Some(begin - start + length)
        };
        let ends: Option<Vec<f64>> = chosen.iter().map(end).collect();
        let last = ends.map(|ends| ends.into_iter().fold(0.0, f64::max));
        last.or(self.format.duration.as_deref().and_then(seconds)).filter(|&seconds| seconds > 0.0)
    }
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
}

#[derive(Deserialize)]
pub(super) struct SideData {
    pub(super) displaymatrix: Option<String>,
    pub(super) rotation: Option<f64>,
    /// Of Dolby Vision.
    pub(super) dv_profile: Option<u32>,
    /// What the picture is without Dolby Vision's own data; 0 is nothing.
    pub(super) dv_bl_signal_compatibility_id: Option<u32>,
}

impl Stream {
    pub(super) fn is_known(&self) -> bool {
        self.codec_name.as_deref().is_some_and(|name| !matches!(name, "" | "unknown" | "none"))
    }

    pub(super) fn may_be_interlaced(&self) -> bool {
        match self.field_order.as_deref() {
            Some("tt" | "bb" | "tb" | "bt") => true,
            None | Some("unknown") => {
                self.codec_name.as_deref().is_some_and(|name| OFTEN_INTERLACED.contains(&name))
            }
            Some(_) => false,
        }
    }

    /// Whether the picture is in Dolby's own colours, which only its own decoders show rightly.
    pub(super) fn is_dolby_vision_alone(&self) -> bool {
        let mut sides = self.side_data_list.iter();
        sides.any(|side| {
            side.dv_profile.is_some_and(|profile| [5, 10, 20].contains(&profile))
                && side.dv_bl_signal_compatibility_id.unwrap_or(0) == 0
        })
    }

    pub(super) fn tag(&self) -> &str {
        self.codec_tag_string.as_deref().filter(|tag| tag.is_ascii()).unwrap_or("unknown")
    }

    pub(super) fn sample_rate(&self) -> u32 {
        self.sample_rate.as_deref().and_then(|rate| rate.parse().ok()).unwrap_or(0)
    }

    pub(super) fn tag_named(&self, name: &str) -> &str {
        let named = |(key, _): &(&String, &String)| key.eq_ignore_ascii_case(name);
        self.tags.iter().find(named).map_or("", |(_, value)| value.as_str())
    }

    /// Three letters, or a BCP 47 tag; nothing where the file says something else or "undetermined".
    pub(super) fn language(&self) -> String {
        let tag = self.tag_named("language");
        let plain = tag.len() <= 16 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if plain && tag.len() >= 2 && tag != "und" { tag.to_owned() } else { String::new() }
    }

    pub(super) fn title(&self) -> String {
        self.tag_named("title").chars().filter(|c| !c.is_control()).take(80).collect()
    }

    pub(super) fn subtitles(&self) -> Option<Subtitles> {
        let codec = self.codec_name.as_deref()?;
        (self.codec_type == "subtitle" && TEXT_CODECS.contains(&codec)).then(|| Subtitles {
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
