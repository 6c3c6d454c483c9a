//! Descriptions of renditions.

use reelmill_proto::transcode::{Rendition, rendition::Kind};

/// Whether a rendition is a rung of the ladder. Older servers send no kind and have only rungs.
pub fn is_rung(rendition: &Rendition) -> bool {
    matches!(rendition.kind(), Kind::Video | Kind::Unspecified)
}

/// The names of the rungs, or of the audio renditions if the source has no video track.
pub fn main_rendition_ids(renditions: &[Rendition]) -> Vec<&str> {
    let has_rungs = renditions.iter().any(is_rung);
    let main = renditions.iter().filter(|rendition| is_rung(rendition) || !has_rungs);
    main.map(|rendition| rendition.rendition_id.as_str()).collect()
}

/// The frame size in pixels, or channels and language.
pub fn describe(rendition: &Rendition) -> String {
    let language = &rendition.language;
    match rendition.kind() {
        Kind::Video | Kind::Unspecified => format!("{}x{}", rendition.width, rendition.height),
        Kind::Audio if rendition.channels == 1 => format!("1 channel {language}").trim_end().to_owned(),
        Kind::Audio => format!("{} channels {language}", rendition.channels).trim_end().to_owned(),
        Kind::Subtitles => format!("subtitles {language}").trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendition(id: &str, kind: Kind) -> Rendition {
        Rendition { rendition_id: id.into(), kind: kind.into(), ..Rendition::default() }
    }

    #[test]
    fn main_rendition_ids_audio_only_returns_audio() {
        let audio = [rendition("audio-0", Kind::Audio), rendition("audio-1", Kind::Audio)];
        assert_eq!(main_rendition_ids(&audio), ["audio-0", "audio-1"]);
    }

    #[test]
    fn main_rendition_ids_with_rungs_returns_only_rungs() {
        let all = [
            rendition("audio-0", Kind::Audio),
            rendition("audio-1", Kind::Audio),
            rendition("720p", Kind::Video),
            rendition("360p", Kind::Unspecified),
        ];
        assert_eq!(main_rendition_ids(&all), ["720p", "360p"]);
    }
}
