//! Tokens and sessions.

use std::sync::atomic::Ordering;

use reelmill_mesh::reason_of;
use reelmill_proto::upload::ListVideosRequest;
use tonic::Code;

use crate::{
    system::{System, nobody, signed},
    tokens::Signer,
};

/// The reason that a call is refused with; none where it passes.
async fn refusal(system: &System, token: &str) -> Option<String> {
    let answer = system.videos().list_videos(signed(ListVideosRequest::default(), token)).await;
    answer.err().map(|status| {
        let code = status.code();
        let reason = reason_of(&status).unwrap_or_default();
        assert!(code == Code::Unauthenticated || reason == "SERVICE_UNAVAILABLE", "{status:?}");
        reason
    })
}

#[tokio::test]
async fn only_genuine_tokens_pass() {
    let system = System::start().await;
    let good = system.sign_in("ada", "s1").await;
    assert_eq!(refusal(&system, &good).await, None);

    let bare = system.videos().list_videos(ListVideosRequest::default()).await.unwrap_err();
    assert_eq!(reason_of(&bare).as_deref(), Some("SIGN_IN_REQUIRED"));
    let impostor = Signer::new("key-1");
    let (head, signature) = good.rsplit_once('.').unwrap();
    let unsigned =
        format!("{}.{}.", "eyJhbGciOiJub25lIiwia2lkIjoia2V5LTEifQ", head.split_once('.').unwrap().1);
    let invalid = [
        "rubbish".to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(10_000),
        unsigned,
        format!("{head}.{}", signature.chars().rev().collect::<String>()),
        impostor.token("ada", "s1", 900),
        system.signer.token_of("somebody", "ada", "s1", 900),
        system.signer.token("ada s1", "s1", 900),
        system.signer.token("ada", "", 900),
    ];
    for token in invalid {
        assert_eq!(refusal(&system, &token).await.as_deref(), Some("TOKEN_INVALID"), "{token}");
    }
    let expired = system.signer.token("ada", "s1", -1);
    assert_eq!(refusal(&system, &expired).await.as_deref(), Some("TOKEN_EXPIRED"));
    let mut request = tonic::Request::new(ListVideosRequest::default());
    request.metadata_mut().insert("authorization", format!("Basic {good}").parse().unwrap());
    let basic = system.videos().list_videos(request).await.unwrap_err();
    assert_eq!(reason_of(&basic).as_deref(), Some("TOKEN_INVALID"));
}

#[tokio::test]
async fn a_session_that_ended_ends_its_tokens() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    assert_eq!(refusal(&system, &token).await, None);
    system.end_session("s1").await;
    assert_eq!(refusal(&system, &token).await.as_deref(), Some("SESSION_ENDED"));
    // A token for one user is no token for another's session.
    system.sign_in("bob", "s2").await;
    let crossed = system.signer.token("ada", "s2", 900);
    assert_eq!(refusal(&system, &crossed).await.as_deref(), Some("SESSION_ENDED"));
}

#[tokio::test]
async fn auth_is_asked_about_sessions_that_the_hub_has_lost() {
    let system = System::start().await;
    system.far.sessions.lock().unwrap().insert("s1".to_owned(), "ada".to_owned());
    assert_eq!(refusal(&system, &system.signer.token("ada", "s1", 900)).await, None);
    let unknown = system.signer.token("ada", "s2", 900);
    assert_eq!(refusal(&system, &unknown).await.as_deref(), Some("SESSION_ENDED"));
    assert_eq!(system.far.session_checks.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn keys_are_fetched_as_needed_but_not_for_every_stranger() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    assert_eq!(system.far.key_lists.load(Ordering::SeqCst), 0);
    for _ in 0..3 {
        assert_eq!(refusal(&system, &token).await, None);
    }
    assert_eq!(system.far.key_lists.load(Ordering::SeqCst), 1);
    for number in 0..20 {
        let stranger = Signer::new(&format!("stranger-{number}")).token("ada", "s1", 900);
        assert_eq!(refusal(&system, &stranger).await.as_deref(), Some("TOKEN_INVALID"));
    }
    assert_eq!(system.far.key_lists.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn calls_that_need_auth_are_unavailable_while_it_is_away() {
    let address = nobody().await;
    let system = System::with(|config| {
        config.upstreams.insert("auth".to_owned(), address);
    })
    .await;
    let token = system.sign_in("ada", "s1").await;
    assert_eq!(refusal(&system, &token).await.as_deref(), Some("SERVICE_UNAVAILABLE"));
}
