//! gRPC-web client that can send malformed requests.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use reqwest::{
    RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderMap},
};

use super::test_gateway::TestGateway;

pub const BINARY: &str = "application/grpc-web+proto";
pub const TEXT: &str = "application/grpc-web-text";

/// A parsed response.
#[derive(Debug)]
pub struct WebResponse {
    pub http_status: u16,
    pub headers: HeaderMap,
    pub messages: Vec<Vec<u8>>,
    /// From the headers, or the trailers that end the body.
    pub status: tonic::Status,
}

/// An encoded message with its gRPC prefix.
pub fn framed(message: &impl Message) -> Vec<u8> {
    framed_bytes(&message.encode_to_vec())
}

pub fn framed_bytes(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

impl TestGateway {
    /// A request with any body.
    pub fn web_request(
        &self,
        method: &str,
        content_type: &str,
        body: Vec<u8>,
        token: Option<&str>,
    ) -> RequestBuilder {
        let mut request = self.http.post(format!("{}/{method}", self.url)).header(CONTENT_TYPE, content_type);
        if content_type.contains("text") {
            request = request.header("accept", TEXT);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.body(body)
    }

    /// Sends a request with any body and reads its whole response.
    pub async fn web_call(
        &self,
        method: &str,
        content_type: &str,
        body: Vec<u8>,
        token: Option<&str>,
    ) -> WebResponse {
        WebResponse::to(self.web_request(method, content_type, body, token)).await
    }
}

impl WebResponse {
    /// Sends a request and reads its whole response.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap(), Vec::new()).await
    }

    /// Reads a response to its end. `body` is what was read of it already.
    pub async fn read(mut response: Response, mut body: Vec<u8>) -> Self {
        let (http_status, headers) = (response.status().as_u16(), response.headers().clone());
        while let Some(chunk) = response.chunk().await.unwrap() {
            body.extend_from_slice(&chunk);
        }
        let text =
            headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(TEXT.as_bytes()));
        let body = if text { decode_text(&body) } else { body };
        let grpc =
            headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let (messages, trailers) = if grpc { parse_frames(&body) } else { (Vec::new(), HeaderMap::new()) };
        let status = tonic::Status::from_header_map(&trailers)
            .or_else(|| tonic::Status::from_header_map(&headers))
            .unwrap_or_else(|| tonic::Status::unknown("the response has no status"));
        Self { http_status, headers, messages, status }
    }
}

/// Each frame is encoded separately, so padding may be anywhere.
fn decode_text(body: &[u8]) -> Vec<u8> {
    body.chunks(4).flat_map(|four| STANDARD.decode(four).unwrap()).collect()
}

fn parse_frames(mut body: &[u8]) -> (Vec<Vec<u8>>, HeaderMap) {
    let (mut messages, mut trailers) = (Vec::new(), HeaderMap::new());
    while let [flag, a, b, c, d, rest @ ..] = body {
        let (frame, after) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        body = after;
        if flag & 0x80 == 0 {
            messages.push(frame.to_vec());
            continue;
        }
        for line in std::str::from_utf8(frame).unwrap().split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            let name: http::HeaderName = name.parse().unwrap();
            trailers.insert(name, value.trim().parse().unwrap());
        }
    }
    assert!(body.is_empty(), "bytes after the last frame");
    (messages, trailers)
}
