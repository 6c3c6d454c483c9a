//! The page, and whether the system is well.

use crate::system::System;

#[tokio::test]
async fn the_page_comes_with_a_strict_policy_and_is_not_sent_twice() {
    let system =
        System::with(|config| config.object_store_url = Some("https://s3.example.org".to_owned())).await;
    let page = system.http.get(&system.url).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'self'; connect-src 'self' https://s3.example.org;"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    let etag = header("etag");
    assert!(page.text().await.unwrap().to_lowercase().starts_with("<!doctype html>"));

    let again = system.http.get(&system.url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 304);
    assert_eq!(again.headers()["etag"].to_str().unwrap(), etag);
    let post = system.http.post(&system.url).send().await.unwrap();
    assert_eq!(post.status().as_u16(), 404);
}

#[tokio::test]
async fn alive_is_not_ready() {
    let mut upload = String::new();
    let system = System::with(|config| upload = config.upstreams["upload"].clone()).await;
    let get = async |system: &System, path: &str| {
        let response = system.http.get(format!("{}{path}", system.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get(&system, "/healthz").await.0, 200);
    let (status, body) = get(&system, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("transcode") && !body.contains("upload") && !body.contains("127.0.0.1"), "{body}");

    let whole = System::with(|config| {
        config.upstreams.insert("transcode".to_owned(), upload);
    })
    .await;
    assert_eq!(get(&whole, "/readyz").await.0, 200);
}
