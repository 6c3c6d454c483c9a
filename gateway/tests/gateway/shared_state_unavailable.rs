//! Calls while the session cache, rate limiter and pub/sub are unavailable or lose messages.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use reelmill_gateway::GatewayConfig;
use reelmill_mesh::reason_of;
use reelmill_platform::shared_state::{
    Bucket, PubSub, RateLimit, RateLimiter, SESSION_ENDED, SessionCache, SessionState, SharedState,
    SharedStateError, Subscription, Taken,
};
use reelmill_proto::upload::{ListVideosRequest, WatchVideosRequest};

use crate::support::{TestGateway, authorized};

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
    async fn take(&self, _: &[Bucket<'_>], _: u32, _: Option<&str>) -> Result<Taken, SharedStateError> {
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
async fn list_videos_without_shared_state_asks_auth_about_sessions() {
    let gateway = TestGateway::with_state(SharedState::of(Arc::new(Unavailable)), |_| {}).await;
    gateway.roles.sessions.lock().unwrap().insert("s1".to_owned(), "ada".to_owned());
    let error_reason = async |session: &str| {
        let token = gateway.signer.token("ada", session, 900);
        let result = gateway.videos().list_videos(authorized(ListVideosRequest::default(), &token)).await;
        result.err().and_then(|status| reason_of(&status))
    };
    assert_eq!(error_reason("s1").await, None);
    assert_eq!(error_reason("s2").await.as_deref(), Some("SESSION_ENDED"));
    assert_eq!(gateway.roles.session_checks.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn list_videos_without_shared_state_is_limited_by_the_gateway_itself() {
    let limit = |config: &mut GatewayConfig| {
        config.rate = RateLimit { units_per_second: 0.01, burst: 3 };
    };
    let gateway = TestGateway::with_state(SharedState::of(Arc::new(Unavailable)), limit).await;
    gateway.roles.sessions.lock().unwrap().insert("s1".to_owned(), "ada".to_owned());
    let token = gateway.signer.token("ada", "s1", 900);
    let mut reasons = Vec::new();
    for _ in 0..4 {
        let result = gateway.videos().list_videos(authorized(ListVideosRequest::default(), &token)).await;
        reasons.push(result.err().and_then(|status| reason_of(&status)));
    }
    assert_eq!(reasons, [None, None, None, Some("RATE_LIMITED".to_owned())]);
}

#[tokio::test]
async fn watch_videos_after_a_missed_notification_ends_with_session_ended() {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let request = authorized(WatchVideosRequest::default(), &token);
    let mut stream = gateway.videos().watch_videos(request).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    gateway.end_session("s1").await;
    // Nothing here yields, so the gateway's subscription lags and loses the first notification.
    for _ in 0..3000 {
        gateway.state.pub_sub.publish(SESSION_ENDED, Bytes::from_static(b"another")).await.unwrap();
    }
    let end = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
    let error = end.expect("the stream stays open").unwrap().unwrap_err();
    assert_eq!(reason_of(&error).as_deref(), Some("SESSION_ENDED"));
}
