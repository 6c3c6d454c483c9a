//! SessionService: CheckSession.

use reelmill_mesh::Caller;
use reelmill_platform::shared_state::{SessionCache as _, SessionState};
use reelmill_proto::auth::{CheckSessionRequest, CheckSessionResponse, DeleteSessionRequest};
use rstest::rstest;
use tonic::Code;

use crate::support::{AuthServer, Backend, alive, assert_error, caller, session_id};

async fn check(server: &AuthServer, name: &str) -> CheckSessionResponse {
    let request = CheckSessionRequest { name: name.to_owned() };
    server.gateway().check_session(request).await.unwrap().into_inner()
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn check_session_restores_flushed_cache_entry(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    let name = ada.session.as_ref().unwrap().name.clone();
    let user = ada.user.as_ref().unwrap().name.clone();
    let state = async || server.session_cache.get(&session_id(&ada)).await.unwrap();
    server.session_cache.flush().await;
    assert_eq!(state().await, None);
    assert_eq!(check(&server, &name).await, CheckSessionResponse { alive: true, user: user.clone() });
    assert_eq!(state().await, alive(&ada));

    server.session_cache.set_unavailable(true);
    assert!(check(&server, &name).await.alive, "the database is authoritative");
    server.session_cache.set_unavailable(false);

    let current = DeleteSessionRequest { name: "sessions/current".to_owned() };
    server.as_user(&ada).delete_session(current).await.unwrap();
    server.session_cache.flush().await;
    assert_eq!(check(&server, &name).await, CheckSessionResponse { alive: false, user });
    assert_eq!(state().await, Some(SessionState::Ended));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn check_session_of_unknown_name_is_not_alive(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let unknown = format!("sessions/{}", "0".repeat(32));
    for name in [unknown.as_str(), "sessions/current", "sessions/", "", "\0", "sessions/\0", "users/me"] {
        assert_eq!(check(&server, name).await, CheckSessionResponse::default(), "{name:?}");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn check_session_by_user_or_anonymous_is_rejected(#[case] backend: Backend) {
    let server = AuthServer::start(backend).await;
    let ada = server.sign_up_and_in("ada@example.org").await;
    for outsider in [caller(&ada), Caller::Anonymous] {
        let request = CheckSessionRequest { name: ada.session.as_ref().unwrap().name.clone() };
        let response = server.session_client(&outsider).check_session(request).await;
        assert_error(response, Code::Unimplemented, "METHOD_UNKNOWN");
    }
}
