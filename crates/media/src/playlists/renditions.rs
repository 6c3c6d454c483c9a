//! Groups of audio and subtitle renditions, as the master playlist offers them.

use super::language::tag;
use super::{Bandwidth, Track, TrackKind, shown};
use std::collections::HashSet;

/// Renditions of which a player plays one.
pub(super) struct Group<'a> {
    /// `audio`, `audio-surround` or `subtitles`.
    pub id: &'static str,
    pub members: Vec<Rendition<'a>>,
}

/// A member of a group.
#[derive(Clone)]
pub(super) struct Rendition<'a> {
    pub track: &'a Track,
    /// What the viewer sees; no two of a group are the same.
    pub name: String,
    /// BCP 47.
    pub language: Option<String>,
    pub default: bool,
    /// Whether a player may choose it by the viewer's language.
    pub autoselect: bool,
    pub forced: bool,
}

impl<'a> Group<'a> {
    /// The most that any member needs.
    pub fn bandwidth(&self) -> Bandwidth {
        self.members
            .iter()
            .map(|member| Bandwidth::of(&member.track.segments))
            .fold(Bandwidth::default(), Bandwidth::max)
    }

    /// The codecs of its members, each once.
    pub fn codecs(&self) -> Vec<&'a str> {
        let mut codecs = Vec::new();
        for member in &self.members {
            if !codecs.contains(&member.track.codec.as_str()) {
                codecs.push(member.track.codec.as_str());
            }
        }
        codecs
    }
}

/// The audio groups of these tracks: none, one, or two when a track is there in stereo and in
/// surround.
///
/// Two groups and not one, so that nobody has to choose between "English" and "English": Safari takes
/// the group that suits the device, hls.js and Shaka the stereo one unless told otherwise, and each
/// variant's BANDWIDTH is that of its own sound. RFC 8216, 4.3.4.1.1 asks for the same members in
/// both, so what has one version only stands in both.
pub(super) fn audio_groups<'a>(tracks: &[&'a Track]) -> Vec<Group<'a>> {
    let mut sources: Vec<Vec<&Track>> = Vec::new();
    for track in tracks.iter().copied().filter(|track| channels(track) > 0) {
        let other_version = |source: &&mut Vec<&Track>| {
            let [only] = source[..] else { return false };
            same_source(only, track) && is_surround(only) != is_surround(track)
        };
        match sources.iter_mut().find(other_version) {
            Some(source) => source.push(track),
            None => sources.push(vec![track]),
        }
    }
    if sources.is_empty() {
        return Vec::new();
    }
    let group = |id, choose: fn(&[&'a Track]) -> Option<&'a Track>| {
        let members = sources.iter().filter_map(|source| choose(source)).collect();
        Group { id, members: members_of(members, "Audio", true) }
    };
    let mut groups =
        vec![group("audio", |source| source.iter().copied().min_by_key(|track| channels(track)))];
    if sources.iter().any(|source| source.len() > 1) {
        let most: fn(&[&'a Track]) -> Option<&'a Track> =
            |source| source.iter().copied().max_by_key(|track| channels(track));
        groups.push(group("audio-surround", most));
    }
    groups
}

/// The subtitle tracks among these.
pub(super) fn subtitles<'a>(tracks: &[&'a Track]) -> Option<Group<'a>> {
    let texts: Vec<_> = tracks.iter().copied().filter(|track| track.is_subtitles()).collect();
    (!texts.is_empty()).then(|| Group { id: "subtitles", members: members_of(texts, "Subtitles", false) })
}

/// What a viewer sees of a track: its name, or its language, or `otherwise`.
pub(super) fn label(track: &Track, otherwise: &str) -> String {
    let (language, name) = naming(track);
    let name = shown(name);
    if name.is_empty() { tag(language).unwrap_or_else(|| otherwise.to_owned()) } else { name }
}

/// Language (BCP 47) of a track.
pub(super) fn language(track: &Track) -> Option<String> {
    tag(naming(track).0)
}

fn naming(track: &Track) -> (&str, &str) {
    match &track.kind {
        TrackKind::Video { .. } => ("", ""),
        TrackKind::Audio { language, name, .. } | TrackKind::Subtitles { language, name, .. } => {
            (language, name)
        }
    }
}

fn channels(track: &Track) -> u32 {
    if let TrackKind::Audio { channels, .. } = track.kind { channels.max(1) } else { 0 }
}

fn is_surround(track: &Track) -> bool {
    channels(track) > 2
}

fn same_source(one: &Track, other: &Track) -> bool {
    naming(one) == naming(other)
}

