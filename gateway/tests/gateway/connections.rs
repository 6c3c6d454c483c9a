//! Connections: how they end, and how many there may be.

use std::time::Duration;

use reelmill_proto::upload::WatchVideosRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{BINARY, BUCKET, CREATE_SESSION, GET_VIDEO, TestGateway, authorized};

/// Sends a request with a body, and reads the response concurrently until the gateway closes the connection.
async fn exchange(gateway: &TestGateway, head: &str, body_bytes: usize) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("{head}host: a\r\ncontent-length: {body_bytes}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let body = vec![b'x'; body_bytes];
    // The gateway need not take all of it.
    let write = async { tokio::time::timeout(Duration::from_secs(5), writing.write_all(&body)).await };
    let mut response = Vec::new();
    let read = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::time::timeout(Duration::from_secs(10), reading.read_to_end(&mut response)).await
    };
    let (_, read) = tokio::join!(write, read);
    let text = String::from_utf8_lossy(&response).into_owned();
    assert!(matches!(read, Ok(Ok(_))), "{read:?} after {text}");
    text
}

#[tokio::test]
async fn refusal_of_a_request_with_a_large_body_is_received() {
    let gateway = TestGateway::start_with_object_store().await;
    let grpc = format!("content-type: {BINARY}\r\n");
    let requests = [
        (format!("POST /{GET_VIDEO} HTTP/1.1\r\n{grpc}authorization: Bearer bad\r\n"), "grpc-status: 16"),
        (format!("POST /a.b.C/D HTTP/1.1\r\n{grpc}"), "grpc-status: 12"),
        (format!("POST /{CREATE_SESSION} HTTP/1.1\r\n{grpc}"), "grpc-status: "),
        (format!("POST /{CREATE_SESSION} HTTP/1.1\r\n"), "CONTENT_TYPE_INVALID"),
        (format!("PUT /{BUCKET}/sources/a HTTP/1.1\r\n"), "HTTP/1.1 403"),
        (format!("PUT /{GET_VIDEO} HTTP/1.1\r\n"), "HTTP/1.1 405"),
    ];
    for (head, expected) in requests {
        for body_bytes in [300_000, 8 << 20] {
            let response = exchange(&gateway, &head, body_bytes).await;
            assert!(response.contains(expected), "{expected}: {response}");
            assert!(response.contains("connection: close"), "{response}");
        }
    }
}

#[tokio::test]
async fn refusal_is_received_by_a_client_that_first_sends_everything() {
    let gateway = TestGateway::start_with_object_store().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let body_bytes = 64 << 20;
    let head = format!("PUT /{BUCKET}/sources/a HTTP/1.1\r\nhost: a\r\ncontent-length: {body_bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; body_bytes]).await.unwrap();
    let mut response = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut response)).await;
    let text = String::from_utf8_lossy(&response);
    assert!(matches!(read, Ok(Ok(_))) && text.starts_with("HTTP/1.1 403"), "{read:?} after {text}");
}

#[tokio::test]
async fn connection_is_used_again_after_a_refusal_of_a_small_body() {
    let gateway = TestGateway::start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    for _ in 0..3 {
        let request = format!(
            "POST /a.b.C/D HTTP/1.1\r\nhost: a\r\ncontent-type: {BINARY}\r\ncontent-length: 50000\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; 50_000]).await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            let read = stream.read_buf(&mut response);
            assert!(tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap() > 0);
        }
        let response = String::from_utf8_lossy(&response).into_owned();
        assert!(
            response.contains("grpc-status: 12") && !response.contains("connection: close"),
            "{response}"
        );
    }
}

/// Whether the gateway has closed a connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut [0; 16])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn connections_of_one_address_displace_each_other_but_no_stream_of_a_user() {
    let gateway = TestGateway::with(|config| config.limits.connections_per_address = 10).await;
    let token = gateway.sign_in("ada", "s1").await;
    let watch = authorized(WatchVideosRequest::default(), &token);
    let mut watching = gateway.videos().watch_videos(watch).await.unwrap().into_inner();
    watching.message().await.unwrap().unwrap();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    for _ in 0..100 {
        if gateway.gateway.load().connections <= 10 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(gateway.gateway.load().connections <= 10, "{:?}", gateway.gateway.load());
    assert!(is_closed(&mut idle[0]).await);
    assert!(!is_closed(&mut idle[999]).await, "the newest stays");
    let still_open = tokio::time::timeout(Duration::from_millis(300), watching.message()).await;
    assert!(still_open.is_err(), "{still_open:?}");
}
