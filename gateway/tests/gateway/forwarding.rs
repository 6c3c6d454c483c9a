//! Native gRPC calls: forwarding to roles, retries, health and reflection.

use std::{sync::atomic::Ordering, time::Duration};

use futures::StreamExt as _;
use prost::Message as _;
use reelmill_mesh::reason_of;
use reelmill_proto::{
    auth::{CheckSessionRequest, CreateSessionRequest, session_service_client::SessionServiceClient},
    transcode::{GetJobRequest, transcode_service_client::TranscodeServiceClient},
    upload::{GetVideoRequest, WatchVideoRequest},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tonic::{Code, Request, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use crate::support::{
    BINARY, ECHO, ECHO_LIMIT, GET_VIDEO, TestGateway, WebResponse, authorized, error_with_details, framed,
};

fn video(name: &str) -> GetVideoRequest {
    GetVideoRequest { name: name.to_owned() }
}

#[tokio::test]
async fn get_video_with_forged_headers_forwards_only_the_verified_caller() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let mut request = authorized(video("videos/a"), &token);
    for (name, value) in [
        ("x-reelmill-caller", "service upload"),
        ("x-reelmill-key", "guessed"),
        ("x-reelmill-origin", "http://evil.example"),
        ("x-request-id", "my-own-id"),
        ("cookie", "refresh=secret"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-trace", "kept"),
    ] {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let response = gateway.videos().get_video(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "my-own-id");
    let received = response.into_inner().video.unwrap().display_name;
    assert!(received.contains("caller: user ada s1\n"), "{received}");
    assert!(received.contains(&format!("origin: Some(\"{}\")", gateway.url)), "{received}");
    assert!(received.contains("x-request-id: my-own-id") && received.contains("x-trace: kept"), "{received}");
    for absent in ["authorization", "cookie", "evil", "guessed", "6.6.6.6", "service upload", "grpc-timeout"]
    {
        assert!(!received.contains(absent), "{absent} in {received}");
    }
}

#[tokio::test]
async fn get_video_response_has_no_cookies_and_no_internal_headers() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let response = gateway.videos().get_video(authorized(video("videos/a"), &token)).await.unwrap();
    assert!(response.metadata().get("set-cookie").is_none(), "only auth sets cookies");
    assert!(response.metadata().get("x-reelmill-inner").is_none());
}

#[tokio::test]
async fn create_session_passes_cookies_to_and_from_auth() {
    let gateway = TestGateway::start().await;
    let mut request = Request::new(CreateSessionRequest::default());
    request.metadata_mut().insert("cookie", "refresh=1".parse().unwrap());
    let response = gateway.auth().create_session(request).await.unwrap();
    assert_eq!(response.metadata().get("set-cookie").unwrap(), "refresh=1; HttpOnly");
    let received = response.into_inner().user.unwrap().display_name;
    assert!(received.contains("caller: anonymous\n") && received.contains("cookie: refresh=1"), "{received}");
}

#[tokio::test]
async fn create_session_with_a_public_url_forwards_it_as_origin() {
    let gateway =
        TestGateway::with(|config| config.public_url = Some("https://video.example.org/".to_owned())).await;
    let response = gateway.auth().create_session(CreateSessionRequest::default()).await.unwrap();
    let received = response.into_inner().user.unwrap().display_name;
    assert!(received.contains("origin: Some(\"https://video.example.org\")"), "{received}");
}

#[tokio::test]
async fn create_session_with_an_invalid_token_ignores_it() {
    let gateway = TestGateway::start().await;
    let request = authorized(CreateSessionRequest::default(), "rubbish");
    let response = gateway.auth().create_session(request).await.unwrap();
    let received = response.into_inner().user.unwrap().display_name;
    assert!(received.contains("caller: anonymous\n"), "{received}");
    assert!(!received.contains("rubbish"), "{received}");
}

#[tokio::test]
async fn message_of_the_methods_limit_passes_both_ways() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    // With the field's tag and length.
    let large = video(&"x".repeat(ECHO_LIMIT - 5));
    assert_eq!(large.encoded_len(), ECHO_LIMIT);
    let mut client = tonic::client::Grpc::new(gateway.channel());
    client.ready().await.unwrap();
    let path = format!("/{ECHO}").parse().unwrap();
    let codec = tonic_prost::ProstCodec::<GetVideoRequest, GetVideoRequest>::default();
    let response = client.unary(authorized(large.clone(), &token), path, codec).await.unwrap();
    assert_eq!(response.into_inner(), large);
}

#[tokio::test]
async fn get_video_above_its_limit_ends_with_message_too_large() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let too_large = "x".repeat(4096);
    let error = gateway.videos().get_video(authorized(video(&too_large), &token)).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&error).as_deref(), Some("MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn check_session_from_outside_ends_like_an_unknown_method() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let mut sessions = SessionServiceClient::new(gateway.channel());
    let check = CheckSessionRequest { name: "sessions/s1".to_owned() };
    let internal = sessions.check_session(authorized(check, &token)).await.unwrap_err();
    assert_eq!(internal.code(), Code::Unimplemented);
    assert_eq!(reason_of(&internal).as_deref(), Some("METHOD_UNKNOWN"));
    let unknown = gateway.web_call("reelmill.upload.v1.VideoService/Nothing", BINARY, vec![], None).await;
    assert_eq!(unknown.status.code(), internal.code());
    assert_eq!(unknown.status.message(), internal.message());
    assert_eq!(unknown.status.details(), internal.details());
}

