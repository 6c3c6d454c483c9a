//! Plans the audio and subtitle renditions, and names them.

use super::model::{AudioRendition, SubtitleRendition};
use crate::probe::{Audio, Subtitles};

/// Bit rate per channel of mono and stereo, bits per second.
const CHANNEL_BIT_RATE: u32 = 64_000;
/// Bit rate of 5.1, bits per second.
const SURROUND_BIT_RATE: u32 = 320_000;

/// A mono or stereo rendition of each track, followed by a 5.1 rendition if the track has that many channels.
pub(super) fn audio(tracks: &[Audio]) -> Vec<AudioRendition> {
    let mut renditions = Vec::new();
    let names = names(tracks.iter().map(|track| (track.title.as_str(), track.language.as_str())), "Audio");
    for ((index, track), name) in tracks.iter().enumerate().zip(names) {
        let channels = track.played_channels().min(2);
        let stereo = AudioRendition {
            id: format!("audio-{index}"),
            index: track.index,
            channels,
            bit_rate: CHANNEL_BIT_RATE * channels,
            language: track.language.clone(),
            name,
            default: index == 0,
        };
        let surround = (track.played_channels() >= 6).then(|| AudioRendition {
            id: format!("audio-{index}-surround"),
            channels: 6,
            bit_rate: SURROUND_BIT_RATE,
            default: false,
            ..stereo.clone()
        });
        renditions.push(stereo);
        renditions.extend(surround);
    }
    renditions
}

pub(super) fn subtitles(tracks: &[Subtitles]) -> Vec<SubtitleRendition> {
    let names =
        names(tracks.iter().map(|track| (track.title.as_str(), track.language.as_str())), "Subtitles");
    let rendition = |((index, track), name): ((usize, &Subtitles), String)| SubtitleRendition {
        id: format!("subtitles-{index}"),
        index: track.index,
        language: track.language.clone(),
        name,
        default: track.default,
        forced: track.forced,
    };
    tracks.iter().enumerate().zip(names).map(rendition).collect()
}

/// Unique names of tracks, by their titles and languages.
fn names<'a>(tracks: impl Iterator<Item = (&'a str, &'a str)>, kind: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (index, (title, language)) in tracks.enumerate() {
        let plain = match (title, language) {
            ("", "") if index == 0 => kind.to_owned(),
            ("", "") => format!("{kind} {}", index + 1),
            ("", language) => language.to_owned(),
            (title, _) => title.to_owned(),
        };
        let numbered = (2..).map(|number: u32| format!("{plain} ({number})"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !names.contains(name));
        names.extend(name);
    }
    names
}
