//! Native gRPC: what is forwarded, what is told, what is refused.

use std::{sync::atomic::Ordering, time::Duration};

use futures::StreamExt as _;
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
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use crate::{
    system::{System, signed},
    wait,
    web_client::{Answer, BINARY, framed},
};

fn video(name: &str) -> GetVideoRequest {
    GetVideoRequest { name: name.to_owned() }
}

#[tokio::test]
async fn a_role_is_told_who_calls_and_nothing_that_is_forged() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let mut request = signed(video("videos/a"), &token);
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
    let response = system.videos().get_video(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "my-own-id");
    assert!(response.metadata().get("set-cookie").is_none(), "only auth sets cookies");
    assert!(response.metadata().get("x-reelmill-inner").is_none());
    let told = response.into_inner().video.unwrap().display_name;
    assert!(told.contains("caller: user ada s1\n"), "{told}");
    assert!(told.contains(&format!("origin: Some(\"{}\")", system.url)), "{told}");
    assert!(told.contains("x-request-id: my-own-id") && told.contains("x-trace: kept"), "{told}");
    for absent in ["authorization", "cookie", "evil", "guessed", "6.6.6.6", "service upload", "grpc-timeout"]
    {
        assert!(!told.contains(absent), "{absent} in {told}");
    }
}

#[tokio::test]
async fn auth_gets_cookies_and_sets_them_and_the_public_url_is_the_origin() {
    let system =
        System::with(|config| config.public_url = Some("https://video.example.org/".to_owned())).await;
    let mut request = Request::new(CreateSessionRequest::default());
    request.metadata_mut().insert("cookie", "refresh=1".parse().unwrap());
    // A public method does not care about a token, not even a broken one.
    request.metadata_mut().insert("authorization", "Bearer rubbish".parse().unwrap());
    let response = system.auth().create_session(request).await.unwrap();
    assert_eq!(response.metadata().get("set-cookie").unwrap(), "refresh=1; HttpOnly");
    let told = response.into_inner().user.unwrap().display_name;
    assert!(told.contains("caller: anonymous\n") && told.contains("cookie: refresh=1"), "{told}");
    assert!(told.contains("origin: Some(\"https://video.example.org\")"), "{told}");
    assert!(!told.contains("rubbish"), "{told}");
}

#[tokio::test]
async fn three_mebibytes_pass_both_ways_and_five_are_too_large() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let large = "x".repeat(3 << 20);
    let answer = system.videos().get_video(signed(video(&large), &token)).await.unwrap().into_inner();
    assert_eq!(answer.video.unwrap().display_name.len(), large.len());
    let huge = "x".repeat(5 << 20);
    let refused = system.videos().get_video(signed(video(&huge), &token)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&refused).as_deref(), Some("MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn methods_that_are_unknown_or_internal_look_the_same() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let mut sessions = SessionServiceClient::new(system.channel());
    let check = CheckSessionRequest { name: "sessions/s1".to_owned() };
    let internal = sessions.check_session(signed(check, &token)).await.unwrap_err();
    assert_eq!(internal.code(), Code::Unimplemented);
    assert_eq!(reason_of(&internal).as_deref(), Some("METHOD_UNKNOWN"));
    let unknown = system.web_call("reelmill.upload.v1.VideoService/Nothing", BINARY, vec![], None).await;
    assert_eq!(unknown.status.code(), internal.code());
    assert_eq!(unknown.status.message(), internal.message());
    assert_eq!(unknown.status.details(), internal.details());
}

#[tokio::test]
async fn errors_keep_their_details() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let expected = crate::far_end::detailed().to_status();
    let unary = system.videos().get_video(signed(video("videos/detailed-error"), &token)).await.unwrap_err();
    let watch = signed(WatchVideoRequest::default(), &token);
    let mut stream = system.videos().watch_video(watch).await.unwrap().into_inner();
    for revision in 1..=2 {
        assert_eq!(stream.next().await.unwrap().unwrap().video.unwrap().revision, revision);
    }
    let late = stream.next().await.unwrap().unwrap_err();
    for status in [unary, late] {
        assert_eq!(status.code(), expected.code());
        assert_eq!(status.message(), expected.message());
        assert_eq!(status.details(), expected.details());
    }
}

#[tokio::test]
async fn a_deadline_is_kept_by_the_gateway_and_the_role_stops_too() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    // tonic's own client would give up by itself.
    let body = framed(&video("videos/never"));
    let request = system.web_request("reelmill.upload.v1.VideoService/GetVideo", BINARY, body, Some(&token));
    let refused = Answer::to(request.header("grpc-timeout", "300m")).await.status;
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    assert_eq!(reason_of(&refused).as_deref(), Some("DEADLINE_EXCEEDED"));
    wait::until("the handler is gone", || system.far.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_role() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let mut videos = system.videos();
    let call = tokio::spawn(async move { videos.get_video(signed(video("videos/never"), &token)).await });
    wait::until("the handler runs", || system.far.open.load(Ordering::SeqCst) == 1).await;
    call.abort();
    wait::until("the handler is gone", || system.far.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_role_that_is_away_is_unavailable_and_its_address_is_not_told() {
    let mut address = String::new();
    let system = System::with(|config| address = config.upstreams["transcode"].replace("http://", "")).await;
    let token = system.sign_in("ada", "s1").await;
    let mut jobs = TranscodeServiceClient::new(system.channel());
    let away = jobs.get_job(signed(GetJobRequest::default(), &token)).await.unwrap_err();
    assert_eq!(away.code(), Code::Unavailable);
    assert_eq!(reason_of(&away).as_deref(), Some("SERVICE_UNAVAILABLE"));
    assert!(away.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    let everything = format!("{away:?}{}", String::from_utf8_lossy(away.details()));
    assert!(!address.is_empty() && !everything.contains(&address), "{everything}");
}

/// Relays to `target`, but hangs up on the first connection.
async fn flaky(target: String) -> String {
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

#[tokio::test]
async fn only_calls_that_may_be_repeated_are_sent_again() {
    let (mut upload, mut auth) = (String::new(), String::new());
    let behind = System::with(|config| {
        upload = config.upstreams["upload"].clone();
        auth = config.upstreams["auth"].clone();
    })
    .await;
    let (upload, auth) = (flaky(upload).await, flaky(auth).await);
    let system = System::with(|config| {
        config.upstreams.insert("upload".to_owned(), upload);
        config.upstreams.insert("auth".to_owned(), auth);
    })
    .await;
    let refused = system.auth().create_session(CreateSessionRequest::default()).await.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("SERVICE_UNAVAILABLE"));
    // The system behind knows its own key only.
    let token = behind.signer.token("ada", "s1", 900);
    system.sign_in("ada", "s1").await;
    system.videos().get_video(signed(video("videos/a"), &token)).await.unwrap();
    assert_eq!(behind.far.videos_got.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn health_and_reflection_show_what_is_public() {
    let system = System::start().await;
    let mut health = HealthClient::new(system.channel());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let mut reflection = ServerReflectionClient::new(system.channel());
    let asked = tokio_stream::iter([ask]);
    let mut answers = reflection.server_reflection_info(asked).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(listed) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.iter().any(|name| name == "reelmill.upload.v1.VideoService"), "{names:?}");
    assert!(
        !names.iter().any(|name| name.contains("Worker") || name.contains("SessionService")),
        "{names:?}"
    );
}
