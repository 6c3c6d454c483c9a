//! Streams: they end with their session, with the process, with their deadline, with their client.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use reelmill_mesh::reason_of;
use reelmill_proto::upload::{WatchVideosRequest, WatchVideosResponse};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::{
    system::{System, signed},
    wait,
    web_client::{BINARY, framed},
};

async fn watch(system: &System, token: &str) -> Streaming<WatchVideosResponse> {
    let request = signed(WatchVideosRequest::default(), token);
    let mut stream = system.videos().watch_videos(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    stream
}

/// How a stream ends, which must be soon.
async fn end_of(mut stream: Streaming<WatchVideosResponse>) -> Status {
    let next = tokio::time::timeout(Duration::from_secs(5), stream.next());
    next.await.expect("the stream stays open").unwrap().unwrap_err()
}

#[tokio::test]
async fn a_stream_ends_within_a_second_of_its_session() {
    let system = System::start().await;
    let (ada, bob) = (system.sign_in("ada", "s1").await, system.sign_in("bob", "s2").await);
    let (first, second) = (watch(&system, &ada).await, watch(&system, &ada).await);
    let other = watch(&system, &bob).await;
    let ended = Instant::now();
    system.end_session("s1").await;
    for stream in [first, second] {
        let status = end_of(stream).await;
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(reason_of(&status).as_deref(), Some("SESSION_ENDED"));
    }
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
    wait::until("the roles let go", || system.far.open.load(Ordering::SeqCst) == 1).await;
    drop(other);
    wait::until("the last one too", || system.far.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_web_stream_ends_with_its_session_too() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let body = framed(&WatchVideosRequest::default());
    let call = system.web_call("reelmill.upload.v1.VideoService/WatchVideos", BINARY, body, Some(&token));
    let end = async {
        wait::until("the stream is open", || system.far.open.load(Ordering::SeqCst) == 1).await;
        system.end_session("s1").await;
    };
    let (answer, ()) = tokio::join!(call, end);
    assert_eq!(answer.messages.len(), 1);
    assert_eq!(reason_of(&answer.status).as_deref(), Some("SESSION_ENDED"));
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let mut request = signed(WatchVideosRequest::default(), &token);
    request.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let mut stream = system.videos().watch_videos(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    let status = end_of(stream).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason_of(&status).as_deref(), Some("DEADLINE_EXCEEDED"));
    wait::until("the role lets go", || system.far.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn at_the_end_streams_are_told_and_the_gateway_stops() {
    let mut system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let stream = watch(&system, &token).await;
    system.shutdown.cancel();
    let status = end_of(stream).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status).as_deref(), Some("SHUTTING_DOWN"));
    assert!(status.get_details_retry_info().is_some());
    let stopped = tokio::time::timeout(Duration::from_secs(5), &mut system.gateway).await;
    stopped.expect("the gateway stops").unwrap();
    assert!(tokio::net::TcpStream::connect(system.address).await.is_err());
}
