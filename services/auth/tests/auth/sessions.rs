//! ListSessions, DeleteSession, DeleteAllSessions.

use std::time::Duration;

use reelmill_mesh::{Caller, headers};
use reelmill_platform::shared_state::{SessionCache as _, SessionState};
use reelmill_proto::auth::{
    CreateSessionResponse, DeleteAllSessionsRequest, DeleteSessionRequest, DeleteSessionResponse,
    GetUserRequest, ListSessionsRequest, RefreshSessionRequest,
};
use rstest::rstest;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::support::{AuthServer, Backend, USER_AGENT, alive, assert_error, caller, session_id, set_cookies};

const CLEARED: &str =
    "reelmill_refresh=; HttpOnly; SameSite=Strict; Max-Age=0; Path=/reelmill.auth.v1.AuthService/";
const CLEARED_OVER_HTTPS: &str =
    "__Host-reelmill_refresh=; HttpOnly; SameSite=Strict; Max-Age=0; Path=/; Secure";

async fn delete(
    server: &AuthServer,
    signed_in: &CreateSessionResponse,
    name: &str,
) -> Result<Response<DeleteSessionResponse>, Status> {
    server.as_user(signed_in).delete_session(DeleteSessionRequest { name: name.to_owned() }).await
}

async fn listed(server: &AuthServer, signed_in: &CreateSessionResponse) -> Vec<(String, bool)> {
    let response =
        server.as_user(signed_in).list_sessions(ListSessionsRequest {}).await.unwrap().into_inner();
    response.sessions.into_iter().map(|session| (session.name, session.current)).collect()
}

fn name(signed_in: &CreateSessionResponse) -> String {
    signed_in.session.as_ref().unwrap().name.clone()
}