fn assert_same_error(error: &Status) {
    let expected = error_with_details().to_status();
    assert_eq!(error.code(), expected.code());
    assert_eq!(error.message(), expected.message());
    assert_eq!(error.details(), expected.details());
}

#[tokio::test]
async fn get_video_error_keeps_its_details() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let request = authorized(video("videos/detailed-error"), &token);
    assert_same_error(&gateway.videos().get_video(request).await.unwrap_err());
}

#[tokio::test]
async fn watch_video_error_after_messages_keeps_its_details() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let request = authorized(WatchVideoRequest::default(), &token);
    let mut stream = gateway.videos().watch_video(request).await.unwrap().into_inner();
    for revision in 1..=2 {
        assert_eq!(stream.next().await.unwrap().unwrap().video.unwrap().revision, revision);
    }
    assert_same_error(&stream.next().await.unwrap().unwrap_err());
}

#[tokio::test]
async fn get_video_after_its_deadline_ends_and_is_cancelled_at_the_role() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    // Not with tonic's client, which enforces the deadline itself.
    let request = gateway.web_request(GET_VIDEO, BINARY, framed(&video("videos/never")), Some(&token));
    let error = WebResponse::to(request.header("grpc-timeout", "300m")).await.status;
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(reason_of(&error).as_deref(), Some("DEADLINE_EXCEEDED"));
    gateway.roles.wait_for_open_calls(0).await;
}

#[tokio::test]
async fn get_video_cancelled_by_its_client_is_cancelled_at_the_role() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let mut videos = gateway.videos();
    let call = tokio::spawn(async move { videos.get_video(authorized(video("videos/never"), &token)).await });
    gateway.roles.wait_for_open_calls(1).await;
    call.abort();
    gateway.roles.wait_for_open_calls(0).await;
}

#[tokio::test]
async fn get_job_with_its_role_unreachable_ends_with_service_unavailable_and_hides_the_address() {
    let mut address = String::new();
    let gateway =
        TestGateway::with(|config| address = config.upstreams["transcode"].replace("http://", "")).await;
    let token = gateway.sign_in("ada", "s1").await;
    let mut jobs = TranscodeServiceClient::new(gateway.channel());
    let error = jobs.get_job(authorized(GetJobRequest::default(), &token)).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(reason_of(&error).as_deref(), Some("SERVICE_UNAVAILABLE"));
    assert!(error.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    let everything = format!("{error:?}{}", String::from_utf8_lossy(error.details()));
    assert!(!address.is_empty() && !everything.contains(&address), "{everything}");
}

/// Address of a proxy to `target` that closes the first connection.
async fn flaky_proxy(target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        drop(listener.accept().await);
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(target.trim_start_matches("http://")).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    address
}

/// A gateway that reaches one role of another gateway through a flaky proxy.
async fn with_flaky_role(role: &str) -> (TestGateway, TestGateway) {
    let mut address = String::new();
    let behind = TestGateway::with(|config| address = config.upstreams[role].clone()).await;
    let address = flaky_proxy(address).await;
    let gateway = TestGateway::with(|config| {
        config.upstreams.insert(role.to_owned(), address);
    })
    .await;
    (gateway, behind)
}

#[tokio::test]
async fn create_session_on_a_failed_connection_is_not_retried() {
    let (gateway, _behind) = with_flaky_role("auth").await;
    let error = gateway.auth().create_session(CreateSessionRequest::default()).await.unwrap_err();
    assert_eq!(reason_of(&error).as_deref(), Some("SERVICE_UNAVAILABLE"));
}

#[tokio::test]
async fn get_video_on_a_failed_connection_is_retried() {
    let (gateway, behind) = with_flaky_role("upload").await;
    let token = gateway.sign_in("ada", "s1").await;
    gateway.videos().get_video(authorized(video("videos/a"), &token)).await.unwrap();
    assert_eq!(behind.roles.get_video_calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn health_check_reports_serving() {
    let gateway = TestGateway::start().await;
    let mut health = HealthClient::new(gateway.channel());
    let response = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(response.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_lists_only_public_services() {
    let gateway = TestGateway::start().await;
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut reflection = ServerReflectionClient::new(gateway.channel());
    let requests = tokio_stream::iter([request]);
    let mut responses = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    let response = responses.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = response else { panic!("{response:?}") };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.iter().any(|name| name == "reelmill.upload.v1.VideoService"), "{names:?}");
    assert!(
        !names.iter().any(|name| name.contains("Worker") || name.contains("SessionService")),
        "{names:?}"
    );
}
