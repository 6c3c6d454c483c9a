//! Access tokens and sessions.

use std::sync::atomic::Ordering;

use reelmill_mesh::reason_of;
use reelmill_proto::upload::ListVideosRequest;
use tonic::{Code, Request, Status};

use crate::support::{TestGateway, TokenSigner, authorized, unused_address};

async fn list_videos(gateway: &TestGateway, request: Request<ListVideosRequest>) -> Result<(), Status> {
    gateway.videos().list_videos(request).await.map(|_| ())
}

/// The reason with which a call with this token fails. `None` if it passes.
async fn error_reason(gateway: &TestGateway, token: &str) -> Option<String> {
    let result = list_videos(gateway, authorized(ListVideosRequest::default(), token)).await;
    result.err().map(|status| {
        let code = status.code();
        let reason = reason_of(&status).unwrap_or_default();
        assert!(code == Code::Unauthenticated || reason == "SERVICE_UNAVAILABLE", "{status:?}");
        reason
    })
}

#[tokio::test]
async fn list_videos_with_a_valid_token_passes() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    assert_eq!(error_reason(&gateway, &token).await, None);
}

#[tokio::test]
async fn list_videos_without_a_token_ends_with_sign_in_required() {
    let gateway = TestGateway::start().await;
    let error = list_videos(&gateway, Request::new(ListVideosRequest::default())).await.unwrap_err();
    assert_eq!(reason_of(&error).as_deref(), Some("SIGN_IN_REQUIRED"));
}

#[tokio::test]
async fn list_videos_with_an_invalid_token_ends_with_token_invalid() {
    let gateway = TestGateway::start().await;
    let valid = gateway.sign_in("ada", "s1").await;
    let other_key = TokenSigner::new("key-1");
    let (head, signature) = valid.rsplit_once('.').unwrap();
    let unsigned =
        format!("{}.{}.", "eyJhbGciOiJub25lIiwia2lkIjoia2V5LTEifQ", head.split_once('.').unwrap().1);
    let invalid = [
        "rubbish".to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(10_000),
        unsigned,
        format!("{head}.{}", signature.chars().rev().collect::<String>()),
        other_key.token("ada", "s1", 900),
        gateway.signer.token_of_issuer("another-issuer", "ada", "s1", 900),
        gateway.signer.token("ada s1", "s1", 900),
        gateway.signer.token("ada", "", 900),
    ];
    for token in invalid {
        assert_eq!(error_reason(&gateway, &token).await.as_deref(), Some("TOKEN_INVALID"), "{token}");
    }
}

#[tokio::test]
async fn list_videos_with_an_expired_token_ends_with_token_expired() {
    let gateway = TestGateway::start().await;
    gateway.sign_in("ada", "s1").await;
    let expired = gateway.signer.token("ada", "s1", -1);
    assert_eq!(error_reason(&gateway, &expired).await.as_deref(), Some("TOKEN_EXPIRED"));
}

#[tokio::test]
async fn list_videos_with_basic_authentication_ends_with_token_invalid() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let mut request = Request::new(ListVideosRequest::default());
    request.metadata_mut().insert("authorization", format!("Basic {token}").parse().unwrap());
    let error = list_videos(&gateway, request).await.unwrap_err();
    assert_eq!(reason_of(&error).as_deref(), Some("TOKEN_INVALID"));
}

#[tokio::test]
async fn list_videos_after_sign_out_ends_with_session_ended() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    assert_eq!(error_reason(&gateway, &token).await, None);
    gateway.end_session("s1").await;
    assert_eq!(error_reason(&gateway, &token).await.as_deref(), Some("SESSION_ENDED"));
}

#[tokio::test]
async fn list_videos_with_the_session_of_another_user_ends_with_session_ended() {
    let gateway = TestGateway::start().await;
    gateway.sign_in("bob", "s2").await;
    let token = gateway.signer.token("ada", "s2", 900);
    assert_eq!(error_reason(&gateway, &token).await.as_deref(), Some("SESSION_ENDED"));
}

#[tokio::test]
async fn list_videos_with_a_session_missing_from_the_cache_asks_auth() {
    let gateway = TestGateway::start().await;
    gateway.roles.sessions.lock().unwrap().insert("s1".to_owned(), "ada".to_owned());
    assert_eq!(error_reason(&gateway, &gateway.signer.token("ada", "s1", 900)).await, None);
    let unknown = gateway.signer.token("ada", "s2", 900);
    assert_eq!(error_reason(&gateway, &unknown).await.as_deref(), Some("SESSION_ENDED"));
    assert_eq!(gateway.roles.session_checks.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn list_videos_fetches_signing_keys_once() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    assert_eq!(gateway.roles.key_fetches.load(Ordering::SeqCst), 0);
    for _ in 0..3 {
        assert_eq!(error_reason(&gateway, &token).await, None);
    }
    assert_eq!(gateway.roles.key_fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn list_videos_with_unknown_key_ids_does_not_fetch_signing_keys_each_time() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    assert_eq!(error_reason(&gateway, &token).await, None);
    for number in 0..20 {
        let unknown = TokenSigner::new(&format!("unknown-{number}")).token("ada", "s1", 900);
        assert_eq!(error_reason(&gateway, &unknown).await.as_deref(), Some("TOKEN_INVALID"));
    }
    assert_eq!(gateway.roles.key_fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn list_videos_with_auth_unreachable_ends_with_service_unavailable() {
    let address = unused_address().await;
    let gateway = TestGateway::with(|config| {
        config.upstreams.insert("auth".to_owned(), address);
    })
    .await;
    let token = gateway.sign_in("ada", "s1").await;
    assert_eq!(error_reason(&gateway, &token).await.as_deref(), Some("SERVICE_UNAVAILABLE"));
}
