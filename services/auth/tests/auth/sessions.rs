//! Listing sessions and signing out.

use std::time::Duration;

use reelmill_mesh::{Caller, headers};
use reelmill_platform::shared_state::{SessionCache as _, SessionState};
use reelmill_proto::auth::{
    CreateSessionResponse, DeleteAllSessionsRequest, DeleteSessionRequest, DeleteSessionResponse,
    GetUserRequest, ListSessionsRequest, RefreshSessionRequest,
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::system::{System, alive, caller, refused, session_id, set_cookies};

const CLEARED: &str =
    "reelmill_refresh=; HttpOnly; SameSite=Strict; Path=/reelmill.auth.v1.AuthService/; Max-Age=0";

async fn delete(
    system: &System,
    who: &CreateSessionResponse,
    name: &str,
) -> Result<Response<DeleteSessionResponse>, Status> {
    system.as_user(who).delete_session(DeleteSessionRequest { name: name.to_owned() }).await
}

async fn listed(system: &System, who: &CreateSessionResponse) -> Vec<(String, bool)> {
    let answer = system.as_user(who).list_sessions(ListSessionsRequest {}).await.unwrap().into_inner();
    answer.sessions.into_iter().map(|session| (session.name, session.current)).collect()
}

fn name(who: &CreateSessionResponse) -> String {
    who.session.as_ref().unwrap().name.clone()
}

async fn state(system: &System, who: &CreateSessionResponse) -> Option<SessionState> {
    system.session_cache.get(&session_id(who)).await.unwrap()
}

pub async fn they_are_listed_newest_first(system: System) {
    let first = system.newcomer("ada@example.org").await;
    system.newcomer("eve@example.org").await;
    system.clock.advance(Duration::from_secs(1));
    let second = system.sign_in("ada@example.org").await;
    assert_eq!(listed(&system, &first).await, [(name(&second), false), (name(&first), true)]);
    assert_eq!(listed(&system, &second).await, [(name(&second), true), (name(&first), false)]);
    let session = first.session.unwrap();
    assert_eq!((session.user_agent.as_str(), session.current), ("Stories/1.0", true));
    assert_eq!(session.user, first.user.unwrap().name);
}

pub async fn signing_out_ends_one(system: System) {
    let here = system.newcomer("ada@example.org").await;
    let there = system.sign_in("ada@example.org").await;
    let third = system.sign_in("ada@example.org").await;
    let answer = delete(&system, &here, &name(&there)).await.unwrap();
    assert!(set_cookies(answer.metadata()).is_empty(), "the cookie is of the session that calls");
    assert_eq!(state(&system, &there).await, Some(SessionState::Ended));
    assert_eq!(state(&system, &here).await, alive(&here));

    let mut browser = system.calling(caller(&here), &[(headers::ORIGIN, "https://video.example.org")]);
    let current = DeleteSessionRequest { name: "sessions/current".to_owned() };
    let answer = browser.delete_session(current).await.unwrap();
    assert_eq!(set_cookies(answer.metadata()), [format!("{CLEARED}; Secure")]);
    assert_eq!(state(&system, &here).await, Some(SessionState::Ended));
    let answer = delete(&system, &here, &name(&here)).await.expect("once more is no error");
    assert_eq!(set_cookies(answer.metadata()), [CLEARED]);

    assert_eq!(listed(&system, &third).await, [(name(&third), true)]);
    let request = RefreshSessionRequest { refresh_token: here.refresh_token };
    refused(system.anyone().refresh_session(request).await, Code::Unauthenticated, "SESSION_ENDED");
}

pub async fn of_others_nothing_is_learnt(system: System) {
    let ada = system.newcomer("ada@example.org").await;
    let eve = system.newcomer("eve@example.org").await;
    let unknown = format!("sessions/{}", "0".repeat(32));
    let of_ada = name(&ada);
    let upper = of_ada.to_uppercase();
    let mut answers = Vec::new();
    for other in [&of_ada, &unknown, "", "sessions/", "current", "sessions/\0", "sessions/../x", &upper] {
        let status = refused(delete(&system, &eve, other).await, Code::NotFound, "SESSION_NOT_FOUND");
        answers.push((status.message().to_owned(), status.details().to_vec()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "what is another's looks like what is not there");
    assert_eq!(state(&system, &ada).await, alive(&ada));
    assert_eq!(listed(&system, &ada).await, [(name(&ada), true)]);
}

pub async fn signing_out_everywhere_ends_all(system: System) {
    let here = system.newcomer("ada@example.org").await;
    let there = system.sign_in("ada@example.org").await;
    let gone = system.sign_in("ada@example.org").await;
    let eve = system.newcomer("eve@example.org").await;
    delete(&system, &gone, "sessions/current").await.unwrap();
    let end_all = async || {
        let answer = system.as_user(&here).delete_all_sessions(DeleteAllSessionsRequest {}).await.unwrap();
        (set_cookies(answer.metadata()), answer.into_inner().session_count)
    };
    assert_eq!(end_all().await, (vec![CLEARED.to_owned()], 2));
    for ended in [&here, &there, &gone] {
        assert_eq!(state(&system, ended).await, Some(SessionState::Ended));
        let request = RefreshSessionRequest { refresh_token: ended.refresh_token.clone() };
        refused(system.anyone().refresh_session(request).await, Code::Unauthenticated, "SESSION_ENDED");
    }
    assert_eq!(state(&system, &eve).await, alive(&eve));
    assert_eq!(listed(&system, &eve).await.len(), 1);
    assert_eq!(end_all().await.1, 0);
}

pub async fn a_hub_that_is_away_is_told_on_repetition(system: System) {
    let one = system.newcomer("ada@example.org").await;
    let two = system.sign_in("ada@example.org").await;
    system.session_cache.set_unavailable(true);
    let unsure = refused(
        delete(&system, &one, "sessions/current").await,
        Code::Unavailable,
        "SESSION_CACHE_UNAVAILABLE",
    );
    assert!(unsure.get_details_retry_info().is_some());
    let all = system.as_user(&two).delete_all_sessions(DeleteAllSessionsRequest {}).await;
    refused(all, Code::Unavailable, "SESSION_CACHE_UNAVAILABLE");
    system.session_cache.set_unavailable(false);
    assert!(listed(&system, &two).await.is_empty(), "the database has ended both");
    assert_eq!((state(&system, &one).await, state(&system, &two).await), (alive(&one), alive(&two)));

    delete(&system, &one, "sessions/current").await.unwrap();
    assert_eq!(state(&system, &one).await, Some(SessionState::Ended));
    system.as_user(&two).delete_all_sessions(DeleteAllSessionsRequest {}).await.unwrap();
    assert_eq!(state(&system, &two).await, Some(SessionState::Ended));
}

pub async fn a_sign_in_comes_first(system: System) {
    let mut anyone = system.calling(Caller::Anonymous, &[]);
    let me = GetUserRequest { name: "users/me".to_owned() };
    refused(anyone.get_user(me).await, Code::Unauthenticated, "SIGN_IN_REQUIRED");
    let list = anyone.list_sessions(ListSessionsRequest {}).await;
    refused(list, Code::Unauthenticated, "SIGN_IN_REQUIRED");
    let end = anyone.delete_session(DeleteSessionRequest { name: "sessions/current".to_owned() }).await;
    refused(end, Code::Unauthenticated, "SIGN_IN_REQUIRED");
    let end = anyone.delete_all_sessions(DeleteAllSessionsRequest {}).await;
    refused(end, Code::Unauthenticated, "SIGN_IN_REQUIRED");
}
