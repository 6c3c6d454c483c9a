//! Languages and display names of tracks.

use super::{
    language::language_tag,
    model::{Track, TrackKind},
    text::display_name,
};

/// What a viewer sees of a track: its name, or else its language, or else `fallback`.
pub(super) fn label(track: &Track, fallback: &str) -> String {
    let (language, name) = language_and_name(track);
    let name = display_name(name);
    if name.is_empty() { language_tag(language).unwrap_or_else(|| fallback.to_owned()) } else { name }
}

/// The language of a track as a BCP 47 tag.
pub(super) fn language(track: &Track) -> Option<String> {
    language_tag(language_and_name(track).0)
}

/// Language and name as the source names them; empty for video.
pub(super) fn language_and_name(track: &Track) -> (&str, &str) {
    match &track.kind {
        TrackKind::Video { .. } => ("", ""),
        TrackKind::Audio { language, name, .. } | TrackKind::Subtitles { language, name, .. } => {
            (language, name)
        }
    }
}
