//! Rate limits, per user and per address.

use std::time::Duration;

use reelmill_mesh::reason_of;
use reelmill_platform::shared_state::RateLimit;
use reelmill_proto::{auth::CreateSessionRequest, upload::ListVideosRequest};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::system::{System, signed};

/// Slow enough that nothing comes back during a test.
fn of(burst: u32) -> RateLimit {
    RateLimit { units_per_second: 0.01, burst }
}

fn assert_limited(status: &Status, subject: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason_of(status).as_deref(), Some("RATE_LIMITED"));
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::from_secs(1));
    assert_eq!(details.quota_failure().unwrap().violations[0].subject, subject);
}

#[tokio::test]
async fn each_user_has_a_limit_of_their_own() {
    let system = System::with(|config| config.rate = of(3)).await;
    let ada = system.sign_in("ada", "s1").await;
    let bob = system.sign_in("bob", "s2").await;
    for _ in 0..3 {
        system.videos().list_videos(signed(ListVideosRequest::default(), &ada)).await.unwrap();
    }
    // Another session of the same user does not help.
    let again = system.sign_in("ada", "s3").await;
    let limited =
        system.videos().list_videos(signed(ListVideosRequest::default(), &again)).await.unwrap_err();
    assert_limited(&limited, "user");
    system.videos().list_videos(signed(ListVideosRequest::default(), &bob)).await.unwrap();
}

#[tokio::test]
async fn costs_are_those_of_the_contract_and_guessing_tokens_costs_too() {
    // CreateSession costs 10.
    let system = System::with(|config| config.anonymous_rate = of(21)).await;
    for _ in 0..2 {
        system.auth().create_session(CreateSessionRequest::default()).await.unwrap();
    }
    let third = system.auth().create_session(CreateSessionRequest::default()).await.unwrap_err();
    assert_limited(&third, "address");
    let guess = async || {
        let request = signed(ListVideosRequest::default(), "a.guessed.token");
        system.videos().list_videos(request).await.unwrap_err()
    };
    assert_eq!(reason_of(&guess().await).as_deref(), Some("TOKEN_INVALID"));
    assert_limited(&guess().await, "address");
    let token = system.sign_in("ada", "s1").await;
    system.videos().list_videos(signed(ListVideosRequest::default(), &token)).await.unwrap();
}

#[tokio::test]
async fn forwarded_addresses_count_only_behind_a_proxy() {
    let call = async |system: &System, address: &str| {
        let mut request = Request::new(CreateSessionRequest::default());
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        system.auth().create_session(request).await.err().and_then(|status| reason_of(&status))
    };
    let open = System::with(|config| config.anonymous_rate = of(10)).await;
    assert_eq!(call(&open, "192.0.2.1").await, None);
    assert_eq!(call(&open, "192.0.2.2").await.as_deref(), Some("RATE_LIMITED"));
    let proxied = System::with(|config| {
        config.anonymous_rate = of(10);
        config.trusted_proxies = true;
    })
    .await;
    assert_eq!(call(&proxied, "192.0.2.1").await, None);
    assert_eq!(call(&proxied, "9.9.9.9, 192.0.2.2").await, None);
    assert_eq!(call(&proxied, "8.8.8.8, 192.0.2.2").await.as_deref(), Some("RATE_LIMITED"));
}
