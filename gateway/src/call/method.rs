//! Finds out what the contract says of the method.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{error::Refused, gateway::Shared};

/// Puts the method into the request's extensions; unknown and internal ones look the same from outside.
pub(crate) async fn look_up(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let Some(method) = shared.methods.get(request.uri().path()) else {
        return Refused::MethodUnknown.into_response();
    };
    request.extensions_mut().insert(method);
    next.run(request).await
}