async fn state(server: &AuthServer, signed_in: &CreateSessionResponse) -> Option<SessionState> {
    server.session_cache.get(&session_id(signed_in)).await.unwrap()
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn list_sessions_returns_newest_first(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let first = server.sign_up_and_in("ada@example.org").await;
    server.sign_up_and_in("eve@example.org").await;
    server.clock.advance(Duration::from_secs(1));
    let second = server.sign_in("ada@example.org").await;
    assert_eq!(listed(&server, &first).await, [(name(&second), false), (name(&first), true)]);
    assert_eq!(listed(&server, &second).await, [(name(&second), true), (name(&first), false)]);
    let session = first.session.unwrap();
    assert_eq!((session.user_agent.as_str(), session.current), (USER_AGENT, true));
    assert_eq!(session.user, first.user.unwrap().name);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn delete_session_ends_one_session_and_clears_own_cookie(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let here = server.sign_up_and_in("ada@example.org").await;
    let there = server.sign_in("ada@example.org").await;
    let third = server.sign_in("ada@example.org").await;
    let response = delete(&server, &here, &name(&there)).await.unwrap();
    assert!(set_cookies(response.metadata()).is_empty(), "the cookie belongs to the calling session");
    assert_eq!(state(&server, &there).await, Some(SessionState::Ended));
    assert_eq!(state(&server, &here).await, alive(&here));

    let mut browser = server.client(&caller(&here), &[(headers::ORIGIN, "https://video.example.org")]);
    let current = DeleteSessionRequest { name: "sessions/current".to_owned() };
    let response = browser.delete_session(current).await.unwrap();
    assert_eq!(set_cookies(response.metadata()), [CLEARED_OVER_HTTPS]);
    assert_eq!(state(&server, &here).await, Some(SessionState::Ended));
    let response = delete(&server, &here, &name(&here)).await.expect("ending a session again succeeds");
    assert_eq!(set_cookies(response.metadata()), [CLEARED]);

    assert_eq!(listed(&server, &third).await, [(name(&third), true)]);
    let request = RefreshSessionRequest { refresh_token: here.refresh_token, ..Default::default() };
    assert_error(server.anonymous().refresh_session(request).await, Code::Unauthenticated, "SESSION_ENDED");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn delete_session_of_other_user_looks_like_unknown_session(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let eve = server.sign_up_and_in("eve@example.org").await;
    let unknown = format!("sessions/{}", "0".repeat(32));
    let ada_name = name(&ada);
    let upper = ada_name.to_uppercase();
    let mut errors = Vec::new();
    for other in [&ada_name, &unknown, "", "sessions/", "current", "sessions/\0", "sessions/../x", &upper] {
        let status = assert_error(delete(&server, &eve, other).await, Code::NotFound, "SESSION_NOT_FOUND");
        errors.push((status.message().to_owned(), status.details().to_vec()));
    }
    errors.dedup();
    assert_eq!(errors.len(), 1, "the errors differ");
    assert_eq!(state(&server, &ada).await, alive(&ada));
    assert_eq!(listed(&server, &ada).await, [(name(&ada), true)]);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn delete_all_sessions_ends_all_sessions_of_the_user(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let here = server.sign_up_and_in("ada@example.org").await;
    let there = server.sign_in("ada@example.org").await;
    let gone = server.sign_in("ada@example.org").await;
    let eve = server.sign_up_and_in("eve@example.org").await;
    delete(&server, &gone, "sessions/current").await.unwrap();
    let end_all = async || {
        let response = server.as_user(&here).delete_all_sessions(DeleteAllSessionsRequest {}).await.unwrap();
        (set_cookies(response.metadata()), response.into_inner().session_count)
    };
    assert_eq!(end_all().await, (vec![CLEARED.to_owned()], 2));
    for ended in [&here, &there, &gone] {
        assert_eq!(state(&server, ended).await, Some(SessionState::Ended));
        let request =
            RefreshSessionRequest { refresh_token: ended.refresh_token.clone(), ..Default::default() };
        assert_error(
            server.anonymous().refresh_session(request).await,
            Code::Unauthenticated,
            "SESSION_ENDED",
        );
    }
    assert_eq!(state(&server, &eve).await, alive(&eve));
    assert_eq!(listed(&server, &eve).await.len(), 1);
    assert_eq!(end_all().await.1, 0);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn delete_session_without_session_cache_fails_and_succeeds_on_repetition(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let one = server.sign_up_and_in("ada@example.org").await;
    let two = server.sign_in("ada@example.org").await;
    server.session_cache.set_unavailable(true);
    let error = assert_error(
        delete(&server, &one, "sessions/current").await,
        Code::Unavailable,
        "SESSION_CACHE_UNAVAILABLE",
    );
    assert!(error.get_details_retry_info().is_some());
    let all = server.as_user(&two).delete_all_sessions(DeleteAllSessionsRequest {}).await;
    assert_error(all, Code::Unavailable, "SESSION_CACHE_UNAVAILABLE");
    assert!(listed(&server, &two).await.is_empty(), "a session is alive in the database");
    for session in [&one, &two] {
        assert_eq!(server.session_cache.stored(&session_id(session)).await, alive(session));
    }

    server.session_cache.set_unavailable(false);
    delete(&server, &one, "sessions/current").await.unwrap();
    assert_eq!(state(&server, &one).await, Some(SessionState::Ended));
    server.as_user(&two).delete_all_sessions(DeleteAllSessionsRequest {}).await.unwrap();
    assert_eq!(state(&server, &two).await, Some(SessionState::Ended));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn methods_for_users_without_sign_in_are_rejected(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let mut anyone = server.client(&Caller::Anonymous, &[]);
    let me = GetUserRequest { name: "users/me".to_owned() };
    assert_error(anyone.get_user(me).await, Code::Unauthenticated, "SIGN_IN_REQUIRED");
    let list = anyone.list_sessions(ListSessionsRequest {}).await;
    assert_error(list, Code::Unauthenticated, "SIGN_IN_REQUIRED");
    let end = anyone.delete_session(DeleteSessionRequest { name: "sessions/current".to_owned() }).await;
    assert_error(end, Code::Unauthenticated, "SIGN_IN_REQUIRED");
    let end = anyone.delete_all_sessions(DeleteAllSessionsRequest {}).await;
    assert_error(end, Code::Unauthenticated, "SIGN_IN_REQUIRED");
}
