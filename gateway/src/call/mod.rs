//! gRPC calls: the layers from the client to the role that serves the method.
//!
//! A request passes the column in [`service`] downwards, its response upwards. The outer layers work on HTTP requests.
//! The inner ones are typed: each takes what the layer above it produces, so that a missing or misplaced layer does not
//! compile. The stages are [`grpc_service::IncomingCall`], [`method::KnownCall`], [`deadline::TimedCall`],
//! [`authenticate::IdentifiedCall`] and [`admit::AuthorizedCall`].

mod admit;
mod authenticate;
mod cors;
mod deadline;
mod format;
mod forward;
mod framing;
mod grpc_service;
mod limited_body;
mod method;
mod payload;
mod strip_headers;
mod typed_layer;

use std::convert::Infallible;

use axum::{extract::Request, middleware::from_fn, response::Response};
use tonic_web::GrpcWebLayer;
use tower::{Service, ServiceBuilder, layer::layer_fn};
use tower_http::cors::CorsLayer;

use crate::{methods::MethodTable, tokens::TokenVerifier};
use authenticate::AuthenticateLayer;
use deadline::DeadlineLayer;
use grpc_service::GrpcService;
use method::MethodLayer;
use typed_layer::typed;

pub(crate) use admit::AdmitLayer;
pub(crate) use cors::layer as cors;
pub(crate) use forward::Forward;

/// The service of `/{service}/{method}`.
pub(crate) fn service(
    cors: CorsLayer,
    methods: MethodTable,
    tokens: TokenVerifier,
    admit: AdmitLayer,
    forward: Forward,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
    ServiceBuilder::new()
        // First, so that no client can send the headers by which roles authenticate, and no layer below sees
        // headers of the client's connection.
        .map_request(strip_headers::strip_request)
        // Outside of gRPC-web, so that browsers can read errors too.
        .layer(cors)
        // Before gRPC-web, because tonic-web's own error for other formats is a bare 400.
        .layer(from_fn(format::check_format))
        // Below this layer every call is native gRPC.
        .layer(GrpcWebLayer::new())
        // Below this layer calls are typed. Their errors become responses here.
        .layer(layer_fn(GrpcService::new))
        // The policy of the method decides what the layers below require. Internal methods are unknown here.
        .layer(typed(MethodLayer { methods }))
        // Above everything that waits, so that the deadline covers the whole call.
        .layer(typed(DeadlineLayer))
        // Before the limits, which are per user for valid tokens. Verification is local and cheap.
        .layer(typed(AuthenticateLayer { tokens }))
        // Limits, and the session. Invalid tokens count against the address, and are rejected only then.
        .layer(typed(admit))
        .service(forward)
}
