//! The web page.

use crate::support::TestGateway;

#[tokio::test]
async fn page_has_a_strict_content_security_policy() {
    let gateway =
        TestGateway::with(|config| config.object_store_url = Some("https://s3.example.org".to_owned())).await;
    let page = gateway.http.get(&gateway.url).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
    let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    assert!(policy.starts_with("default-src 'self'; connect-src 'self' https://s3.example.org;"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().to_lowercase().starts_with("<!doctype html>"));
}

#[tokio::test]
async fn page_over_https_may_not_be_used_without_it() {
    for (public_url, expected) in
        [("https://video.example.org", Some("max-age=31536000")), ("http://127.0.0.1:8080", None)]
    {
        let gateway = TestGateway::with(|config| config.public_url = Some(public_url.to_owned())).await;
        let page = gateway.http.get(&gateway.url).send().await.unwrap();
        let header = |name: &str| page.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("strict-transport-security").as_deref(), expected);
        assert!(header("permissions-policy").unwrap().contains("camera=()"));
    }
}

#[tokio::test]
async fn page_with_a_current_etag_is_not_modified() {
    let gateway = TestGateway::start().await;
    let page = gateway.http.get(&gateway.url).send().await.unwrap();
    let etag = page.headers()["etag"].to_str().unwrap().to_owned();
    let again = gateway.http.get(&gateway.url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 304);
    assert_eq!(again.headers()["etag"].to_str().unwrap(), etag);
}

#[tokio::test]
async fn post_to_the_page_gets_404() {
    let gateway = TestGateway::start().await;
    let response = gateway.http.post(&gateway.url).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 404);
}
