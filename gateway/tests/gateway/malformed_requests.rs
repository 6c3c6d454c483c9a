//! Malformed calls, and requests that are no calls.

use std::time::Duration;

use reelmill_mesh::reason_of;
use reelmill_proto::upload::GetVideoRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::support::{BINARY, CREATE_SESSION, GET_VIDEO, TEXT, TestGateway, framed, framed_bytes};

#[tokio::test]
async fn malformed_body_ends_with_request_malformed() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let valid = framed(&GetVideoRequest { name: "videos/a".to_owned() });
    let malformed = [
        ("empty", BINARY, Vec::new()),
        ("no base64", TEXT, b"!!!! this is no base64 !!!!".to_vec()),
        ("truncated base64", TEXT, b"AAAAAA".to_vec()),
        ("truncated message", BINARY, valid[..valid.len() - 1].to_vec()),
        ("truncated prefix", BINARY, valid[..3].to_vec()),
        ("unknown flag", BINARY, [&[0x7f], &valid[1..]].concat()),
        ("trailers", BINARY, [&[0x80], &valid[1..]].concat()),
        ("two messages", BINARY, valid.repeat(2)),
        ("a web page", BINARY, b"<!doctype html><title>hello</title>".to_vec()),
        ("no protobuf", BINARY, framed_bytes(&[0xff; 40])),
        ("long and truncated", BINARY, [&[0, 0, 0, 0x10, 0][..], &vec![b'x'; 4095]].concat()),
    ];
    for (case, content_type, body) in malformed {
        for (method, token) in [(GET_VIDEO, Some(token.as_str())), (CREATE_SESSION, None)] {
            let response = gateway.web_call(method, content_type, body.clone(), token).await;
            let reason = reason_of(&response.status);
            assert_eq!(response.http_status, 200, "{case}: {response:?}");
            assert_eq!(response.status.code(), Code::InvalidArgument, "{case}: {response:?}");
            assert_eq!(reason.as_deref(), Some("REQUEST_MALFORMED"), "{case}");
        }
    }
}

#[tokio::test]
async fn create_session_with_a_length_of_four_gibibytes_ends_with_message_too_large() {
    let gateway = TestGateway::start().await;
    let body = vec![0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let response = gateway.web_call(CREATE_SESSION, BINARY, body, None).await;
    assert_eq!(response.status.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&response.status).as_deref(), Some("MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn post_with_another_content_type_gets_415() {
    let gateway = TestGateway::start().await;
    for content_type in
        ["application/json", "text/html", "application/grpc", "application/grpc-web+thrift", ""]
    {
        let request =
            gateway.http.post(format!("{}/{GET_VIDEO}", gateway.url)).header("content-type", content_type);
        let response = request.body("{}").send().await.unwrap();
        assert_eq!(response.status().as_u16(), 415, "{content_type}");
        let body = response.text().await.unwrap();
        assert!(body.contains("CONTENT_TYPE_INVALID"), "{body}");
    }
}

#[tokio::test]
async fn put_gets_405_with_the_allowed_methods() {
    let gateway = TestGateway::start().await;
    let response = gateway.http.put(format!("{}/{GET_VIDEO}", gateway.url)).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 405);
    assert_eq!(response.headers()["allow"].to_str().unwrap(), "POST,GET,HEAD");
}

#[tokio::test]
async fn get_of_an_unknown_path_gets_404() {
    let gateway = TestGateway::start().await;
    for path in ["/nothing", "/a/b/c", "/a/b", "/play", "/play/token"] {
        let response = gateway.http.get(format!("{}{path}", gateway.url)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 404, "{path}");
    }
}

/// Sends raw bytes and reads until the gateway closes the connection.
async fn send_raw(gateway: &TestGateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    // Fails if the gateway closes the connection before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut response = Vec::new();
    let reading = stream.read_to_end(&mut response);
    let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
    assert!(read.is_ok(), "the connection stays open: {:?}", String::from_utf8_lossy(&response));
    String::from_utf8_lossy(&response).into_owned()
}

#[tokio::test]
async fn bytes_that_are_not_http_get_400() {
    let gateway = TestGateway::start().await;
    assert!(send_raw(&gateway, b"this is no HTTP\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn too_large_header_gets_431() {
    let gateway = TestGateway::start().await;
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    // The connection may be reset before the response is read.
    let response = send_raw(&gateway, request.as_bytes()).await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 431"), "{response}");
}

#[tokio::test]
async fn create_session_with_a_stalled_body_ends_with_deadline_exceeded() {
    let gateway = TestGateway::start().await;
    let request = format!(
        "POST /{CREATE_SESSION} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {BINARY}\r\n\
         grpc-timeout: 300m\r\ncontent-length: 50\r\n\r\n\0\0"
    );
    let response = send_raw(&gateway, request.as_bytes()).await;
    assert!(response.contains("grpc-status: 4\r\n"), "{response}");
}
