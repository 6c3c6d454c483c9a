//! A role outside of the contract: its service is known only by the descriptors that the gateway is given.

use std::convert::Infallible;

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use prost::Message;
use prost_types::DescriptorProto;
use reelmill_proto::{
    DESCRIPTORS, MethodPolicy,
    options::{Access, Retry},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};

pub const ECHO: &str = "example.echo.v1.EchoService/Echo";

/// Size limit of its messages, bytes.
pub const ECHO_LIMIT: usize = 4 << 20;

/// The contract, and an `EchoService` whose `Echo` returns its request.
pub fn descriptors() -> Bytes {
    let policy = MethodPolicy {
        access: Access::SignedIn.into(),
        cost: 1,
        retry: Retry::Safe.into(),
        max_request_bytes: ECHO_LIMIT as u32,
        max_deadline_seconds: 60,
        callers: Vec::new(),
    };
    let message = ".example.echo.v1.Text".to_owned();
    let method = Method {
        name: "Echo".to_owned(),
        input_type: message.clone(),
        output_type: message,
        options: Some(Options { method: Some(policy) }),
    };
    let file = File {
        name: "example/echo/v1/echo.proto".to_owned(),
        package: "example.echo.v1".to_owned(),
        dependency: vec!["reelmill/policy/v1/policy.proto".to_owned()],
        message_type: vec![DescriptorProto { name: Some("Text".to_owned()), ..DescriptorProto::default() }],
        service: vec![Service { name: "EchoService".to_owned(), method: vec![method] }],
        syntax: "proto3".to_owned(),
    };
    // Encoded messages may be joined: their repeated fields are.
    [DESCRIPTORS, &Set { file: vec![file] }.encode_to_vec()].concat().into()
}

/// Serves the role until `shutdown`; returns its address.
pub async fn serve(shutdown: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::from(Router::new().fallback(echo)).add_service(health);
    let serving = Server::builder()
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown.cancelled_owned());
    tokio::spawn(serving);
    address
}

async fn echo(request: Request) -> Response {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = [http_body::Frame::data(body), http_body::Frame::trailers(trailers)];
    let frames = futures::stream::iter(frames.map(Ok::<_, Infallible>));
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

// The parts of google.protobuf's descriptors that are needed, with the option, which prost-types drops.

#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<DescriptorProto>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
    #[prost(string, tag = "12")]
    syntax: String,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    input_type: String,
    #[prost(string, tag = "3")]
    output_type: String,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(message, optional, tag = "50501")]
    method: Option<MethodPolicy>,
}
