//! Playback from the embedded store, through signed addresses.

use bytes::Bytes;
use reqwest::{Method, Response};

use crate::system::System;

const PREFIX: &str = "videos/a/out/";
/// Unix seconds of a day long after these tests, and long before.
const LATER: u64 = 4_000_000_000;
const LONG_AGO: u64 = 1_000_000_000;

async fn with_outputs() -> System {
    let system = System::start().await;
    let segment = Bytes::from_iter((0..300_000u32).map(|n| n as u8));
    for (name, bytes, content_type) in [
        ("master.m3u8", Bytes::from_static(b"#EXTM3U\n"), "text/plain"),
        ("720p/seg-1.m4s", segment.clone(), "application/octet-stream"),
        ("audio/seg-1.m4s", segment, "application/octet-stream"),
        ("720p.mp4", Bytes::from_static(b"mp4"), "video/mp4"),
    ] {
        system.objects.put(&format!("{PREFIX}{name}"), bytes, content_type).await.unwrap();
    }
    system.objects.put("videos/b/secret.mp4", Bytes::from_static(b"secret"), "video/mp4").await.unwrap();
    system
}

async fn get(system: &System, url: String, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(system.http.get(url), |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn outputs_have_the_headers_that_players_and_caches_need() {
    let system = with_outputs().await;
    let play = |name| system.playback_url(PREFIX, LATER, name);
    let playlist = get(&system, play("master.m3u8"), &[("origin", "https://elsewhere.example")]).await;
    assert_eq!(playlist.status().as_u16(), 200);
    assert_eq!(header(&playlist, "content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(header(&playlist, "access-control-allow-origin"), "*");
    assert!(!header(&playlist, "cache-control").contains("immutable"));
    let segment = get(&system, play("720p/seg-1.m4s"), &[]).await;
    assert_eq!(header(&segment, "content-type"), "video/mp4");
    assert_eq!(header(&segment, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(header(&segment, "accept-ranges"), "bytes");
    assert_eq!(header(&segment, "content-length"), "300000");
    assert_eq!(header(&get(&system, play("audio/seg-1.m4s"), &[]).await, "content-type"), "audio/mp4");
    let etag = header(&segment, "etag").to_owned();
    assert_eq!(segment.bytes().await.unwrap()[299_999], 299_999u32 as u8);

    let known = get(&system, play("720p/seg-1.m4s"), &[("if-none-match", &etag)]).await;
    assert_eq!(known.status().as_u16(), 304);
    assert_eq!(header(&known, "etag"), etag);
    let head = system.http.request(Method::HEAD, play("720p/seg-1.m4s")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, "300000"));
    assert_eq!(header(&head, "etag"), etag);
}

#[tokio::test]
async fn a_playlist_that_grows_is_seen_growing() {
    let system = System::start().await;
    let play = || system.playback_url(PREFIX, LATER, "720p.m3u8");
    let put = |content: &'static str| {
        let key = format!("{PREFIX}720p.m3u8");
        let objects = &system.objects;
        async move { objects.put(&key, Bytes::from_static(content.as_bytes()), "x/y").await.unwrap() }
    };
    put("#EXTM3U\n0.m4s\n").await;
    let first = get(&system, play(), &[]).await;
    let age = header(&first, "cache-control").to_owned();
    assert!(age.contains("max-age=1,") && age.contains("must-revalidate"), "{age}");
    let etag = header(&first, "etag").to_owned();
    let same = get(&system, play(), &[("if-none-match", &etag)]).await;
    assert_eq!((same.status().as_u16(), header(&same, "cache-control")), (304, age.as_str()));
    // Once it is whole, whoever put it says how long it may be kept.
    let key = format!("{PREFIX}done.m3u8");
    let done = Bytes::from_static(b"#EXTM3U\n#EXT-X-ENDLIST\n");
    system.objects.put_cached(&key, done, "x/y", Some("public, max-age=3600")).await.unwrap();
    let done = || system.playback_url(PREFIX, LATER, "done.m3u8");
    assert_eq!(header(&get(&system, done(), &[]).await, "cache-control"), "public, max-age=3600");
    let head = system.http.request(Method::HEAD, done()).send().await.unwrap();
    assert_eq!(header(&head, "cache-control"), "public, max-age=3600");
    put("#EXTM3U\n0.m4s\n1.m4s\n").await;
    let grown = get(&system, play(), &[("if-none-match", &etag)]).await;
    assert_eq!(grown.status().as_u16(), 200);
    assert!(grown.text().await.unwrap().ends_with("1.m4s\n"));
}

#[tokio::test]
async fn ranges() {
    let system = with_outputs().await;
    let play = || system.playback_url(PREFIX, LATER, "720p/seg-1.m4s");
    let part = get(&system, play(), &[("range", "bytes=1000-1009")]).await;
    assert_eq!(part.status().as_u16(), 206);
    assert_eq!(header(&part, "content-range"), "bytes 1000-1009/300000");
    let etag = header(&part, "etag").to_owned();
    let expected: Vec<u8> = (1000..1010u32).map(|n| n as u8).collect();
    assert_eq!(part.bytes().await.unwrap(), expected);

    let beyond = get(&system, play(), &[("range", "bytes=300000-")]).await;
    assert_eq!(beyond.status().as_u16(), 416);
    assert_eq!(header(&beyond, "content-range"), "bytes */300000");
    // More than one range, or none that means anything, is as no range.
    for range in ["bytes=0-1,5-6", "seconds=1-2"] {
        assert_eq!(get(&system, play(), &[("range", range)]).await.status().as_u16(), 200, "{range}");
    }
    let same = get(&system, play(), &[("range", "bytes=0-0"), ("if-range", &etag)]).await;
    assert_eq!(same.status().as_u16(), 206);
    let changed = get(&system, play(), &[("range", "bytes=0-0"), ("if-range", "\"other\"")]).await;
    assert_eq!(changed.status().as_u16(), 200);
}

#[tokio::test]
async fn addresses_open_their_own_prefix_until_they_expire() {
    let system = with_outputs().await;
    let expired = get(&system, system.playback_url(PREFIX, LONG_AGO, "master.m3u8"), &[]).await;
    assert_eq!(expired.status().as_u16(), 403);
    assert!(expired.text().await.unwrap().contains("PLAYBACK_ADDRESS_EXPIRED"));
    let forged = system.playback_url(PREFIX, LATER, "master.m3u8").replace("/play/A", "/play/B");
    let forged = get(&system, forged, &[]).await;
    assert_eq!(forged.status().as_u16(), 403);
    assert!(forged.text().await.unwrap().contains("PLAYBACK_ADDRESS_INVALID"));

    let outside =
        ["nothing.m4s", "..%2f..%2fb/secret.mp4", "%2e%2e/%2e%2e/b/secret.mp4", "a//b", "a%00b", "a%5cb"];
    for name in outside {
        let response = get(&system, system.playback_url(PREFIX, LATER, name), &[]).await;
        let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
        // URL libraries resolve encoded dots themselves, which leaves the token without its signature.
        assert!(status == 404 || status == 403, "{name}: {status}");
        assert!(!body.contains("secret"), "{name}");
    }
}

#[tokio::test]
async fn a_download_is_saved_under_its_name() {
    let system = with_outputs().await;
    let url = system.playback_url(PREFIX, LATER, "720p.mp4?download=%C3%9Cberblick.mp4");
    let download = get(&system, url, &[]).await;
    assert_eq!(
        header(&download, "content-disposition"),
        "attachment; filename=\"_berblick.mp4\"; filename*=UTF-8''%C3%9Cberblick.mp4"
    );
    assert_eq!(download.text().await.unwrap(), "mp4");
}

#[tokio::test]
async fn the_store_is_served_on_the_same_port_but_only_to_the_signed() {
    let system = with_outputs().await;
    let bare = format!("{}/{}/{PREFIX}720p.mp4", system.url, crate::system::BUCKET);
    let refused = get(&system, bare, &[]).await;
    assert_eq!(refused.status().as_u16(), 403);
    assert!(refused.text().await.unwrap().contains("AccessDenied"));
    // The objects above were put through this very port.
    assert_eq!(system.objects.head("videos/b/secret.mp4").await.unwrap().unwrap().size, 6);
}
