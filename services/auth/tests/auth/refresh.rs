//! Refresh tokens: rotation, replay, expiry, cookies.

use std::time::Duration;

use futures::{StreamExt as _, future::join_all};
use reelmill_mesh::{Caller, headers};
use reelmill_platform::shared_state::{Notification, SESSION_ENDED, SessionCache as _, SessionState};
use reelmill_proto::{
    auth::{
        CheckSessionRequest, CreateSessionRequest, ListSessionsRequest, RefreshSessionRequest,
        RefreshSessionResponse, RefreshTokenDelivery,
    },
    unix_millis,
};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::system::{PASSWORD, System, alive, credentials, refused, session_id, set_cookies};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn refresh(system: &System, token: &str) -> Result<RefreshSessionResponse, Status> {
    let request = RefreshSessionRequest { refresh_token: token.to_owned() };
    system.anyone().refresh_session(request).await.map(tonic::Response::into_inner)
}

pub async fn a_token_is_exchanged_for_the_next(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    system.clock.advance(DAY);
    let next = refresh(&system, &ada.refresh_token).await.unwrap();
    assert!(next.refresh_token != ada.refresh_token && next.access_token != ada.access_token);
    assert_eq!(next.user, ada.user);
    let (before, after) = (ada.session.unwrap(), next.session.unwrap());
    assert_eq!((&after.name, after.create_time), (&before.name, before.create_time));
    let millis = |time: Option<_>| unix_millis(&time.unwrap());
    assert_eq!(millis(after.refresh_time) - millis(before.refresh_time), 86_400_000);
    assert_eq!(millis(after.expire_time) - millis(before.expire_time), 86_400_000);
    refresh(&system, &next.refresh_token).await.unwrap();
}

