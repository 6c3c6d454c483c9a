//! Bounds of single calls and of what one caller has in progress.

use std::time::{Duration, Instant};

use reelmill_mesh::reason_of;
use reelmill_proto::upload::{GetVideoRequest, WatchVideosRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};

use crate::support::{BINARY, ECHO, GET_VIDEO, TestGateway, authorized, framed, framed_bytes};

const LIST_SIGNING_KEYS: &str = "reelmill.auth.v1.AuthService/ListSigningKeys";

/// Sends the head of a call whose message has `length` bytes, and `sent` of them.
async fn open_call(gateway: &TestGateway, method: &str, token: &str, length: u32, sent: usize) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /{method} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {BINARY}\r\n\
         authorization: Bearer {token}\r\ngrpc-timeout: 24H\r\ncontent-length: {}\r\n\r\n",
        length + 5
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[0]).await.unwrap();
    stream.write_all(&length.to_be_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; sent]).await.unwrap();
    stream
}

/// What the gateway answers until it closes the connection.
async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
    assert!(read.is_ok(), "the connection stays open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether the answer has this status. The reason is in its binary details.
fn ends_with(answer: &str, code: Code) -> bool {
    answer.contains(&format!("grpc-status: {}\r\n", code as i32))
}

#[tokio::test]
async fn message_above_the_methods_limit_is_refused_before_it_is_sent() {
    let gateway = TestGateway::start().await;
    let begin = Instant::now();
    let refused = open_call(&gateway, LIST_SIGNING_KEYS, "", 4 << 20, 0).await;
    let answer = answer(refused).await;
    assert!(ends_with(&answer, Code::ResourceExhausted) && answer.contains("4096%20bytes"), "{answer}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn body_that_is_sent_too_slowly_ends_in_spite_of_a_long_deadline() {
    let gateway = TestGateway::start().await;
    let begin = Instant::now();
    let stalled = open_call(&gateway, LIST_SIGNING_KEYS, "", 100, 50).await;
    let answer = answer(stalled).await;
    assert!(ends_with(&answer, Code::DeadlineExceeded) && answer.contains("too%20slowly"), "{answer}");
    assert!(begin.elapsed() > Duration::from_secs(9) && begin.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn bodies_of_one_caller_leave_memory_for_others() {
    let gateway = TestGateway::with(|config| config.limits.body_bytes = 8 << 20).await;
    let (ada, bob) = (gateway.sign_in("ada", "s1").await, gateway.sign_in("bob", "s2").await);
    let first = open_call(&gateway, ECHO, &ada, 3 << 20, 1000).await;
    gateway.wait_for_body_bytes(3 << 20).await;
    let large = framed_bytes(&vec![b'y'; 1 << 20]);
    let refused = gateway.web_call(ECHO, BINARY, large.clone(), Some(&ada)).await;
    assert_eq!(reason_of(&refused.status).as_deref(), Some("OVERLOADED"), "{refused:?}");
    let accepted = gateway.web_call(ECHO, BINARY, large.clone(), Some(&bob)).await;
    assert_eq!(accepted.status.code(), Code::Ok, "{accepted:?}");
    drop(first);
    gateway.wait_for_body_bytes(0).await;
    let accepted = gateway.web_call(ECHO, BINARY, large, Some(&ada)).await;
    assert_eq!(accepted.status.code(), Code::Ok, "{accepted:?}");
}

#[tokio::test]
async fn bodies_of_all_callers_stay_within_the_budget() {
    let gateway = TestGateway::with(|config| config.limits.body_bytes = 6 << 20).await;
    let (ada, bob) = (gateway.sign_in("ada", "s1").await, gateway.sign_in("bob", "s2").await);
    let _open = open_call(&gateway, ECHO, &ada, 4 << 20, 1000).await;
    gateway.wait_for_body_bytes(4 << 20).await;
    let refused = open_call(&gateway, ECHO, &bob, 4 << 20, 0).await;
    let answer = answer(refused).await;
    assert!(ends_with(&answer, Code::ResourceExhausted), "{answer}");
    let small = gateway.web_call(GET_VIDEO, BINARY, framed(&GetVideoRequest::default()), Some(&bob)).await;
    assert_eq!(small.status.code(), Code::Ok, "{small:?}");
}

fn assert_overloaded(error: &Status) {
    assert_eq!((error.code(), reason_of(error).as_deref()), (Code::ResourceExhausted, Some("OVERLOADED")));
}

#[tokio::test]
async fn calls_of_one_user_leave_room_for_others() {
    let gateway = TestGateway::with(|config| config.limits.calls_per_user = 2).await;
    let (ada, bob) = (gateway.sign_in("ada", "s1").await, gateway.sign_in("bob", "s2").await);
    let watch = async |token: &str| {
        gateway.videos().watch_videos(authorized(WatchVideosRequest::default(), token)).await
    };
    let (first, second) = (watch(&ada).await.unwrap(), watch(&ada).await.unwrap());
    assert_overloaded(&watch(&ada).await.unwrap_err());
    watch(&bob).await.unwrap();
    drop((first, second));
    gateway.roles.wait_for_open_calls(0).await;
    watch(&ada).await.unwrap();
}

#[tokio::test]
async fn calls_of_one_address_leave_room_for_signed_in_users() {
    let gateway = TestGateway::with(|config| config.limits.calls_per_address = 2).await;
    let _first = open_call(&gateway, LIST_SIGNING_KEYS, "", 100, 0).await;
    let _second = open_call(&gateway, LIST_SIGNING_KEYS, "", 100, 0).await;
    gateway.wait_for_body_bytes(210).await;
    let refused = gateway.web_call(LIST_SIGNING_KEYS, BINARY, framed_bytes(&[]), None).await;
    assert_overloaded(&refused.status);
    let token = gateway.sign_in("ada", "s1").await;
    let small = gateway.web_call(GET_VIDEO, BINARY, framed(&GetVideoRequest::default()), Some(&token)).await;
    assert_eq!(small.status.code(), Code::Ok, "{small:?}");
}
