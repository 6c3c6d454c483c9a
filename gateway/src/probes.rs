//! Whether the gateway and what is behind it are well; and what it serves over gRPC by itself.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use http::{StatusCode, header};
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::{
    GatewayError,
    contract::{Methods, public_descriptors},
    gateway::Shared,
};

/// GET /healthz: this process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// GET /readyz: every role behind it answers that it is well.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let unwell = shared.upstreams.unwell().await;
    let ready = unwell.is_empty() && !shared.draining.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": ready, "unwell": unwell });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// grpc.health.v1 and grpc.reflection (v1, and v1alpha for older tools), the latter of what outsiders may call.
pub(crate) struct OwnServices {
    routes: axum::Router,
}

impl OwnServices {
    pub(crate) fn new(methods: &Methods) -> Result<Self, GatewayError> {
        // It answers for itself: that it serves these. Whether the roles behind it are well, /readyz tells.
        let (reporter, health) = tonic_health::server::health_reporter();
        for service in methods.public_services() {
            // Nobody else holds the reporter's lock yet, so this is done at once.
            let _ = reporter.set_service_status(service, tonic_health::ServingStatus::Serving).now_or_never();
        }
        let public = public_descriptors(methods)?;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(&public)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let broken = |error: tonic_reflection::server::Error| GatewayError::Contract(error.to_string());
        let routes = Routes::new(health)
            .add_service(reflection().build_v1().map_err(broken)?)
            .add_service(reflection().build_v1alpha().map_err(broken)?);
        Ok(Self { routes: routes.prepare().into_axum_router() })
    }

    pub(crate) async fn call(&self, request: Request) -> Response {
        let answer: Result<Response, Infallible> = self.routes.clone().oneshot(request).await;
        answer.unwrap_or_else(|never| match never {})
    }
}
