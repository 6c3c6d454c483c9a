//! The playlists of a video, fetched repeatedly like a player does. They may only grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::support::cli_user::CliUser;

/// Interval between fetches.
const FETCH_INTERVAL: Duration = Duration::from_millis(150);
const WAIT_LIMIT: Duration = Duration::from_secs(120);

/// One media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playlist {
    /// Its lines, without those that say whether it still grows.
    lines: Vec<String>,
    is_complete: bool,
}

/// The playlists of one video, as last fetched.
pub struct Playlists {
    http: reqwest::Client,
    master: String,
    seen: BTreeMap<String, Playlist>,
    /// Number of fetches in which a known playlist had grown.
    pub growths: usize,
}

pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

/// The URL of the folder of a file.
fn folder(address: &str) -> &str {
    address.rsplit_once('/').expect("a URL").0
}

/// Names of the media playlists in a master playlist.
fn media_playlists(master: &str) -> BTreeSet<String> {
    let plain = master.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let quoted = master.lines().filter_map(|line| line.split("URI=\"").nth(1)?.split('"').next());
    plain.chain(quoted).map(str::to_owned).collect()
}

impl Playlist {
    fn read(text: &str) -> Self {
        let (is_complete, is_vod) =
            (text.contains("#EXT-X-ENDLIST"), text.contains("#EXT-X-PLAYLIST-TYPE:VOD"));
        assert_eq!(is_complete, is_vod, "{text}");
        assert_eq!(!is_complete, text.contains("#EXT-X-PLAYLIST-TYPE:EVENT"), "{text}");
        let state = ["#EXT-X-PLAYLIST-TYPE", "#EXT-X-START", "#EXT-X-ENDLIST"];
        let stable = text.lines().filter(|line| !state.iter().any(|tag| line.starts_with(tag)));
        Self { lines: stable.map(str::to_owned).collect(), is_complete }
    }

    /// Relative URLs of its segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str).filter(|line| !line.starts_with('#'))
    }
}

impl Playlists {
    /// The playlists of a playable video.
    pub fn of(video: &Value) -> Self {
        let master = video["playbackUri"].as_str().filter(|address| !address.is_empty()).expect("a URL");
        Self { http: http(), master: master.to_owned(), seen: BTreeMap::new(), growths: 0 }
    }

    /// A playlist as last fetched.
    pub fn get(&self, name: &str) -> Option<&Playlist> {
        self.seen.get(name)
    }

    /// All fetched playlists.
    pub fn all(&self) -> impl Iterator<Item = &Playlist> {
        self.seen.values()
    }

    /// URL of a playlist or segment.
    pub fn address(&self, name: &str) -> String {
        format!("{}/{name}", folder(&self.master))
    }

    /// Fetches all playlists, and every new segment in them.
    pub async fn fetch(&mut self) {
        let names = media_playlists(&self.text(&self.master).await);
        for known in self.seen.keys() {
            assert!(names.contains(known), "{known} is missing in {names:?}");
        }
        for name in names {
            let now = Playlist::read(&self.text(&self.address(&name)).await);
            let known = self.seen.get(&name).map_or(&[][..], |before| &before.lines);
            assert!(now.lines.starts_with(known), "{name} changed from {known:#?} to {:#?}", now.lines);
            if self.seen.get(&name).is_some_and(|before| before.is_complete) {
                assert_eq!(self.seen[&name], now, "{name}");
            }
            for segment in now.lines[known.len()..].iter().filter(|line| !line.starts_with('#')) {
                let request = self.http.get(self.address(segment)).header("range", "bytes=0-7");
                assert_eq!(request.send().await.unwrap().status(), 206, "{name}: {segment}");
            }
            self.growths += usize::from(!known.is_empty() && now.lines.len() > known.len());
            self.seen.insert(name, now);
        }
    }

    /// Fetches until the number of segments of a playlist satisfies `wanted`.
    pub async fn until(&mut self, name: &str, wanted: impl Fn(usize) -> bool) {
        let fetched = timeout(WAIT_LIMIT, async {
            loop {
                self.fetch().await;
                if self.get(name).is_some_and(|playlist| wanted(playlist.segments().count())) {
                    return;
                }
                sleep(FETCH_INTERVAL).await;
            }
        });
        assert!(fetched.await.is_ok(), "{name} did not reach the wanted number of segments");
    }

    /// Fetches until the video has ended, which must be READY and with complete playlists, and returns the video.
    pub async fn watch_until_ready(&mut self, user: &CliUser, name: &str) -> Value {
        let arguments = ["watch", name, "--json"];
        let mut watch = Box::pin(user.run(&arguments));
        let output = loop {
            self.fetch().await;
            if let Ok(output) = timeout(FETCH_INTERVAL, &mut watch).await {
                break output;
            }
        };
        let video = output.expect_exit(0).json();
        assert_eq!(video["state"], "READY", "{video}");
        assert_eq!(
            unsigned_path(&self.master),
            unsigned_path(video["playbackUri"].as_str().unwrap()),
            "the outputs are elsewhere"
        );
        self.fetch().await;
        for (name, playlist) in &self.seen {
            assert!(playlist.is_complete, "{name} of a READY video");
        }
        video
    }

    async fn text(&self, url: &str) -> String {
        let response = self.http.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        assert_eq!(response.headers()["content-type"], "application/vnd.apple.mpegurl");
        response.text().await.unwrap()
    }
}

/// The part of a playback URL that does not depend on its signature.
fn unsigned_path(address: &str) -> &str {
    address.split_once("/play/").and_then(|(_, rest)| rest.split_once('/')).expect("a signed URL").1
}

/// The task and the attempt that produced a segment, from its relative URL `GENERATION.TASK.ATTEMPT/…`.
pub fn task_and_attempt_of(segment: &str) -> (u32, u32) {
    let folder = segment.split('/').next().unwrap();
    let numbers: Vec<u32> = folder.split('.').map(|number| number.parse().unwrap()).collect();
    let [_, task, attempt] = numbers[..] else { panic!("{segment}") };
    (task, attempt)
}
