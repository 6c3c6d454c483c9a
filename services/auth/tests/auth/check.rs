//! What other roles ask about sessions.

use reelmill_mesh::Caller;
use reelmill_platform::shared_state::{SessionCache as _, SessionState};
use reelmill_proto::auth::{CheckSessionRequest, CheckSessionResponse, DeleteSessionRequest};
use tonic::Code;

use crate::system::{System, alive, caller, refused, session_id};

async fn check(system: &System, name: &str) -> CheckSessionResponse {
    let request = CheckSessionRequest { name: name.to_owned() };
    system.gateway().check_session(request).await.unwrap().into_inner()
}

pub async fn a_flushed_hub_gets_back_what_it_lost(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let name = ada.session.as_ref().unwrap().name.clone();
    let user = ada.user.as_ref().unwrap().name.clone();
    let state = async || system.session_cache.get(&session_id(&ada)).await.unwrap();
    system.session_cache.flush().await;
    assert_eq!(state().await, None);
    assert_eq!(check(&system, &name).await, CheckSessionResponse { alive: true, user: user.clone() });
    assert_eq!(state().await, alive(&ada));

    system.session_cache.set_unavailable(true);
    assert!(check(&system, &name).await.alive, "the database is the truth");
    system.session_cache.set_unavailable(false);

    let current = DeleteSessionRequest { name: "sessions/current".to_owned() };
    system.as_user(&ada).delete_session(current).await.unwrap();
    system.session_cache.flush().await;
    assert_eq!(check(&system, &name).await, CheckSessionResponse { alive: false, user });
    assert_eq!(state().await, Some(SessionState::Ended));
}

pub async fn what_is_unknown_is_not_alive(system: System) {
    let unknown = format!("sessions/{}", "0".repeat(32));
    for name in [unknown.as_str(), "sessions/current", "sessions/", "", "\0", "sessions/\0", "users/me"] {
        assert_eq!(check(&system, name).await, CheckSessionResponse::default(), "{name:?}");
    }
}

pub async fn it_is_for_roles_only(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    for outsider in [caller(&ada), Caller::Anonymous] {
        let request = CheckSessionRequest { name: ada.session.as_ref().unwrap().name.clone() };
        let answer = system.session_service(outsider).check_session(request).await;
        refused(answer, Code::Unimplemented, "METHOD_UNKNOWN");
    }
}
