//! Digests of what a player receives.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Byte range and SHA-256 of each init segment, segment and poster of a video, and the sizes of its downloads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    /// By playlist and position in it; none if it is in no playlist.
    digests: BTreeMap<(String, Option<usize>), String>,
}

impl Outputs {
    /// Fetches all outputs of a READY video.
    pub async fn fetch(http: &reqwest::Client, video: &Value) -> Result<Self> {
        let mut outputs = Self::default();
        let master = video["playbackUri"].as_str().context("no playbackUri")?;
        let folder = master.rsplit_once('/').context("a URL")?.0;
        let text = String::from_utf8(get(http, master).await?)?;
        for name in playlists(&text) {
            let playlist = String::from_utf8(get(http, &format!("{folder}/{name}")).await?)?;
            ensure!(playlist.contains("#EXT-X-ENDLIST"), "{name} of a READY video is not complete");
            for (position, (uri, range)) in parts(&playlist).into_iter().enumerate() {
                let bytes = get(http, &format!("{folder}/{uri}")).await?;
                outputs.add(name, Some(position), format!("{range} {}", digest(&bytes)));
            }
        }
        if let Some(poster) = video["posterUri"].as_str().filter(|uri| !uri.is_empty()) {
            outputs.add("poster", None, digest(&get(http, poster).await?));
        }
        for rendition in video["renditions"].as_array().into_iter().flatten() {
            let (id, size) = (rendition["renditionId"].as_str(), rendition["sizeBytes"].as_str());
            let name = format!("download {}", id.unwrap_or_default());
            outputs.add(&name, None, size.unwrap_or_default().to_owned());
        }
        Ok(outputs)
    }

    /// The first output that is missing, extra or different, compared with those of the reference.
    pub fn difference(&self, reference: &Self) -> Option<String> {
        let keys: BTreeSet<_> = self.digests.keys().chain(reference.digests.keys()).collect();
        keys.into_iter().find_map(|key| {
            let how = match (self.digests.get(key), reference.digests.get(key)) {
                (Some(found), Some(expected)) if found == expected => return None,
                (Some(_), Some(_)) => "differs",
                (Some(_), None) => "extra",
                (None, _) => "missing",
            };
            let (name, position) = key;
            let position = position.map(|position| format!(" at position {position}")).unwrap_or_default();
            Some(format!("{how}: {name}{position}"))
        })
    }

    fn add(&mut self, name: &str, position: Option<usize>, digest: String) {
        self.digests.insert((name.to_owned(), position), digest);
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

async fn get(http: &reqwest::Client, url: &str) -> Result<Vec<u8>> {
    let response = http.get(url).send().await?;
    ensure!(response.status().is_success(), "{url}: {}", response.status());
    Ok(response.bytes().await?.into())
}

/// Names of the media playlists in a master playlist.
fn playlists(master: &str) -> BTreeSet<&str> {
    let plain = master.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let quoted = master.lines().filter_map(quoted_uri);
    plain.chain(quoted).collect()
}

/// URI and byte range of the parts of a media playlist.
fn parts(playlist: &str) -> Vec<(&str, &str)> {
    let mut range = "";
    let mut parts = Vec::new();
    for line in playlist.lines() {
        if let Some(bytes) = line.strip_prefix("#EXT-X-BYTERANGE:") {
            range = bytes;
        } else if line.starts_with("#EXT-X-MAP") {
            parts.extend(quoted_uri(line).map(|uri| (uri, "")));
        } else if !line.starts_with('#') && !line.is_empty() {
            parts.push((line, std::mem::take(&mut range)));
        }
    }
    parts
}

fn quoted_uri(line: &str) -> Option<&str> {
    line.split("URI=\"").nth(1)?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_init_segment_and_all_segments() {
        let text = "#EXTM3U\n#EXT-X-MAP:URI=\"0.1/init.mp4\"\n#EXTINF:4,\n0.1/0.m4s\n\
                    #EXTINF:4,\n#EXT-X-BYTERANGE:10@5\n0.2/1.m4s\n#EXT-X-ENDLIST\n";
        assert_eq!(parts(text), [("0.1/init.mp4", ""), ("0.1/0.m4s", ""), ("0.2/1.m4s", "10@5")]);
    }

    #[test]
    fn difference_says_what_is_missing_extra_or_different() {
        let mut one = Outputs::default();
        one.add("poster", None, digest(b"1"));
        let mut other = one.clone();
        assert_eq!(one.difference(&other), None);
        other.add("a.m3u8", Some(10), digest(b"2"));
        assert_eq!(one.difference(&other).as_deref(), Some("missing: a.m3u8 at position 10"));
        assert_eq!(other.difference(&one).as_deref(), Some("extra: a.m3u8 at position 10"));
        one.add("a.m3u8", Some(10), digest(b"3"));
        assert_eq!(one.difference(&other).as_deref(), Some("differs: a.m3u8 at position 10"));
        other.add("a.m3u8", Some(9), digest(b"4"));
        assert_eq!(one.difference(&other).as_deref(), Some("missing: a.m3u8 at position 9"));
        let (nothing, mut poster) = (Outputs::default(), Outputs::default());
        poster.add("poster", None, digest(b"5"));
        assert_eq!(nothing.difference(&poster).as_deref(), Some("missing: poster"));
    }
}
