//! What works while the store of sessions and limits is away, or has forgotten something.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use reelmill_mesh::reason_of;
use reelmill_platform::sessions::{
    Decision, Hub, HubError, RateLimit, SESSION_ENDED, SessionState, Subscription,
};
use reelmill_proto::upload::{ListVideosRequest, WatchVideosRequest};

use crate::system::{System, signed};

/// Fails at everything.
struct Away;

fn away<T>() -> Result<T, HubError> {
    Err(HubError::Config("away".to_owned()))
}

#[tonic::async_trait]
impl Hub for Away {
    async fn put_session(&self, _: &str, _: &str, _: Duration) -> Result<(), HubError> {
        away()
    }
    async fn restore_session(&self, _: &str, _: &str, _: Duration) -> Result<(), HubError> {
        away()
    }
    async fn end_session(&self, _: &str, _: Duration) -> Result<(), HubError> {
        away()
    }
    async fn session(&self, _: &str) -> Result<Option<SessionState>, HubError> {
        away()
    }
    async fn take(&self, _: &str, _: u32, _: RateLimit) -> Result<Decision, HubError> {
        away()
    }
    async fn publish(&self, _: &str, _: Bytes) -> Result<(), HubError> {
        away()
    }
    async fn subscribe(&self, _: &str) -> Result<Subscription, HubError> {
        away()
    }
}

#[tokio::test]
async fn calls_pass_unlimited_and_auth_is_asked_about_sessions() {
    let system = System::with_hub(Arc::new(Away), |_| {}).await;
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
        system.hub.publish(SESSION_ENDED, Bytes::from_static(b"another")).await.unwrap();
    }
    let end = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
    let status = end.expect("the stream stays open").unwrap().unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("SESSION_ENDED"));
}