pub async fn a_replay_ends_the_family(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let elsewhere = system.sign_in("ada@example.org").await;
    let next = refresh(&system, &ada.refresh_token).await.unwrap();
    let mut ended = system.session_cache.pub_sub().subscribe(SESSION_ENDED).await.unwrap();
    system.clock.advance(Duration::from_millis(10_001));

    let replayed = refresh(&system, &ada.refresh_token).await;
    refused(replayed, Code::Unauthenticated, "REFRESH_TOKEN_REPLAYED");
    let id = session_id(&ada);
    assert_eq!(system.session_cache.get(&id).await.unwrap(), Some(SessionState::Ended));
    let hint = tokio::time::timeout(Duration::from_secs(10), ended.next()).await.unwrap();
    assert_eq!(hint, Some(Notification::Payload(id.into_bytes().into())));

    for token in [&next.refresh_token, &ada.refresh_token] {
        refused(refresh(&system, token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    assert_eq!(system.session_cache.get(&session_id(&elsewhere)).await.unwrap(), alive(&elsewhere));
    refresh(&system, &elsewhere.refresh_token).await.unwrap();
}

pub async fn two_tabs_may_race(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let next = refresh(&system, &ada.refresh_token).await.unwrap();
    for wait in [0, 4_000, 6_000] {
        system.clock.advance(Duration::from_millis(wait));
        refused(refresh(&system, &ada.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_SPENT");
    }
    assert_eq!(system.session_cache.get(&session_id(&ada)).await.unwrap(), alive(&ada));
    refresh(&system, &next.refresh_token).await.unwrap();
}

pub async fn of_many_at_once_one_wins(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let other = system.replica(|_| ()).await;
    let calls = (0..10).map(|n| {
        let mut client = if n % 2 == 0 { system.anyone() } else { other.anyone() };
        let request = RefreshSessionRequest { refresh_token: ada.refresh_token.clone() };
        async move { client.refresh_session(request).await }
    });
    let (mut won, spent): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), spent.len()), (1, 9));
    for answer in spent {
        refused(answer, Code::Unauthenticated, "REFRESH_TOKEN_SPENT");
    }
    let next = won.pop().unwrap().unwrap().into_inner();
    refresh(&system, &next.refresh_token).await.unwrap();
}

pub async fn an_idle_session_expires(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let check = async || {
        let request = CheckSessionRequest { name: ada.session.as_ref().unwrap().name.clone() };
        system.gateway().check_session(request).await.unwrap().into_inner().alive
    };
    let listed = async || {
        let answer = system.as_user(&ada).list_sessions(ListSessionsRequest {}).await.unwrap();
        answer.into_inner().sessions.len()
    };
    system.clock.advance(29 * DAY);
    let next = refresh(&system, &ada.refresh_token).await.unwrap();
    system.clock.advance(29 * DAY);
    assert!(check().await);
    assert_eq!(listed().await, 1);
    system.clock.advance(DAY);
    assert!(!check().await);
    assert_eq!(listed().await, 0);
    refused(refresh(&system, &next.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
}

pub async fn what_has_expired_is_removed(system: System) {
    let count =
        async |table: &str| system.query(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await;
    let ada = system.newcomer("ada@example.org").await;
    let eve = system.newcomer("eve@example.org").await;
    let mut token = refresh(&system, &eve.refresh_token).await.unwrap().refresh_token;
    assert_eq!((count("sessions").await, count("refresh_tokens").await), ("2".to_owned(), "3".to_owned()));
    system.clock.advance(29 * DAY);
    token = refresh(&system, &token).await.unwrap().refresh_token;
    system.clock.advance(2 * DAY);
    refresh(&system, &token).await.unwrap();
    // Of Eve's four, the two issued at first are gone; Ada's session goes when she comes again.
    assert_eq!((count("sessions").await, count("refresh_tokens").await), ("2".to_owned(), "3".to_owned()));
    system.sign_in("ada@example.org").await;
    assert_eq!((count("sessions").await, count("refresh_tokens").await), ("2".to_owned(), "3".to_owned()));
    refused(refresh(&system, &ada.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
}

pub async fn garbage_is_no_token(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let (jti, secret) = ada.refresh_token.split_once('.').unwrap();
    let wrong_secret = format!("{jti}.{}", "A".repeat(secret.len()));
    let unknown = format!("{}.{secret}", "0".repeat(32));
    let longer = format!("{}.{}", ada.refresh_token, "x".repeat(100_000));
    for bad in ["", ".", "x", "\0.\0", jti, secret, &wrong_secret, &unknown, &longer, &ada.access_token] {
        refused(refresh(&system, bad).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    }
    refresh(&system, &ada.refresh_token).await.unwrap();
}

pub async fn a_browser_keeps_it_in_a_cookie(system: System) {
    const REST: &str = "; HttpOnly; SameSite=Strict; Path=/reelmill.auth.v1.AuthService/; Max-Age=2592000";
    system.sign_up("ada@example.org").await;
    let request = CreateSessionRequest {
        refresh_token_delivery: RefreshTokenDelivery::Cookie.into(),
        ..credentials("ada@example.org", PASSWORD)
    };
    for (origin, secure) in [("http://127.0.0.1:8080", ""), ("https://video.example.org", "; Secure")] {
        let browser = |cookie: &str| {
            system.calling(Caller::Anonymous, &[(headers::ORIGIN, origin), ("cookie", cookie)])
        };
        let held = |metadata: &MetadataMap| {
            let cookies = set_cookies(metadata);
            assert_eq!(cookies.len(), 1);
            let cookie = cookies[0].strip_suffix(&format!("{REST}{secure}")).expect(&cookies[0]).to_owned();
            assert!(cookie.starts_with("reelmill_refresh=") && cookie.len() > 60, "{cookie}");
            cookie
        };
        let answer = browser("theme=dark").create_session(request.clone()).await.unwrap();
        let first = held(answer.metadata());
        assert_eq!(answer.into_inner().refresh_token, "");

        let cookies = format!("theme=dark; {first}");
        let answer = browser(&cookies).refresh_session(RefreshSessionRequest::default()).await.unwrap();
        let second = held(answer.metadata());
        assert_ne!(first, second);
        assert_eq!(answer.into_inner().refresh_token, "");

        let none = browser("theme=dark").refresh_session(RefreshSessionRequest::default()).await;
        refused(none, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        // A program that shows a token in the body gets the next one there, whatever its cookies.
        let in_body = second.strip_prefix("reelmill_refresh=").unwrap().to_owned();
        let request = RefreshSessionRequest { refresh_token: in_body };
        let answer = browser(&first).refresh_session(request).await.unwrap();
        assert!(set_cookies(answer.metadata()).is_empty());
        assert!(!answer.into_inner().refresh_token.is_empty());
    }
}

pub async fn a_hub_that_is_away_spends_no_token(system: System) {
    system.session_cache.set_unavailable(true);
    let ada = system.newcomer("ada@example.org").await;
    let next = refresh(&system, &ada.refresh_token).await.unwrap();
    system.session_cache.set_unavailable(false);
    refresh(&system, &next.refresh_token).await.unwrap();
    assert_eq!(system.session_cache.get(&session_id(&ada)).await.unwrap(), alive(&ada));
}

pub async fn a_replay_while_the_hub_is_away_is_told_later(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let next = refresh(&system, &ada.refresh_token).await.unwrap();
    system.clock.advance(Duration::from_secs(11));
    system.session_cache.set_unavailable(true);
    let replayed = refresh(&system, &ada.refresh_token).await;
    refused(replayed, Code::Unavailable, "SESSION_CACHE_UNAVAILABLE");
    system.session_cache.set_unavailable(false);
    assert_eq!(system.session_cache.get(&session_id(&ada)).await.unwrap(), alive(&ada));
    refused(refresh(&system, &next.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(system.session_cache.get(&session_id(&ada)).await.unwrap(), Some(SessionState::Ended));
}
