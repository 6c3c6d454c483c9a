//! Liveness and readiness.

use crate::support::TestGateway;

async fn get(gateway: &TestGateway, path: &str) -> (u16, String) {
    let response = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn healthz_with_a_role_unreachable_is_ok() {
    let gateway = TestGateway::start().await;
    assert_eq!(get(&gateway, "/healthz").await.0, 200);
}

#[tokio::test]
async fn readyz_with_a_role_unreachable_names_it_without_its_address() {
    let gateway = TestGateway::start().await;
    let (status, body) = get(&gateway, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("transcode") && !body.contains("upload") && !body.contains("127.0.0.1"), "{body}");
}

#[tokio::test]
async fn readyz_with_all_roles_serving_is_ok() {
    let gateway = TestGateway::with(|config| {
        let upload = config.upstreams["upload"].clone();
        config.upstreams.insert("transcode".to_owned(), upload);
    })
    .await;
    assert_eq!(get(&gateway, "/readyz").await.0, 200);
}
