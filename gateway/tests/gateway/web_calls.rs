//! gRPC-web, binary and text, as browsers speak it.

use prost::Message as _;
use reelmill_mesh::reason_of;
use reelmill_proto::upload::{GetVideoRequest, GetVideoResponse, WatchVideoRequest, WatchVideoResponse};
use reqwest::Method;

use crate::{
    system::System,
    web_client::{BINARY, TEXT, framed},
};

const GET_VIDEO: &str = "reelmill.upload.v1.VideoService/GetVideo";
const WATCH_VIDEO: &str = "reelmill.upload.v1.VideoService/WatchVideo";

/// The body in the content type's encoding.
fn encoded(content_type: &str, body: Vec<u8>) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    if content_type == TEXT { STANDARD.encode(body).into_bytes() } else { body }
}

#[tokio::test]
async fn unary_calls_of_every_size() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    for content_type in [BINARY, TEXT] {
        // 65,000 is held, 3 MiB passes through; lengths that fill no base64 quantum among them.
        for size in [8, 9, 10, 65_000, 200_001, 3 << 20] {
            let request = GetVideoRequest { name: "v".repeat(size) };
            let body = encoded(content_type, framed(&request));
            let answer = system.web_call(GET_VIDEO, content_type, body, Some(&token)).await;
            assert_eq!(
                (answer.http_status, answer.status.code()),
                (200, tonic::Code::Ok),
                "{size}: {answer:?}"
            );
            assert_eq!(answer.messages.len(), 1);
            let video = GetVideoResponse::decode(answer.messages[0].as_slice()).unwrap().video.unwrap();
            assert!(size <= 100_000 || video.display_name.len() == size);
            assert!(answer.headers.contains_key("x-request-id"));
        }
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_own_error() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    for content_type in [BINARY, TEXT] {
        let body = encoded(content_type, framed(&WatchVideoRequest::default()));
        let answer = system.web_call(WATCH_VIDEO, content_type, body, Some(&token)).await;
        let revisions: Vec<i64> = answer
            .messages
            .iter()
            .map(|message| WatchVideoResponse::decode(message.as_slice()).unwrap().video.unwrap().revision)
            .collect();
        assert_eq!(revisions, [1, 2]);
        let expected = crate::far_end::detailed().to_status();
        assert_eq!(answer.status.code(), expected.code());
        assert_eq!(answer.status.details(), expected.details());
    }
}

#[tokio::test]
async fn refusals_reach_browsers_with_their_reason() {
    let system = System::start().await;
    for content_type in [BINARY, TEXT] {
        let body = encoded(content_type, framed(&GetVideoRequest::default()));
        let answer = system.web_call(GET_VIDEO, content_type, body, None).await;
        assert_eq!(answer.http_status, 200);
        assert_eq!(reason_of(&answer.status).as_deref(), Some("SIGN_IN_REQUIRED"));
    }
}

#[tokio::test]
async fn other_origins_need_leave() {
    let system = System::with(|config| {
        config.allowed_origins = vec!["https://app.example.org/".to_owned(), "*".to_owned()];
    })
    .await;
    let preflight = async |system: &System, origin: &str| {
        let response = system
            .http
            .request(Method::OPTIONS, format!("{}/{GET_VIDEO}", system.url))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-grpc-web,authorization")
            .send()
            .await
            .unwrap();
        let text = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (text("access-control-allow-origin"), text("access-control-allow-credentials"))
    };
    let app = "https://app.example.org";
    let yes = Some("true".to_owned());
    assert_eq!(preflight(&system, app).await, (Some(app.to_owned()), yes));
    let other = "https://other.example.org";
    assert_eq!(preflight(&system, other).await, (Some(other.to_owned()), None));

    let call = system
        .http
        .post(format!("{}/{GET_VIDEO}", system.url))
        .header("origin", app)
        .header("content-type", BINARY)
        .body(framed(&GetVideoRequest::default()));
    let answer = call.send().await.unwrap();
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap().to_owned();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"] {
        assert!(exposed.contains(name), "{exposed}");
    }

    let closed = System::start().await;
    assert_eq!(preflight(&closed, app).await, (None, None));
}