/// Whether the source marks it as default, and as forced.
pub(super) fn marks(track: &Track) -> (bool, bool) {
    match track.kind {
        TrackKind::Video { .. } => (false, false),
        TrackKind::Audio { default, .. } => (default, false),
        TrackKind::Subtitles { default, forced, .. } => (default, forced),
    }
}

/// Gives each a name of its own. At most one is the default, `always` one; and no two that a player
/// may choose by itself have the same language.
fn members_of<'a>(tracks: Vec<&'a Track>, otherwise: &str, always: bool) -> Vec<Rendition<'a>> {
    let marked = tracks.iter().position(|track| marks(track).0);
    let default = marked.or(always.then_some(0));
    let mut names = HashSet::new();
    let mut members: Vec<_> = tracks
        .into_iter()
        .enumerate()
        .map(|(place, track)| Rendition {
            track,
            name: own_name(label(track, otherwise), &mut names),
            language: language(track),
            default: default == Some(place),
            autoselect: false,
            forced: marks(track).1,
        })
        .collect();
    let mut chosen = HashSet::new();
    for defaults in [true, false] {
        for member in members.iter_mut().filter(|member| member.default == defaults) {
            member.autoselect = chosen.insert((member.language.clone(), member.forced));
        }
    }
    members
}

fn own_name(name: String, taken: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number: u32| format!("{name} {number}"));
    let own =
        std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(own.clone());
    own
}

#[cfg(test)]
mod tests {
    use super::{Group, audio_groups, subtitles};
    use crate::playlists::tests::{audio, subtitles as text};
    use crate::playlists::{Track, TrackKind};

    fn told(group: &Group<'_>) -> Vec<String> {
        let flag = |set: bool, c: char| if set { c } else { '-' };
        let one = |member: &super::Rendition<'_>| {
            let flags = [flag(member.default, 'D'), flag(member.autoselect, 'A'), flag(member.forced, 'F')];
            format!("{} {:?} {}", member.track.id, member.name, flags.iter().collect::<String>())
        };
        group.members.iter().map(one).collect()
    }

    fn groups(tracks: &[Track]) -> Vec<(&'static str, Vec<String>)> {
        let tracks: Vec<_> = tracks.iter().collect();
        audio_groups(&tracks).iter().map(|group| (group.id, told(group))).collect()
    }

    #[test]
    fn stereo_and_surround_of_one_track_are_two_groups_of_the_same_members() {
        let tracks = [audio(0, 2, "eng", "Main"), audio(1, 6, "eng", "Main"), audio(2, 2, "deu", "")];
        let expected = vec![
            ("audio", vec![r#"audio-0 "Main" DA-"#.to_owned(), r#"audio-2 "de" -A-"#.to_owned()]),
            ("audio-surround", vec![r#"audio-1 "Main" DA-"#.to_owned(), r#"audio-2 "de" -A-"#.to_owned()]),
        ];
        assert_eq!(groups(&tracks), expected);
    }

    #[test]
    fn tracks_of_one_name_stay_apart() {
        let tracks =
            [audio(0, 2, "eng", ""), audio(1, 2, "en", ""), audio(2, 1, "", ""), audio(3, 2, "", "")];
        assert_eq!(
            groups(&tracks),
            [(
                "audio",
                [
                    r#"audio-0 "en" DA-"#,
                    r#"audio-1 "en 2" ---"#,
                    r#"audio-2 "Audio" -A-"#,
                    r#"audio-3 "Audio 2" ---"#
                ]
                .map(str::to_owned)
                .to_vec()
            )]
        );
        assert_eq!(groups(&[audio(0, 6, "eng", "")]), [("audio", vec![r#"audio-0 "en" DA-"#.to_owned()])]);
        assert_eq!(groups(&[]), []);
    }

    #[test]
    fn the_sources_default_is_kept_once() {
        let mut tracks = [audio(0, 2, "eng", "a"), audio(1, 2, "eng", "b"), audio(2, 2, "eng", "c")];
        for track in &mut tracks[1..] {
            if let TrackKind::Audio { default, .. } = &mut track.kind {
                *default = true;
            }
        }
        assert_eq!(groups(&tracks)[0].1, [r#"audio-0 "a" ---"#, r#"audio-1 "b" DA-"#, r#"audio-2 "c" ---"#]);
    }

    #[test]
    fn subtitles_are_off_unless_marked() {
        let tracks = [text(0, "eng", "", false), text(1, "eng", "Signs", true), audio(0, 2, "", "")];
        let group = subtitles(&tracks.iter().collect::<Vec<_>>()).expect("a group");
        assert_eq!(told(&group), [r#"subtitles-0 "en" -A-"#, r#"subtitles-1 "Signs" -AF"#]);
        assert!(subtitles(&[&tracks[2]]).is_none());
    }
}
