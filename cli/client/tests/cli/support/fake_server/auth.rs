//! The auth service.

use reelmill_proto::auth::{auth_service_server::AuthService, *};
use tonic::{Code, Request, Status, async_trait};

use super::state::{FakeServer, RpcResult, error, not_implemented, ok};

fn user() -> Option<User> {
    Some(User { name: "users/u".into(), email: "a@b.c".into(), ..User::default() })
}

fn session() -> Option<Session> {
    Some(Session { name: "sessions/s".into(), user: "users/u".into(), ..Session::default() })
}

#[async_trait]
impl AuthService for FakeServer {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> RpcResult<CreateUserResponse> {
        if !self.state().password.is_empty() {
            return Err(error(Code::AlreadyExists, "EMAIL_TAKEN"));
        }
        self.state().password = request.into_inner().password;
        ok(CreateUserResponse { user: user() })
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> RpcResult<CreateSessionResponse> {
        let request = request.into_inner();
        assert_eq!(request.refresh_token_delivery(), RefreshTokenDelivery::Body);
        if request.password != self.state().password {
            return Err(error(Code::Unauthenticated, "CREDENTIALS_WRONG"));
        }
        let seconds = self.state().access_token_seconds;
        let (access_token, expire, refresh_token) = self.issue_tokens(seconds);
        let access_token_expire_time = Some(expire);
        ok(CreateSessionResponse {
            session: session(),
            user: user(),
            access_token,
            access_token_expire_time,
            refresh_token,
        })
    }

    async fn refresh_session(
        &self,
        request: Request<RefreshSessionRequest>,
    ) -> RpcResult<RefreshSessionResponse> {
        let request = request.into_inner();
        let is_repeated = {
            let mut state = self.state();
            state.refreshes += 1;
            let is_repeated = !request.request_id.is_empty()
                && state.last_refresh.as_ref().is_some_and(|(last, next)| {
                    *last == request && state.refresh_token.as_ref() == Some(next)
                });
            if !is_repeated && state.refresh_token.as_ref() != Some(&request.refresh_token) {
                state.replays += 1;
                state.refresh_token = None;
                return Err(error(Code::Unauthenticated, "REFRESH_TOKEN_REPLAYED"));
            }
            is_repeated
        };
        let (access_token, expire, mut refresh_token) = self.issue_tokens(900);
        {
            let mut state = self.state();
            match (&state.last_refresh, is_repeated) {
                (Some((_, next)), true) => refresh_token = next.clone(),
                _ => state.last_refresh = Some((request, refresh_token.clone())),
            }
            state.refresh_token = Some(refresh_token.clone());
            if state.lost_refreshes > 0 {
                state.lost_refreshes -= 1;
                return Err(Status::unavailable("the connection was lost"));
            }
        }
        let access_token_expire_time = Some(expire);
        ok(RefreshSessionResponse {
            session: session(),
            user: user(),
            access_token,
            access_token_expire_time,
            refresh_token,
        })
    }

    async fn delete_session(
        &self,
        request: Request<DeleteSessionRequest>,
    ) -> RpcResult<DeleteSessionResponse> {
        let token = self.authenticate(&request)?;
        assert_eq!(request.into_inner().name, "sessions/current");
        let mut state = self.state();
        state.access_tokens.remove(&token);
        // The refresh token belongs to the latest session.
        if token == format!("access-{}", state.issued_tokens) {
            state.refresh_token = None;
        }
        ok(DeleteSessionResponse {})
    }

    async fn get_user(&self, _: Request<GetUserRequest>) -> RpcResult<GetUserResponse> {
        not_implemented()
    }

    async fn list_sessions(&self, _: Request<ListSessionsRequest>) -> RpcResult<ListSessionsResponse> {
        not_implemented()
    }

    async fn delete_all_sessions(
        &self,
        _: Request<DeleteAllSessionsRequest>,
    ) -> RpcResult<DeleteAllSessionsResponse> {
        not_implemented()
    }

    async fn list_signing_keys(
        &self,
        _: Request<ListSigningKeysRequest>,
    ) -> RpcResult<ListSigningKeysResponse> {
        not_implemented()
    }
}
