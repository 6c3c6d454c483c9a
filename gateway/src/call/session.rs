//! Lets a call through if its session is alive, and enters it there so that it ends with it.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use reelmill_mesh::Caller;

use crate::{call::identify::Shown, contract::Method, error::Refused, gateway::Shared};

/// Names the [`Caller`], or refuses. A stream's request carries its [`crate::sessions::OpenCall`] on; single
/// answers are not broken off, or nobody would hear that their own sign-out worked.
pub(crate) async fn require_session(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match request.extensions_mut().remove::<Shown>() {
        Some(Shown::Token(caller)) => caller,
        Some(Shown::Nothing) => {
            request.extensions_mut().insert(Caller::Anonymous);
            return next.run(request).await;
        }
        Some(Shown::Refused(refused)) => return refused.into_response(),
        None => return Refused::SignInRequired.into_response(),
    };
    let streams = request.extensions().get::<Arc<Method>>().is_some_and(|method| method.server_streaming);
    let call = match shared.sessions.enter(&caller).await {
        Ok(call) => call,
        Err(refused) => return refused.into_response(),
    };
    request.extensions_mut().insert(Caller::User(caller));
    if !streams {
        return next.run(request).await;
    }
    let ended = call.ended();
    request.extensions_mut().insert(Arc::new(call));
    tokio::select! {
        response = next.run(request) => response,
        () = ended.cancelled() => Refused::SessionEnded.into_response(),
    }
}
