//! What works while the store of sessions and limits is unavailable, or has lost something.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use reelmill_mesh::reason_of;
use reelmill_platform::shared_state::{
    PubSub, RateDecision, RateLimit, RateLimiter, SESSION_ENDED, SessionCache, SessionState, SharedState,
    SharedStateError, Subscription,
};
use reelmill_proto::upload::{ListVideosRequest, WatchVideosRequest};

use crate::system::{System, signed};

/// A backend that is unavailable: every call fails.
struct Unavailable;

fn unavailable<T>() -> Result<T, SharedStateError> {
    Err(SharedStateError::Config("unavailable".to_owned()))
}

#[tonic::async_trait]
impl SessionCache for Unavailable {
    async fn put(&self, _: &str, _: &str, _: Duration) -> Result<(), SharedStateError> {
        unavailable()
    }
    async fn restore(&self, _: &str, _: &str, _: Duration) -> Result<(), SharedStateError> {
        unavailable()
    }
    async fn end(&self, _: &str, _: Duration) -> Result<(), SharedStateError> {
        unavailable()
    }
    async fn get(&self, _: &str) -> Result<Option<SessionState>, SharedStateError> {
        unavailable()
    }
}

#[tonic::async_trait]
impl RateLimiter for Unavailable {
    async fn take(&self, _: &str, _: u32, _: RateLimit) -> Result<RateDecision, SharedStateError> {
        unavailable()
    }
}

#[tonic::async_trait]
impl PubSub for Unavailable {
    async fn publish(&self, _: &str, _: Bytes) -> Result<(), SharedStateError> {
        unavailable()
    }
    async fn subscribe(&self, _: &str) -> Result<Subscription, SharedStateError> {
        unavailable()
    }
}

#[tokio::test]
async fn calls_pass_unlimited_and_auth_is_asked_about_sessions() {
    let system = System::with_state(SharedState::of(Arc::new(Unavailable)), |_| {}).await;
    system.far.sessions.lock().unwrap().insert("s1".to_owned(), "ada".to_owned());
    let call = async |session: &str| {
        let token = system.signer.token("ada", session, 900);
        let answer = system.videos().list_videos(signed(ListVideosRequest::default(), &token)).await;
        answer.err().and_then(|status| reason_of(&status))
    };
    assert_eq!(call("s1").await, None);
    assert_eq!(call("s2").await.as_deref(), Some("SESSION_ENDED"));
    assert_eq!(system.far.session_checks.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_stream_ends_even_when_the_hint_was_missed() {
    let system = System::start().await;
    let token = system.sign_in("ada", "s1").await;
    let request = signed(WatchVideosRequest::default(), &token);
    let mut stream = system.videos().watch_videos(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    system.end_session("s1").await;
    // Nothing here yields, so the gateway lags behind and loses the first hint.
    for _ in 0..3000 {
        system.state.pub_sub.publish(SESSION_ENDED, Bytes::from_static(b"another")).await.unwrap();
    }
    let end = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
    let status = end.expect("the stream stays open").unwrap().unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("SESSION_ENDED"));
}
