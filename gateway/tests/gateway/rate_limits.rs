//! Rate limits, per user and per address.

use std::time::Duration;

use reelmill_mesh::reason_of;
use reelmill_platform::shared_state::RateLimit;
use reelmill_proto::{auth::CreateSessionRequest, upload::ListVideosRequest};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{TestGateway, authorized};

/// Cost of CreateSession, units.
const CREATE_SESSION_COST: u32 = 10;

/// A limit that refills nothing during a test.
fn burst(burst: u32) -> RateLimit {
    RateLimit { units_per_second: 0.01, burst }
}

fn assert_limited(status: &Status, subject: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason_of(status).as_deref(), Some("RATE_LIMITED"));
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::from_secs(1));
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, subject);
}

async fn list_videos(gateway: &TestGateway, token: &str) -> Result<(), Status> {
    let request = authorized(ListVideosRequest::default(), token);
    gateway.videos().list_videos(request).await.map(|_| ())
}

#[tokio::test]
async fn list_videos_over_the_limit_of_the_user_is_limited_in_all_sessions() {
    let gateway = TestGateway::with(|config| config.rate = burst(3)).await;
    let first_session = gateway.sign_in("ada", "s1").await;
    for _ in 0..3 {
        list_videos(&gateway, &first_session).await.unwrap();
    }
    let second_session = gateway.sign_in("ada", "s3").await;
    assert_limited(&list_videos(&gateway, &second_session).await.unwrap_err(), "user");
}

#[tokio::test]
async fn list_videos_over_the_limit_of_another_user_passes() {
    let gateway = TestGateway::with(|config| config.rate = burst(3)).await;
    let ada = gateway.sign_in("ada", "s1").await;
    let bob = gateway.sign_in("bob", "s2").await;
    for _ in 0..3 {
        list_videos(&gateway, &ada).await.unwrap();
    }
    list_videos(&gateway, &bob).await.unwrap();
}

#[tokio::test]
async fn create_session_over_the_limit_of_the_address_is_limited_by_its_cost() {
    let gateway =
        TestGateway::with(|config| config.anonymous_rate = burst(2 * CREATE_SESSION_COST + 1)).await;
    for _ in 0..2 {
        gateway.auth().create_session(CreateSessionRequest::default()).await.unwrap();
    }
    let third = gateway.auth().create_session(CreateSessionRequest::default()).await.unwrap_err();
    assert_limited(&third, "address");
}

#[tokio::test]
async fn list_videos_with_guessed_tokens_is_limited_by_address() {
    let gateway = TestGateway::with(|config| config.anonymous_rate = burst(1)).await;
    let first = list_videos(&gateway, "a.guessed.token").await.unwrap_err();
    assert_eq!(reason_of(&first).as_deref(), Some("TOKEN_INVALID"));
    assert_limited(&list_videos(&gateway, "a.guessed.token").await.unwrap_err(), "address");
}

#[tokio::test]
async fn list_videos_with_a_valid_token_ignores_the_limit_of_the_address() {
    let gateway = TestGateway::with(|config| config.anonymous_rate = burst(1)).await;
    for _ in 0..2 {
        list_videos(&gateway, "a.guessed.token").await.unwrap_err();
    }
    let token = gateway.sign_in("ada", "s1").await;
    list_videos(&gateway, &token).await.unwrap();
}

/// The reason with which CreateSession with `X-Forwarded-For` fails. `None` if it passes.
async fn create_session_from(gateway: &TestGateway, forwarded_for: &str) -> Option<String> {
    let mut request = Request::new(CreateSessionRequest::default());
    request.metadata_mut().insert("x-forwarded-for", forwarded_for.parse().unwrap());
    gateway.auth().create_session(request).await.err().and_then(|status| reason_of(&status))
}

#[tokio::test]
async fn create_session_without_a_proxy_ignores_the_forwarded_address() {
    let gateway = TestGateway::with(|config| config.anonymous_rate = burst(CREATE_SESSION_COST)).await;
    assert_eq!(create_session_from(&gateway, "192.0.2.1").await, None);
    assert_eq!(create_session_from(&gateway, "192.0.2.2").await.as_deref(), Some("RATE_LIMITED"));
}

#[tokio::test]
async fn create_session_behind_a_proxy_is_limited_by_the_last_forwarded_address() {
    let gateway = TestGateway::with(|config| {
        config.anonymous_rate = burst(CREATE_SESSION_COST);
        config.trusted_proxies = vec!["127.0.0.0/8".to_owned()];
    })
    .await;
    assert_eq!(create_session_from(&gateway, "192.0.2.1").await, None);
    assert_eq!(create_session_from(&gateway, "9.9.9.9, 192.0.2.2").await, None);
    assert_eq!(create_session_from(&gateway, "8.8.8.8, 192.0.2.2").await.as_deref(), Some("RATE_LIMITED"));
}
