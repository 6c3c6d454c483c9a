//! Groups of audio and subtitle renditions in the master playlist.

use std::collections::HashSet;

use super::super::{
    bandwidth::Bandwidth,
    labels::{label, language, language_and_name},
    model::{Track, TrackKind},
};

/// Renditions of which a player plays one at a time.
pub(super) struct Group<'a> {
    /// `audio`, `audio-surround` or `subtitles`.
    pub(super) id: &'static str,
    pub(super) members: Vec<Rendition<'a>>,
}

/// A member of a group.
#[derive(Clone)]
pub(super) struct Rendition<'a> {
    pub(super) track: &'a Track,
    /// Display name, unique in the group.
    pub(super) name: String,
    /// BCP 47 tag.
    pub(super) language: Option<String>,
    pub(super) default: bool,
    /// Whether a player may choose it by the viewer's language.
    pub(super) autoselect: bool,
    pub(super) forced: bool,
}

impl<'a> Group<'a> {
    /// The highest bit rates of any member.
    pub(super) fn bandwidth(&self) -> Bandwidth {
        self.members
            .iter()
            .map(|member| Bandwidth::of(&member.track.segments))
            .fold(Bandwidth::default(), Bandwidth::max)
    }

    /// The codecs of its members, without duplicates.
    pub(super) fn codecs(&self) -> Vec<&'a str> {
        let mut codecs = Vec::new();
        for member in &self.members {
            if !codecs.contains(&member.track.codec.as_str()) {
                codecs.push(member.track.codec.as_str());
            }
        }
        codecs
    }
}

/// The audio groups of the tracks: none, one, or two if any track exists in stereo and in surround.
///
/// With two groups no viewer has to choose between "English" and "English": Safari chooses the group that suits the
/// device, hls.js and Shaka choose stereo by default, and the BANDWIDTH of each variant includes its own audio. RFC 8216,
/// 4.3.4.1.1 requires the same members in both groups, so a track that exists in one version is in both.
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

/// The group of the subtitle tracks; none without any.
pub(super) fn subtitle_group<'a>(tracks: &[&'a Track]) -> Option<Group<'a>> {
    let subtitles: Vec<_> = tracks.iter().copied().filter(|track| track.is_subtitles()).collect();
    (!subtitles.is_empty())
        .then(|| Group { id: "subtitles", members: members_of(subtitles, "Subtitles", false) })
}

fn channels(track: &Track) -> u32 {
    if let TrackKind::Audio { channels, .. } = track.kind { channels.max(1) } else { 0 }
}

fn is_surround(track: &Track) -> bool {
    channels(track) > 2
}

fn same_source(one: &Track, other: &Track) -> bool {
    language_and_name(one) == language_and_name(other)
}

/// The members of a group, with unique names. At most one is the default, exactly one if `has_default`. Of several with
/// the same language, a player may choose only one by itself.
fn members_of<'a>(tracks: Vec<&'a Track>, fallback_name: &str, has_default: bool) -> Vec<Rendition<'a>> {
    let marked = tracks.iter().position(|track| track.is_default());
    let default = marked.or(has_default.then_some(0));
    let mut names = HashSet::new();
    let mut members: Vec<_> = tracks
        .into_iter()
        .enumerate()
        .map(|(index, track)| Rendition {
            track,
            name: unique_name(label(track, fallback_name), &mut names),
            language: language(track),
            default: default == Some(index),
            autoselect: false,
            forced: track.is_forced(),
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

fn unique_name(name: String, taken: &mut HashSet<String>) -> String {
    let numbered = (2..).map(|number: u32| format!("{name} {number}"));
    let unique =
        std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(unique.clone());
    unique
}

#[cfg(test)]
mod tests {
    use super::{Group, Rendition, audio_groups, subtitle_group};
    use crate::playlists::{
        Track, TrackKind,
        fixtures::{audio, subtitles},
    };

    fn summary(group: &Group<'_>) -> Vec<String> {
        let flag = |set: bool, c: char| if set { c } else { '-' };
        let one = |member: &Rendition<'_>| {
            let flags = [flag(member.default, 'D'), flag(member.autoselect, 'A'), flag(member.forced, 'F')];
            format!("{} {:?} {}", member.track.id, member.name, flags.iter().collect::<String>())
        };
        group.members.iter().map(one).collect()
    }

    fn groups(tracks: &[Track]) -> Vec<(&'static str, Vec<String>)> {
        let tracks: Vec<_> = tracks.iter().collect();
        audio_groups(&tracks).iter().map(|group| (group.id, summary(group))).collect()
    }

    #[test]
    fn audio_groups_stereo_and_surround_are_two_groups_with_the_same_members() {
        let tracks = [audio(0, 2, "eng", "Main"), audio(1, 6, "eng", "Main"), audio(2, 2, "deu", "")];
        let expected = vec![
            ("audio", vec![r#"audio-0 "Main" DA-"#.to_owned(), r#"audio-2 "de" -A-"#.to_owned()]),
            ("audio-surround", vec![r#"audio-1 "Main" DA-"#.to_owned(), r#"audio-2 "de" -A-"#.to_owned()]),
        ];
        assert_eq!(groups(&tracks), expected);
    }

    #[test]
    fn audio_groups_tracks_with_the_same_name_get_unique_names() {
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
    fn audio_groups_have_one_default() {
        let mut tracks = [audio(0, 2, "eng", "a"), audio(1, 2, "eng", "b"), audio(2, 2, "eng", "c")];
        for track in &mut tracks[1..] {
            if let TrackKind::Audio { default, .. } = &mut track.kind {
                *default = true;
            }
        }
        assert_eq!(groups(&tracks)[0].1, [r#"audio-0 "a" ---"#, r#"audio-1 "b" DA-"#, r#"audio-2 "c" ---"#]);
    }

    #[test]
    fn subtitle_group_has_no_default_unless_marked() {
        let tracks =
            [subtitles(0, "eng", "", false), subtitles(1, "eng", "Signs", true), audio(0, 2, "", "")];
        let group = subtitle_group(&tracks.iter().collect::<Vec<_>>()).expect("a group");
        assert_eq!(summary(&group), [r#"subtitles-0 "en" -A-"#, r#"subtitles-1 "Signs" -AF"#]);
        assert!(subtitle_group(&[&tracks[2]]).is_none());
    }
}
