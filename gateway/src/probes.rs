//! Liveness and readiness probes.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use tokio_util::sync::CancellationToken;

use crate::upstreams::Upstreams;

/// What readiness depends on.
#[derive(Clone)]
pub(crate) struct Readiness {
    upstreams: Arc<Upstreams>,
    draining: CancellationToken,
}

impl Readiness {
    pub(crate) fn new(upstreams: Arc<Upstreams>, draining: CancellationToken) -> Self {
        Self { upstreams, draining }
    }
}

/// GET /healthz: this process is running.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// GET /readyz: all roles are serving and this process is not shutting down.
pub(crate) async fn readyz(State(readiness): State<Readiness>) -> Response {
    let unavailable = readiness.upstreams.unavailable().await;
    let ready = unavailable.is_empty() && !readiness.draining.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": ready, "unavailable": unavailable });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
