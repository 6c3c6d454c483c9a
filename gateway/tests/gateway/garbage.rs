//! What is no call, or a broken one.

use std::time::Duration;

use reelmill_mesh::reason_of;
use reelmill_proto::upload::GetVideoRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::{
    system::System,
    web_client::{BINARY, TEXT, framed, framed_bytes},
};

const GET_VIDEO: &str = "reelmill.upload.v1.VideoService/GetVideo";
const CREATE_SESSION: &str = "reelmill.auth.v1.AuthService/CreateSession";

#[tokio::test]
async fn garbage_has_a_clear_status() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let whole = framed(&GetVideoRequest { name: "videos/a".to_owned() });
    let two = [whole.clone(), whole.clone()].concat();
    let malformed = [
        ("empty", BINARY, Vec::new()),
        ("no base64", TEXT, b"!!!! this is no base64 !!!!".to_vec()),
        ("cut base64", TEXT, b"AAAAAA".to_vec()),
        ("cut frame", BINARY, whole[..whole.len() - 1].to_vec()),
        ("cut prefix", BINARY, whole[..3].to_vec()),
        ("unknown flag", BINARY, [&[0x7f], &whole[1..]].concat()),
        ("trailers", BINARY, [&[0x80], &whole[1..]].concat()),
        ("two messages", BINARY, two),
        ("a web page", BINARY, b"<!doctype html><title>hello</title>".to_vec()),
        ("no protobuf", BINARY, framed_bytes(&[0xff; 40])),
        ("large and cut", BINARY, [&[0, 0, 0x10, 0, 0][..], &vec![b'x'; 200_000]].concat()),
    ];
    for (what, content_type, body) in malformed {
        for (method, token) in [(GET_VIDEO, Some(token.as_str())), (CREATE_SESSION, None)] {
            let answer = system.web_call(method, content_type, body.clone(), token).await;
            let reason = reason_of(&answer.status);
            assert_eq!(answer.http_status, 200, "{what}: {answer:?}");
            assert_eq!(answer.status.code(), Code::InvalidArgument, "{what}: {answer:?}");
            assert_eq!(reason.as_deref(), Some("REQUEST_MALFORMED"), "{what}");
        }
    }
}

#[tokio::test]
async fn a_length_of_four_gibibytes_is_refused_at_once() {
    let system = System::start().await;
    let body = vec![0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let answer = system.web_call(CREATE_SESSION, BINARY, body, None).await;
    assert_eq!(answer.status.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&answer.status).as_deref(), Some("MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn what_is_no_grpc_gets_plain_http_errors() {
    let system = System::start().await;
    let post = async |content_type: &str| {
        let request =
            system.http.post(format!("{}/{GET_VIDEO}", system.url)).header("content-type", content_type);
        let response = request.body("{}").send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    for content_type in
        ["application/json", "text/html", "application/grpc", "application/grpc-web+thrift", ""]
    {
        let (status, body) = post(content_type).await;
        assert_eq!(status, 415, "{content_type}");
        assert!(body.contains("CONTENT_TYPE_INVALID"), "{body}");
    }
    let put = system.http.put(format!("{}/{GET_VIDEO}", system.url)).send().await.unwrap();
    assert_eq!(put.status().as_u16(), 405);
    for path in ["/nothing", "/a/b/c", "/a/b", "/play", "/play/token"] {
        let response = system.http.get(format!("{}{path}", system.url)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 404, "{path}");
    }
}

/// Sends raw bytes and reads until the gateway hangs up.
async fn raw(system: &System, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(system.address).await.unwrap();
    // It may hang up before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(10), reading).await;
    assert!(ended.is_ok(), "the gateway does not answer: {:?}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn broken_http_is_answered_and_hung_up_on() {
    let system = System::start().await;
    assert!(raw(&system, b"this is no HTTP\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    // The hang-up may overtake the answer.
    let answer = raw(&system, long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_request_that_never_comes_ends_with_its_deadline() {
    let system = System::start().await;
    let head = format!(
        "POST /{CREATE_SESSION} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {BINARY}\r\n\
         grpc-timeout: 300m\r\ncontent-length: 50\r\n\r\n\0\0"
    );
    let answer = raw(&system, head.as_bytes()).await;
    assert!(answer.contains("grpc-status: 4\r\n"), "{answer}");
}
