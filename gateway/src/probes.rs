//! Liveness and readiness probes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use reelmill_platform::{
    objects::{Objects, ObjectsError},
    shared_state::SessionCache,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::upstreams::Upstreams;

/// Time that a dependency gets to answer.
const DEPENDENCY_TIMEOUT: Duration = Duration::from_secs(2);
/// A key that neither an object nor a session has.
const UNUSED_KEY: &str = "readiness";

/// What readiness depends on.
#[derive(Clone)]
pub(crate) struct Readiness {
    upstreams: Arc<Upstreams>,
    session_cache: Arc<dyn SessionCache>,
    objects: Objects,
    /// Whether all dependencies were available at once before. From then on their outages are shown, but do not make this
    /// process unready: it serves what does not need them.
    has_been_ready: Arc<AtomicBool>,
    draining: CancellationToken,
}

impl Readiness {
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        session_cache: Arc<dyn SessionCache>,
        objects: Objects,
        draining: CancellationToken,
    ) -> Self {
        Self { upstreams, session_cache, objects, has_been_ready: Arc::default(), draining }
    }

    /// Names of the dependencies of all roles that do not answer.
    async fn unavailable_dependencies(&self) -> Vec<&'static str> {
        let shared_state = timeout(DEPENDENCY_TIMEOUT, self.session_cache.get(UNUSED_KEY));
        let object_store = timeout(DEPENDENCY_TIMEOUT, self.objects.head(UNUSED_KEY));
        let (shared_state, object_store) = tokio::join!(shared_state, object_store);
        let states = [
            ("shared_state", matches!(shared_state, Ok(Ok(_)))),
            // It may be forbidden to ask for an object that does not exist; the answer is enough.
            ("object_store", matches!(object_store, Ok(Ok(_) | Err(ObjectsError::Rejected { .. })))),
        ];
        states.into_iter().filter(|(_, is_available)| !is_available).map(|(name, _)| name).collect()
    }
}

/// GET /healthz: this process is running.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// GET /readyz: all roles are serving, this process is not shutting down, and the dependencies have been there.
pub(crate) async fn readyz(State(readiness): State<Readiness>) -> Response {
    let (roles, dependencies) =
        tokio::join!(readiness.upstreams.unavailable(), readiness.unavailable_dependencies());
    if dependencies.is_empty() {
        readiness.has_been_ready.store(true, Ordering::Relaxed);
    }
    let have_been_there = readiness.has_been_ready.load(Ordering::Relaxed);
    let ready = roles.is_empty() && have_been_there && !readiness.draining.is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let unavailable: Vec<&str> = roles.into_iter().chain(dependencies).collect();
    let body = serde_json::json!({ "ready": ready, "unavailable": unavailable });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
