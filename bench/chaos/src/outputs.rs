//! Digests of what a player receives.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 of each init segment, segment and image of a video, by playlist and position; and the sizes of its downloads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs {
    digests: BTreeMap<String, String>,
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
                outputs.add(&format!("{name} {position} {range}"), &bytes);
            }
        }
        if let Some(poster) = video["posterUri"].as_str().filter(|uri| !uri.is_empty()) {
            outputs.add("poster", &get(http, poster).await?);
        }
        for rendition in video["renditions"].as_array().into_iter().flatten() {
            let (id, size) = (rendition["renditionId"].as_str(), rendition["sizeBytes"].as_str());
            let key = format!("download {}", id.unwrap_or_default());
            outputs.digests.insert(key, size.unwrap_or_default().to_owned());
        }
        Ok(outputs)
    }

    /// The first output in which the two differ.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let names: BTreeSet<_> = self.digests.keys().chain(other.digests.keys()).collect();
        let differs = |name: &&&String| self.digests.get(**name) != other.digests.get(**name);
        names.iter().find(differs).map(|name| (**name).clone())
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.digests.insert(name.to_owned(), hex::encode(Sha256::digest(bytes)));
    }
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
    fn difference_names_what_is_missing_or_changed() {
        let mut one = Outputs::default();
        one.add("a", b"1");
        let mut other = one.clone();
        assert_eq!(one.difference(&other), None);
        other.add("b", b"2");
        assert_eq!(one.difference(&other).as_deref(), Some("b"));
        one.add("b", b"3");
        assert_eq!(one.difference(&other).as_deref(), Some("b"));
    }
}
