//! RPC methods of SessionService, for other roles.

use reelmill_proto::auth::{
    CheckSessionRequest, CheckSessionResponse, session_service_server::SessionService,
};
use tonic::{Request, Response, Status};

use crate::sessions::Sessions;

/// Serves SessionService.
pub(crate) struct SessionRpc {
    pub sessions: Sessions,
}

#[tonic::async_trait]
impl SessionService for SessionRpc {
    async fn check_session(
        &self,
        request: Request<CheckSessionRequest>,
    ) -> Result<Response<CheckSessionResponse>, Status> {
        let name = request.into_inner().name;
        let id = name.strip_prefix("sessions/").unwrap_or_default();
        let response = match self.sessions.check(id).await? {
            Some((session, alive)) => {
                CheckSessionResponse { alive, user: format!("users/{}", session.user_id) }
            }
            None => CheckSessionResponse::default(),
        };
        Ok(Response::new(response))
    }
}
