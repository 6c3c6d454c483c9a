//! A video's playlists as a player meets them: fetched again and again, they may only grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::client::Person;

/// How often a player asks.
const PAUSE: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(120);

/// One media playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playlist {
    /// Its lines, but for those that say whether it still grows.
    lines: Vec<String>,
    is_complete: bool,
}

/// The playlists of one video, and what was seen of them.
pub struct Playlists {
    http: reqwest::Client,
    master: String,
    seen: BTreeMap<String, Playlist>,
    /// How often one that was known had become longer.
    pub times_grown: usize,
}

pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::new()
}

/// What an address of the video stands beside.
fn folder(address: &str) -> &str {
    address.rsplit_once('/').expect("an address").0
}

/// The media playlists that a master playlist names.
fn named(master: &str) -> BTreeSet<String> {
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
        let lasting = text.lines().filter(|line| !state.iter().any(|tag| line.starts_with(tag)));
        Self { lines: lasting.map(str::to_owned).collect(), is_complete }
    }

    /// Addresses of its segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str).filter(|line| !line.starts_with('#'))
    }
}

impl Playlists {
    /// Those of a video that can be played.
    pub fn of(video: &Value) -> Self {
        let master = video["playbackUri"].as_str().filter(|address| !address.is_empty()).expect("an address");
        Self { http: http(), master: master.to_owned(), seen: BTreeMap::new(), times_grown: 0 }
    }

    /// What was last seen of one.
    pub fn get(&self, name: &str) -> Option<&Playlist> {
        self.seen.get(name)
    }

    /// All that were seen.
    pub fn all(&self) -> impl Iterator<Item = &Playlist> {
        self.seen.values()
    }

    /// Its address.
    pub fn address(&self, name: &str) -> String {
        format!("{}/{name}", folder(&self.master))
    }

    /// Fetches all of them, and every segment that is new in them.
    pub async fn look(&mut self) {
        let names = named(&self.text(&self.master).await);
        for known in self.seen.keys() {
            assert!(names.contains(known), "{known} is gone from {names:?}");
        }
        for name in names {
            let now = Playlist::read(&self.text(&self.address(&name)).await);
            let known = self.seen.get(&name).map_or(&[][..], |before| &before.lines);
            assert!(now.lines.starts_with(known), "{name} changed from {known:#?} to {:#?}", now.lines);
            if self.seen.get(&name).is_some_and(|before| before.is_complete) {
                assert_eq!(self.seen[&name], now, "{name}");
            }
            for segment in now.lines[known.len()..].iter().filter(|line| !line.starts_with('#')) {
                let asked = self.http.get(self.address(segment)).header("range", "bytes=0-7");
                assert_eq!(asked.send().await.unwrap().status(), 206, "{name}: {segment}");
            }
            self.times_grown += usize::from(!known.is_empty() && now.lines.len() > known.len());
            self.seen.insert(name, now);
        }
    }

    /// Looks until one has so many segments as is wanted.
    pub async fn until(&mut self, name: &str, wanted: impl Fn(usize) -> bool) {
        let looked = timeout(LONGEST, async {
            loop {
                self.look().await;
                if self.get(name).is_some_and(|playlist| wanted(playlist.segments().count())) {
                    return;
                }
                sleep(PAUSE).await;
            }
        });
        assert!(looked.await.is_ok(), "{name} never had that many segments");
    }

    /// Looks until the video has come to its end, which must be READY and with finished playlists; answers the video.
    pub async fn until_ready(&mut self, person: &Person, name: &str) -> Value {
        let arguments = ["watch", name, "--json"];
        let mut watch = Box::pin(person.run(&arguments));
        let answer = loop {
            self.look().await;
            if let Ok(answer) = timeout(PAUSE, &mut watch).await {
                break answer;
            }
        };
        let video = answer.ended(0).json();
        assert_eq!(video["state"], "READY", "{video}");
        assert_eq!(rest(&self.master), rest(video["playbackUri"].as_str().unwrap()), "the outputs moved");
        self.look().await;
        for (name, playlist) in &self.seen {
            assert!(playlist.is_complete, "{name} of a READY video");
        }
        video
    }

    async fn text(&self, address: &str) -> String {
        let answer = self.http.get(address).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{address}");
        assert_eq!(answer.headers()["content-type"], "application/vnd.apple.mpegurl");
        answer.text().await.unwrap()
    }
}

/// What of an address is the same however often it is signed.
fn rest(address: &str) -> &str {
    address.split_once("/play/").and_then(|(_, rest)| rest.split_once('/')).expect("a signed address").1
}

/// The task and the attempt at it that made a segment, by its address `GENERATION.TASK.ATTEMPT/…`.
pub fn made_by(segment: &str) -> (u32, u32) {
    let folder = segment.split('/').next().unwrap();
    let numbers: Vec<u32> = folder.split('.').map(|number| number.parse().unwrap()).collect();
    let [_, task, attempt] = numbers[..] else { panic!("{segment}") };
    (task, attempt)
}
