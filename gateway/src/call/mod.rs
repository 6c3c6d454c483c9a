//! The way of one call, from the client to the role that answers it.
//!
//! The column in [`route`] is read downwards by a request and upwards by its answer. What one layer finds
//! out, the next ones find in the request's extensions: [`crate::contract::Method`], [`identify::Shown`],
//! [`reelmill_mesh::Caller`], [`deadline::Deadline`].

mod cors;
mod deadline;
mod format;
mod forward;
mod framing;
mod guarded_body;
mod identify;
mod limit;
mod lookup;
mod replay;
mod scrub;
mod session;

use std::sync::Arc;

use axum::{
    body::Body,
    middleware::{from_fn, from_fn_with_state as with_state},
    routing::{MethodRouter, post},
};
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;

use crate::{GatewayError, gateway::Shared};

/// The route of `/{service}/{method}`.
pub(crate) fn route(shared: &Arc<Shared>) -> Result<MethodRouter<Arc<Shared>>, GatewayError> {
    let state = || shared.clone();
    let column = ServiceBuilder::new()
        // Nobody outside speaks for a role, and no header of one connection leaks into the next.
        .layer(from_fn(scrub::scrub))
        // Outside of gRPC-web, so that browsers may read refusals too.
        .layer(cors::layer(&shared.config)?)
        // tonic-web answers 400 without a word to what is no gRPC at all.
        .layer(from_fn(format::check_format))
        // From here on every call is plain gRPC.
        .layer(GrpcWebLayer::new())
        .map_request(|request: http::Request<tonic::body::Body>| request.map(Body::new))
        // The time runs from here, whatever the call waits for.
        .layer(from_fn(deadline::bound))
        // What the contract says of the method; internal ones don't exist out here.
        .layer(with_state(state(), lookup::look_up))
        // Whom the token speaks for, if it is genuine: a matter of arithmetic, so it comes before the limit...
        .layer(with_state(state(), identify::identify))
        // ...which is per user for genuine tokens and per address for everything else.
        .layer(with_state(state(), limit::limit))
        // Only genuine tokens of living sessions get further, where a method wants them.
        .layer(with_state(state(), session::require_session));
    Ok(post(forward::forward).layer(column))
}
