//! gRPC-web, binary and text, and its CORS headers.

use prost::Message as _;
use reelmill_mesh::reason_of;
use reelmill_proto::upload::{GetVideoRequest, WatchVideoRequest, WatchVideoResponse};
use reqwest::Method;

use crate::support::{BINARY, ECHO, GET_VIDEO, TEXT, TestGateway, WATCH_VIDEO, error_with_details, framed};

const LISTED_ORIGIN: &str = "https://app.example.org";
const OTHER_ORIGIN: &str = "https://other.example.org";

/// The body in the content type's encoding.
fn encoded(content_type: &str, body: Vec<u8>) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    if content_type == TEXT { STANDARD.encode(body).into_bytes() } else { body }
}

#[tokio::test]
async fn message_of_every_size_passes_in_both_encodings() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    for content_type in [BINARY, TEXT] {
        // Some lengths fill no base64 quantum.
        for size in [8, 9, 10, 65_000, 200_001, 3 << 20] {
            let request = GetVideoRequest { name: "v".repeat(size) };
            let body = encoded(content_type, framed(&request));
            let response = gateway.web_call(ECHO, content_type, body, Some(&token)).await;
            assert_eq!(
                (response.http_status, response.status.code()),
                (200, tonic::Code::Ok),
                "{size}: {response:?}"
            );
            assert_eq!(response.messages.len(), 1);
            assert_eq!(response.messages[0], request.encode_to_vec(), "{size}");
            assert!(response.headers.contains_key("x-request-id"));
        }
    }
}

#[tokio::test]
async fn watch_video_error_after_messages_is_in_the_trailers() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    for content_type in [BINARY, TEXT] {
        let body = encoded(content_type, framed(&WatchVideoRequest::default()));
        let response = gateway.web_call(WATCH_VIDEO, content_type, body, Some(&token)).await;
        let revisions: Vec<i64> = response
            .messages
            .iter()
            .map(|message| WatchVideoResponse::decode(message.as_slice()).unwrap().video.unwrap().revision)
            .collect();
        assert_eq!(revisions, [1, 2]);
        let expected = error_with_details().to_status();
        assert_eq!(response.status.code(), expected.code());
        assert_eq!(response.status.details(), expected.details());
    }
}

#[tokio::test]
async fn get_video_without_a_token_ends_with_sign_in_required() {
    let gateway = TestGateway::start().await;
    for content_type in [BINARY, TEXT] {
        let body = encoded(content_type, framed(&GetVideoRequest::default()));
        let response = gateway.web_call(GET_VIDEO, content_type, body, None).await;
        assert_eq!(response.http_status, 200);
        assert_eq!(reason_of(&response.status).as_deref(), Some("SIGN_IN_REQUIRED"));
    }
}

async fn with_allowed_origins() -> TestGateway {
    TestGateway::with(|config| {
        config.allowed_origins = vec![format!("{LISTED_ORIGIN}/"), "*".to_owned()];
    })
    .await
}

/// `Access-Control-Allow-Origin` and `-Credentials` of a preflight's response.
async fn preflight(gateway: &TestGateway, origin: &str) -> (Option<String>, Option<String>) {
    let response = gateway
        .http
        .request(Method::OPTIONS, format!("{}/{GET_VIDEO}", gateway.url))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-grpc-web,authorization")
        .send()
        .await
        .unwrap();
    let text = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    (text("access-control-allow-origin"), text("access-control-allow-credentials"))
}

#[tokio::test]
async fn preflight_of_a_listed_origin_allows_credentials() {
    let gateway = with_allowed_origins().await;
    let expected = (Some(LISTED_ORIGIN.to_owned()), Some("true".to_owned()));
    assert_eq!(preflight(&gateway, LISTED_ORIGIN).await, expected);
}

#[tokio::test]
async fn preflight_of_another_origin_with_wildcard_allows_no_credentials() {
    let gateway = with_allowed_origins().await;
    assert_eq!(preflight(&gateway, OTHER_ORIGIN).await, (Some(OTHER_ORIGIN.to_owned()), None));
}

#[tokio::test]
async fn preflight_without_allowed_origins_is_rejected() {
    let gateway = TestGateway::start().await;
    assert_eq!(preflight(&gateway, LISTED_ORIGIN).await, (None, None));
}

#[tokio::test]
async fn get_video_from_another_origin_exposes_status_headers() {
    let gateway = with_allowed_origins().await;
    let request = gateway
        .http
        .post(format!("{}/{GET_VIDEO}", gateway.url))
        .header("origin", LISTED_ORIGIN)
        .header("content-type", BINARY)
        .body(framed(&GetVideoRequest::default()));
    let response = request.send().await.unwrap();
    let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap().to_owned();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
}
