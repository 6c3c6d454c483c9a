//! Playback through signed URLs.

use bytes::Bytes;
use reqwest::{Method, Response};

use crate::support::{BUCKET, TestGateway};

const PREFIX: &str = "videos/a/out/";
const PLAYLIST: &str = "master.m3u8";
const SEGMENT: &str = "720p/seg_00001.m4s";
/// Unix seconds, long after and long before these tests.
const FAR_FUTURE: u64 = 4_000_000_000;
const PAST: u64 = 1_000_000_000;

async fn with_outputs() -> TestGateway {
    let gateway = TestGateway::start_with_object_store().await;
    let segment = Bytes::from_iter((0..300_000u32).map(|n| n as u8));
    for (name, bytes, content_type) in [
        (PLAYLIST, Bytes::from_static(b"#EXTM3U\n"), "text/plain"),
        (SEGMENT, segment.clone(), "application/octet-stream"),
        ("audio-0/seg_00001.m4s", segment, "application/octet-stream"),
        ("720p.mp4", Bytes::from_static(b"mp4"), "video/mp4"),
    ] {
        gateway.objects.put(&format!("{PREFIX}{name}"), bytes, content_type).await.unwrap();
    }
    gateway.objects.put("videos/b/secret.mp4", Bytes::from_static(b"secret"), "video/mp4").await.unwrap();
    gateway
}

