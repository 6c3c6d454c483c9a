//! RefreshSession: rotation, replay, expiry, cookies.

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
use rstest::rstest;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::support::{
    AuthServer, Backend, PASSWORD, alive, assert_error, session_id, set_cookies, sign_in_request,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn refresh(server: &AuthServer, token: &str) -> Result<RefreshSessionResponse, Status> {
    refresh_with_id(server, token, "").await
}

async fn refresh_with_id(
    server: &AuthServer,
    token: &str,
    request_id: &str,
) -> Result<RefreshSessionResponse, Status> {
    let request =
        RefreshSessionRequest { refresh_token: token.to_owned(), request_id: request_id.to_owned() };
    server.anonymous().refresh_session(request).await.map(tonic::Response::into_inner)
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_returns_new_tokens_of_same_session(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    server.clock.advance(DAY);
    let next = refresh(&server, &ada.refresh_token).await.unwrap();
    assert!(next.refresh_token != ada.refresh_token && next.access_token != ada.access_token);
    assert_eq!(next.user, ada.user);
    let (before, after) = (ada.session.unwrap(), next.session.unwrap());
    assert_eq!((&after.name, after.create_time), (&before.name, before.create_time));
    let millis = |time: Option<_>| unix_millis(&time.unwrap());
    assert_eq!(millis(after.refresh_time) - millis(before.refresh_time), 86_400_000);
    assert_eq!(millis(after.expire_time) - millis(before.expire_time), 86_400_000);
    refresh(&server, &next.refresh_token).await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_with_replayed_token_ends_only_its_session(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let other_session = server.sign_in("ada@example.org").await;
    let next = refresh(&server, &ada.refresh_token).await.unwrap();
    let mut ended = server.session_cache.pub_sub().subscribe(SESSION_ENDED).await.unwrap();
    server.clock.advance(Duration::from_millis(10_001));

    let replayed = refresh(&server, &ada.refresh_token).await;
    assert_error(replayed, Code::Unauthenticated, "REFRESH_TOKEN_REPLAYED");
    let id = session_id(&ada);
    assert_eq!(server.session_cache.get(&id).await.unwrap(), Some(SessionState::Ended));
    let notification = tokio::time::timeout(Duration::from_secs(10), ended.next()).await.unwrap();
    assert_eq!(notification, Some(Notification::Payload(id.into_bytes().into())));

    for token in [&next.refresh_token, &ada.refresh_token] {
        assert_error(refresh(&server, token).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    assert_eq!(server.session_cache.get(&session_id(&other_session)).await.unwrap(), alive(&other_session));
    refresh(&server, &other_session.refresh_token).await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_with_used_token_in_grace_period_is_rejected_only(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let next = refresh(&server, &ada.refresh_token).await.unwrap();
    for wait in [0, 4_000, 6_000] {
        server.clock.advance(Duration::from_millis(wait));
        assert_error(
            refresh(&server, &ada.refresh_token).await,
            Code::Unauthenticated,
            "REFRESH_TOKEN_SPENT",
        );
    }
    assert_eq!(server.session_cache.get(&session_id(&ada)).await.unwrap(), alive(&ada));
    refresh(&server, &next.refresh_token).await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_repeated_with_its_request_id_returns_the_same_token(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let lost = refresh_with_id(&server, &ada.refresh_token, "first").await.unwrap();
    // The client has been offline for longer than the grace period.
    server.clock.advance(DAY);
    let repeated = refresh_with_id(&server, &ada.refresh_token, "first").await.unwrap();
    assert_eq!(repeated.refresh_token, lost.refresh_token);
    assert_eq!(repeated.user, ada.user);
    assert!(repeated.access_token != lost.access_token);
    let (before, after) = (lost.session.unwrap(), repeated.session.unwrap());
    assert_eq!((before.name, before.expire_time), (after.name, after.expire_time), "not a refresh more");

    let next = refresh_with_id(&server, &repeated.refresh_token, "second").await.unwrap();
    assert_ne!(next.refresh_token, repeated.refresh_token);
    // Its successor was used: the client has received it, so that this is somebody else.
    server.clock.advance(DAY);
    let replayed = refresh_with_id(&server, &ada.refresh_token, "first").await;
    assert_error(replayed, Code::Unauthenticated, "REFRESH_TOKEN_REPLAYED");
    let ended = refresh_with_id(&server, &repeated.refresh_token, "second").await;
    assert_error(ended, Code::Unauthenticated, "SESSION_ENDED");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_of_a_used_token_with_another_request_id_is_a_replay(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    for other_id in ["another", ""] {
        let email = format!("ada{other_id}@example.org");
        let ada = server.sign_up_and_in(&email).await;
        refresh_with_id(&server, &ada.refresh_token, "first").await.unwrap();
        let spent = refresh_with_id(&server, &ada.refresh_token, other_id).await;
        assert_error(spent, Code::Unauthenticated, "REFRESH_TOKEN_SPENT");
        server.clock.advance(Duration::from_millis(10_001));
        let replayed = refresh_with_id(&server, &ada.refresh_token, other_id).await;
        assert_error(replayed, Code::Unauthenticated, "REFRESH_TOKEN_REPLAYED");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_repeated_concurrently_returns_one_token(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let calls = (0..10).map(|_| refresh_with_id(&server, &ada.refresh_token, "same"));
    let tokens: Vec<_> =
        join_all(calls).await.into_iter().map(|response| response.unwrap().refresh_token).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    refresh(&server, &tokens[0]).await.unwrap();
    let too_long = refresh_with_id(&server, &tokens[0], &"x".repeat(65)).await;
    assert_error(too_long, Code::InvalidArgument, "FIELD_INVALID");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_concurrently_rotates_once(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let other = server.start_replica(|_| ()).await;
    let calls = (0..10).map(|n| {
        let mut client = if n % 2 == 0 { server.anonymous() } else { other.anonymous() };
        let request =
            RefreshSessionRequest { refresh_token: ada.refresh_token.clone(), ..Default::default() };
        async move { client.refresh_session(request).await }
    });
    let (mut rotated, spent): (Vec<_>, Vec<_>) = join_all(calls).await.into_iter().partition(Result::is_ok);
    assert_eq!((rotated.len(), spent.len()), (1, 9));
    for response in spent {
        assert_error(response, Code::Unauthenticated, "REFRESH_TOKEN_SPENT");
    }
    let next = rotated.pop().unwrap().unwrap().into_inner();
    refresh(&server, &next.refresh_token).await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn session_without_refresh_expires(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let check = async || {
        let request = CheckSessionRequest { name: ada.session.as_ref().unwrap().name.clone() };
        server.gateway().check_session(request).await.unwrap().into_inner().alive
    };
    let listed = async || {
        let response = server.as_user(&ada).list_sessions(ListSessionsRequest {}).await.unwrap();
        response.into_inner().sessions.len()
    };
    server.clock.advance(29 * DAY);
    let next = refresh(&server, &ada.refresh_token).await.unwrap();
    server.clock.advance(29 * DAY);
    assert!(check().await);
    assert_eq!(listed().await, 1);
    server.clock.advance(DAY);
    assert!(!check().await);
    assert_eq!(listed().await, 0);
    assert_error(refresh(&server, &next.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn expired_sessions_and_tokens_are_deleted(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let count =
        async |table: &str| server.query_text(&format!("SELECT CAST(count(*) AS text) FROM {table}")).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let eve = server.sign_up_and_in("eve@example.org").await;
    let mut token = refresh(&server, &eve.refresh_token).await.unwrap().refresh_token;
    assert_eq!((count("sessions").await, count("refresh_tokens").await), ("2".to_owned(), "3".to_owned()));
    server.clock.advance(29 * DAY);
    token = refresh(&server, &token).await.unwrap().refresh_token;
    server.clock.advance(2 * DAY);
    refresh(&server, &token).await.unwrap();
    // Of Eve's four tokens the first two have expired. Ada's session is deleted at her next sign-in.
    assert_eq!((count("sessions").await, count("refresh_tokens").await), ("2".to_owned(), "3".to_owned()));
    server.sign_in("ada@example.org").await;
    assert_eq!((count("sessions").await, count("refresh_tokens").await), ("2".to_owned(), "3".to_owned()));
    assert_error(refresh(&server, &ada.refresh_token).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_with_invalid_token_is_rejected(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let (jti, secret) = ada.refresh_token.split_once('.').unwrap();
    let wrong_secret = format!("{jti}.{}", "A".repeat(secret.len()));
    let unknown = format!("{}.{secret}", "0".repeat(32));
    let longer = format!("{}.{}", ada.refresh_token, "x".repeat(100_000));
    for invalid in ["", ".", "x", "\0.\0", jti, secret, &wrong_secret, &unknown, &longer, &ada.access_token] {
        assert_error(refresh(&server, invalid).await, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
    }
    refresh(&server, &ada.refresh_token).await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_with_cookie_delivery_rotates_the_cookie(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    const ATTRIBUTES: &str = "; HttpOnly; SameSite=Strict; Max-Age=2592000; ";
    server.sign_up("ada@example.org").await;
    let request = CreateSessionRequest {
        refresh_token_delivery: RefreshTokenDelivery::Cookie.into(),
        ..sign_in_request("ada@example.org", PASSWORD)
    };
    let forms = [
        ("http://127.0.0.1:8080", "reelmill_refresh=", "Path=/reelmill.auth.v1.AuthService/"),
        ("https://video.example.org", "__Host-reelmill_refresh=", "Path=/; Secure"),
    ];
    for (origin, name, path) in forms {
        let browser = |cookie: &str| {
            server.client(&Caller::Anonymous, &[(headers::ORIGIN, origin), ("cookie", cookie)])
        };
        let cookie_of = |metadata: &MetadataMap| {
            let cookies = set_cookies(metadata);
            assert_eq!(cookies.len(), 1);
            let cookie =
                cookies[0].strip_suffix(&format!("{ATTRIBUTES}{path}")).expect(&cookies[0]).to_owned();
            assert!(cookie.starts_with(name) && cookie.len() > 60, "{cookie}");
            cookie
        };
        let response = browser("theme=dark").create_session(request.clone()).await.unwrap();
        let first = cookie_of(response.metadata());
        assert_eq!(response.into_inner().refresh_token, "");

        let cookies = format!("theme=dark; {first}");
        let response = browser(&cookies).refresh_session(RefreshSessionRequest::default()).await.unwrap();
        let second = cookie_of(response.metadata());
        assert_ne!(first, second);
        assert_eq!(response.into_inner().refresh_token, "");

        let none = browser("theme=dark").refresh_session(RefreshSessionRequest::default()).await;
        assert_error(none, Code::Unauthenticated, "REFRESH_TOKEN_INVALID");
        // A token in the request is answered in the response, whatever the cookies.
        let in_body = second.strip_prefix(name).unwrap().to_owned();
        let request = RefreshSessionRequest { refresh_token: in_body, ..Default::default() };
        let response = browser(&first).refresh_session(request).await.unwrap();
        assert!(set_cookies(response.metadata()).is_empty());
        assert!(!response.into_inner().refresh_token.is_empty());
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn refresh_session_without_session_cache_succeeds_and_restores_it_later(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    server.session_cache.set_unavailable(true);
    let ada = server.sign_up_and_in("ada@example.org").await;
    let next = refresh(&server, &ada.refresh_token).await.unwrap();
    server.session_cache.set_unavailable(false);
    refresh(&server, &next.refresh_token).await.unwrap();
    assert_eq!(server.session_cache.get(&session_id(&ada)).await.unwrap(), alive(&ada));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn replay_without_session_cache_ends_cached_session_later(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let next = refresh(&server, &ada.refresh_token).await.unwrap();
    server.clock.advance(Duration::from_secs(11));
    server.session_cache.set_unavailable(true);
    let replayed = refresh(&server, &ada.refresh_token).await;
    assert_error(replayed, Code::Unavailable, "SESSION_CACHE_UNAVAILABLE");
    assert_eq!(server.session_cache.stored(&session_id(&ada)).await, alive(&ada));
    server.session_cache.set_unavailable(false);
    assert_error(refresh(&server, &next.refresh_token).await, Code::Unauthenticated, "SESSION_ENDED");
    assert_eq!(server.session_cache.get(&session_id(&ada)).await.unwrap(), Some(SessionState::Ended));
}
