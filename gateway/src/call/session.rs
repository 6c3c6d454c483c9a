//! Session check of a call.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use reelmill_mesh::Caller;

use super::{
    authenticate::{Credential, IdentifiedCall},
    deadline::Deadline,
    rate_limit::LimitedCall,
    typed_layer::{CallLayer, Handler},
};
use crate::{
    error::CallError,
    methods::Method,
    sessions::{OpenCall, Sessions},
};

/// A call that its caller may make.
pub(super) struct AuthorizedCall {
    pub(super) deadline: Deadline,
    pub(super) method: Arc<Method>,
    pub(super) caller: Caller,
    /// The session that the response stream ends with. `None` for single responses, which are not cut off: a client
    /// that signs out needs the response.
    pub(super) session: Option<OpenCall>,
    pub(super) request: Request,
}

/// Rejects calls with an invalid credential or an ended session, and registers the others with their session.
pub(super) struct SessionLayer {
    pub(super) sessions: Arc<Sessions>,
}

impl CallLayer<LimitedCall> for SessionLayer {
    type Next = AuthorizedCall;

    async fn process(
        &self,
        call: LimitedCall,
        next: &impl Handler<AuthorizedCall>,
    ) -> Result<Response, CallError> {
        let IdentifiedCall { deadline, method, credential, request, .. } = call.into_identified();
        let user = match credential {
            Credential::NotRequired => {
                let caller = Caller::Anonymous;
                return next
                    .handle(AuthorizedCall { deadline, method, caller, session: None, request })
                    .await;
            }
            Credential::Invalid(error) => return Err(error),
            Credential::Token(user) => user,
        };
        let open_call = self.sessions.register_call(&user).await?;
        let caller = Caller::User(user);
        if !method.server_streaming {
            // Counts as open until the response starts.
            let _open_call = open_call;
            return next.handle(AuthorizedCall { deadline, method, caller, session: None, request }).await;
        }
        let ended = open_call.ended();
        let session = Some(open_call);
        tokio::select! {
            response = next.handle(AuthorizedCall { deadline, method, caller, session, request }) => response,
            () = ended.cancelled() => Err(CallError::SessionEnded),
        }
    }
}
