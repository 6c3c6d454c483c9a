//! The end of streams: with their session, at their deadline, at shutdown.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reelmill_mesh::reason_of;
use reelmill_proto::upload::{WatchVideosRequest, WatchVideosResponse};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::support::{BINARY, TestGateway, WATCH_VIDEOS, WebResponse, authorized, framed};

/// Opens a stream and receives its first message.
async fn watch_videos(gateway: &TestGateway, token: &str) -> Streaming<WatchVideosResponse> {
    let request = authorized(WatchVideosRequest::default(), token);
    let mut stream = gateway.videos().watch_videos(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    stream
}

/// The error with which a stream ends within five seconds.
async fn end_of(mut stream: Streaming<WatchVideosResponse>) -> Status {
    let next = tokio::time::timeout(Duration::from_secs(5), stream.next());
    next.await.expect("the stream stays open").unwrap().unwrap_err()
}

#[tokio::test]
async fn watch_videos_after_sign_out_ends_with_session_ended() {
    let gateway = TestGateway::start().await;
    let (ada, bob) = (gateway.sign_in("ada", "s1").await, gateway.sign_in("bob", "s2").await);
    let (first, second) = (watch_videos(&gateway, &ada).await, watch_videos(&gateway, &ada).await);
    let other = watch_videos(&gateway, &bob).await;
    let signed_out = Instant::now();
    gateway.end_session("s1").await;
    for stream in [first, second] {
        let error = end_of(stream).await;
        assert_eq!(error.code(), Code::Unauthenticated);
        assert_eq!(reason_of(&error).as_deref(), Some("SESSION_ENDED"));
    }
    assert!(signed_out.elapsed() < Duration::from_secs(1), "{:?}", signed_out.elapsed());
    gateway.roles.wait_for_open_calls(1).await;
    drop(other);
    gateway.roles.wait_for_open_calls(0).await;
}

#[tokio::test]
async fn watch_videos_by_grpc_web_after_sign_out_ends_with_session_ended() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let body = framed(&WatchVideosRequest::default());
    let request = gateway.web_request(WATCH_VIDEOS, BINARY, body, Some(&token));
    let mut response = request.send().await.unwrap();
    let first_message = response.chunk().await.unwrap().unwrap().to_vec();
    gateway.end_session("s1").await;
    let response = WebResponse::read(response, first_message).await;
    assert_eq!(response.messages.len(), 1);
    assert_eq!(reason_of(&response.status).as_deref(), Some("SESSION_ENDED"));
}

#[tokio::test]
async fn watch_videos_after_its_deadline_ends_with_deadline_exceeded() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let mut request = authorized(WatchVideosRequest::default(), &token);
    request.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let mut stream = gateway.videos().watch_videos(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    let error = end_of(stream).await;
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(reason_of(&error).as_deref(), Some("DEADLINE_EXCEEDED"));
    gateway.roles.wait_for_open_calls(0).await;
}

#[tokio::test]
async fn watch_videos_at_shutdown_ends_with_shutting_down_and_the_gateway_stops() {
    let mut gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let stream = watch_videos(&gateway, &token).await;
    gateway.shutdown.cancel();
    let error = end_of(stream).await;
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(reason_of(&error).as_deref(), Some("SHUTTING_DOWN"));
    assert!(error.get_details_retry_info().is_some());
    let stopped = tokio::time::timeout(Duration::from_secs(5), &mut gateway.serving).await;
    stopped.expect("the gateway stops").unwrap();
    assert!(tokio::net::TcpStream::connect(gateway.address).await.is_err());
}

#[tokio::test]
async fn silent_stream_sends_empty_messages() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let mut stream = watch_videos(&gateway, &token).await;
    let begin = Instant::now();
    let message = tokio::time::timeout(Duration::from_secs(40), stream.message()).await;
    assert_eq!(message.expect("the stream is silent").unwrap(), Some(WatchVideosResponse::default()));
    assert!(begin.elapsed() > Duration::from_secs(20), "{:?}", begin.elapsed());
}