async fn get_url(gateway: &TestGateway, url: String, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(gateway.http.get(url), |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

/// GET of an output.
async fn play(gateway: &TestGateway, name: &str, headers: &[(&str, &str)]) -> Response {
    get_url(gateway, gateway.playback_url(PREFIX, FAR_FUTURE, name), headers).await
}

/// HEAD of an output.
async fn head(gateway: &TestGateway, name: &str) -> Response {
    let url = gateway.playback_url(PREFIX, FAR_FUTURE, name);
    gateway.http.request(Method::HEAD, url).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn play_playlist_has_its_type_and_allows_all_origins() {
    let gateway = with_outputs().await;
    let playlist = play(&gateway, PLAYLIST, &[("origin", "https://elsewhere.example")]).await;
    assert_eq!(playlist.status().as_u16(), 200);
    assert_eq!(header(&playlist, "content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(header(&playlist, "access-control-allow-origin"), "*");
    assert!(!header(&playlist, "cache-control").contains("immutable"));
}

#[tokio::test]
async fn play_segment_is_immutable_and_accepts_ranges() {
    let gateway = with_outputs().await;
    let segment = play(&gateway, SEGMENT, &[]).await;
    assert_eq!(header(&segment, "content-type"), "video/mp4");
    assert_eq!(header(&segment, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(header(&segment, "accept-ranges"), "bytes");
    assert_eq!(header(&segment, "content-length"), "300000");
    assert_eq!(segment.bytes().await.unwrap()[299_999], 299_999u32 as u8);
}

#[tokio::test]
async fn play_audio_segment_has_an_audio_type() {
    let gateway = with_outputs().await;
    assert_eq!(header(&play(&gateway, "audio-0/seg_00001.m4s", &[]).await, "content-type"), "audio/mp4");
}

#[tokio::test]
async fn play_with_a_current_etag_is_not_modified() {
    let gateway = with_outputs().await;
    let etag = header(&play(&gateway, SEGMENT, &[]).await, "etag").to_owned();
    let response = play(&gateway, SEGMENT, &[("if-none-match", &etag)]).await;
    assert_eq!(response.status().as_u16(), 304);
    assert_eq!(header(&response, "etag"), etag);
}

#[tokio::test]
async fn play_with_a_list_of_etags_or_any_returns_the_etag_of_the_object() {
    let gateway = with_outputs().await;
    let etag = header(&play(&gateway, SEGMENT, &[]).await, "etag").to_owned();
    for tags in [format!("\"other\", {etag}"), format!("W/{etag}"), "*".to_owned()] {
        let response = play(&gateway, SEGMENT, &[("if-none-match", &tags)]).await;
        assert_eq!((response.status().as_u16(), header(&response, "etag")), (304, etag.as_str()), "{tags}");
    }
    let response = play(&gateway, SEGMENT, &[("if-none-match", "\"other\", \"another\"")]).await;
    assert_eq!((response.status().as_u16(), header(&response, "etag")), (200, etag.as_str()));
}

#[tokio::test]
async fn head_has_length_and_etag_of_get() {
    let gateway = with_outputs().await;
    let etag = header(&play(&gateway, SEGMENT, &[]).await, "etag").to_owned();
    let response = head(&gateway, SEGMENT).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-length")), (200, "300000"));
    assert_eq!(header(&response, "etag"), etag);
}

async fn put_playlist(gateway: &TestGateway, name: &str, content: &'static str, cache_control: Option<&str>) {
    let (key, bytes) = (format!("{PREFIX}{name}"), Bytes::from_static(content.as_bytes()));
    gateway.objects.put_cached(&key, bytes, "x/y", cache_control).await.unwrap();
}

#[tokio::test]
async fn play_growing_playlist_expires_after_a_second() {
    let gateway = TestGateway::start_with_object_store().await;
    put_playlist(&gateway, "720p.m3u8", "#EXTM3U\n0.m4s\n", None).await;
    let first = play(&gateway, "720p.m3u8", &[]).await;
    let cache_control = header(&first, "cache-control");
    assert!(
        cache_control.contains("max-age=1,") && cache_control.contains("must-revalidate"),
        "{cache_control}"
    );
    let unchanged = play(&gateway, "720p.m3u8", &[("if-none-match", header(&first, "etag"))]).await;
    assert_eq!((unchanged.status().as_u16(), header(&unchanged, "cache-control")), (304, cache_control));
}

#[tokio::test]
async fn play_grown_playlist_with_an_old_etag_returns_the_new_content() {
    let gateway = TestGateway::start_with_object_store().await;
    put_playlist(&gateway, "720p.m3u8", "#EXTM3U\n0.m4s\n", None).await;
    let etag = header(&play(&gateway, "720p.m3u8", &[]).await, "etag").to_owned();
    put_playlist(&gateway, "720p.m3u8", "#EXTM3U\n0.m4s\n1.m4s\n", None).await;
    let grown = play(&gateway, "720p.m3u8", &[("if-none-match", &etag)]).await;
    assert_eq!(grown.status().as_u16(), 200);
    assert!(grown.text().await.unwrap().ends_with("1.m4s\n"));
}

#[tokio::test]
async fn play_complete_playlist_has_the_stored_cache_control() {
    let gateway = TestGateway::start_with_object_store().await;
    let content = "#EXTM3U\n#EXT-X-ENDLIST\n";
    put_playlist(&gateway, "done.m3u8", content, Some("public, max-age=3600")).await;
    assert_eq!(header(&play(&gateway, "done.m3u8", &[]).await, "cache-control"), "public, max-age=3600");
    assert_eq!(header(&head(&gateway, "done.m3u8").await, "cache-control"), "public, max-age=3600");
}

#[tokio::test]
async fn play_range_returns_partial_content() {
    let gateway = with_outputs().await;
    let part = play(&gateway, SEGMENT, &[("range", "bytes=1000-1009")]).await;
    assert_eq!(part.status().as_u16(), 206);
    assert_eq!(header(&part, "content-range"), "bytes 1000-1009/300000");
    let expected: Vec<u8> = (1000..1010u32).map(|n| n as u8).collect();
    assert_eq!(part.bytes().await.unwrap(), expected);
}

#[tokio::test]
async fn play_range_beyond_the_end_is_not_satisfiable() {
    let gateway = with_outputs().await;
    let response = play(&gateway, SEGMENT, &[("range", "bytes=300000-")]).await;
    assert_eq!(response.status().as_u16(), 416);
    assert_eq!(header(&response, "content-range"), "bytes */300000");
}

#[tokio::test]
async fn play_with_several_ranges_or_another_unit_ignores_them() {
    let gateway = with_outputs().await;
    for range in ["bytes=0-1,5-6", "seconds=1-2"] {
        assert_eq!(play(&gateway, SEGMENT, &[("range", range)]).await.status().as_u16(), 200, "{range}");
    }
}

#[tokio::test]
async fn play_range_with_if_range_returns_partial_content_only_of_the_same_version() {
    let gateway = with_outputs().await;
    let part = play(&gateway, SEGMENT, &[("range", "bytes=1000-1009")]).await;
    let etag = header(&part, "etag");
    let same = play(&gateway, SEGMENT, &[("range", "bytes=0-0"), ("if-range", etag)]).await;
    assert_eq!(same.status().as_u16(), 206);
    let changed = play(&gateway, SEGMENT, &[("range", "bytes=0-0"), ("if-range", "\"other\"")]).await;
    assert_eq!(changed.status().as_u16(), 200);
}

#[tokio::test]
async fn play_with_an_expired_url_is_forbidden() {
    let gateway = with_outputs().await;
    let expired = get_url(&gateway, gateway.playback_url(PREFIX, PAST, PLAYLIST), &[]).await;
    assert_eq!(expired.status().as_u16(), 403);
    assert!(expired.text().await.unwrap().contains("PLAYBACK_URL_EXPIRED"));
}

#[tokio::test]
async fn play_with_a_forged_url_is_forbidden() {
    let gateway = with_outputs().await;
    let forged = gateway.playback_url(PREFIX, FAR_FUTURE, PLAYLIST).replace("/play/A", "/play/B");
    let forged = get_url(&gateway, forged, &[]).await;
    assert_eq!(forged.status().as_u16(), 403);
    assert!(forged.text().await.unwrap().contains("PLAYBACK_URL_INVALID"));
}

#[tokio::test]
async fn play_outside_of_the_signed_prefix_is_rejected() {
    let gateway = with_outputs().await;
    let outside =
        ["nothing.m4s", "..%2f..%2fb/secret.mp4", "%2e%2e/%2e%2e/b/secret.mp4", "a//b", "a%00b", "a%5cb"];
    for name in outside {
        let response = play(&gateway, name, &[]).await;
        let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
        // URL libraries resolve encoded dots themselves, which cuts the signature off the token.
        assert!(status == 404 || status == 403, "{name}: {status}");
        assert!(!body.contains("secret"), "{name}");
    }
}

#[tokio::test]
async fn play_with_download_has_the_file_name_in_content_disposition() {
    let gateway = with_outputs().await;
    let download = play(&gateway, "720p.mp4?download=%C3%9Cberblick.mp4", &[]).await;
    assert_eq!(
        header(&download, "content-disposition"),
        "attachment; filename=\"_berblick.mp4\"; filename*=UTF-8''%C3%9Cberblick.mp4"
    );
    assert_eq!(download.text().await.unwrap(), "mp4");
}

#[tokio::test]
async fn object_store_request_without_a_signature_is_rejected() {
    let gateway = with_outputs().await;
    let unsigned = format!("{}/{BUCKET}/{PREFIX}720p.mp4", gateway.url);
    let response = get_url(&gateway, unsigned, &[]).await;
    assert_eq!(response.status().as_u16(), 403);
    assert!(response.text().await.unwrap().contains("AccessDenied"));
}

#[tokio::test]
async fn object_store_request_with_a_signature_passes_on_the_same_port() {
    let gateway = with_outputs().await;
    assert_eq!(gateway.objects.head("videos/b/secret.mp4").await.unwrap().unwrap().size, 6);
}
