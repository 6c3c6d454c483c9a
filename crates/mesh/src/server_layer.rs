//! Tower layer in front of every handler of a role: authentication, access policy, concurrency limit, timeout, rich
//! errors.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt as _;
use http::{HeaderValue, Request, Response};
use reelmill_proto::{MethodPolicy, Policies, Reason, options::Access};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};
use tracing::Instrument as _;

use crate::{
    body::DrainingBody,
    deadline, headers,
    identity::{self, Caller, MeshKey},
    status::{self, RpcError},
};

/// Handlers that may run at once in one role. Further calls are rejected.
const MAX_RUNNING_HANDLERS: usize = 2048;

/// The layer. Clones share the concurrency limit.
#[derive(Clone)]
pub(crate) struct ServerLayer {
    key: MeshKey,
    policies: Arc<Policies>,
    shutdown: CancellationToken,
    running: Arc<Semaphore>,
}

impl ServerLayer {
    pub(crate) fn new(key: MeshKey, policies: Arc<Policies>, shutdown: CancellationToken) -> Self {
        Self { key, policies, shutdown, running: Arc::new(Semaphore::new(MAX_RUNNING_HANDLERS)) }
    }

    /// Authenticates a call, checks the method's access policy (again, after the gateway), and adds [`Caller`] and
    /// [`crate::Origin`] to its extensions. Health and reflection are open to everyone.
    fn authorize<B>(&self, request: &mut Request<B>) -> Result<(), RpcError> {
        let path = request.uri().path();
        if path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.") {
            return Ok(());
        }
        let (caller, origin) = identity::authenticate(&self.key, request.headers())?;
        let policy = self.policies.get(path).ok_or_else(status::method_unknown)?;
        match (policy.access(), &caller) {
            (_, Caller::Service(role)) if policy.admits(role) => {}
            (_, Caller::Service(role)) => return Err(caller_not_allowed(role, path)),
            (Access::Public, _) => {}
            // Called for its error if this caller is not a user.
            (Access::SignedIn, _) => caller.user().map(|_| ())?,
            (Access::Internal | Access::Unspecified, _) => return Err(status::method_unknown()),
        }
        request.extensions_mut().insert(caller);
        if let Some(origin) = origin {
            request.extensions_mut().insert(origin);
        }
        Ok(())
    }
}

impl<S> tower::Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        ServerService { inner, layer: self.clone() }
    }
}

/// A service wrapped by [`ServerLayer`].
#[derive(Clone)]
pub(crate) struct ServerService<S> {
    inner: S,
    layer: ServerLayer,
}

impl<S> tower::Service<Request<Body>> for ServerService<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let request_id = request_id(&request);
        let span = tracing::info_span!("call", path = %request.uri().path(), request_id);
        let longest = self.layer.policies.get(request.uri().path()).map(MethodPolicy::longest_deadline);
        let timeout = deadline::read(request.headers()).unwrap_or(deadline::DEFAULT_TIMEOUT);
        let timeout = timeout.min(longest.unwrap_or(deadline::DEFAULT_TIMEOUT));
        let layer = self.layer.clone();
        // The clone that was polled ready is the one to call.
        let unpolled = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unpolled);
        let response = async move {
            if let Err(error) = layer.authorize(&mut request) {
                return error_response(&error);
            }
            let Ok(_running) = layer.running.try_acquire() else {
                return error_response(&overloaded());
            };
            let response = run_handler(timeout, inner.call(request)).await;
            response.map(|body| Body::new(DrainingBody::new(body, layer.shutdown.clone())))
        };
        Box::pin(
            async move {
                let mut response = response.await;
                if let Ok(value) = HeaderValue::from_str(&request_id) {
                    response.headers_mut().insert(headers::REQUEST_ID, value);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

/// Runs a handler with a timeout. A panic, or an error without a reason, becomes a rich status.
async fn run_handler<F>(timeout: Duration, handler: F) -> Response<Body>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    match tokio::time::timeout(timeout, AssertUnwindSafe(handler).catch_unwind()).await {
        Err(_) => error_response(&status::deadline_exceeded()),
        Ok(Err(panic)) => error_response(&RpcError::internal(&panic_message(panic.as_ref()))),
        Ok(Ok(Ok(response))) => with_reason(response),
    }
}

/// Adds a reason to an error that tonic itself created.
fn with_reason(response: Response<Body>) -> Response<Body> {
    let error = Status::from_header_map(response.headers()).and_then(|status| status::add_reason(&status));
    match error {
        Some(error) => error_response(&error),
        None => response,
    }
}

fn error_response(error: &RpcError) -> Response<Body> {
    error.to_status().into_http()
}

fn caller_not_allowed(role: &str, path: &str) -> RpcError {
    tracing::warn!(role, path, "a role called a method that it may not call");
    RpcError::new(
        Code::PermissionDenied,
        Reason::CallerNotAllowed,
        format!("the role {role} may not call {path}"),
    )
}

fn overloaded() -> RpcError {
    RpcError::new(Code::ResourceExhausted, Reason::Overloaded, "too many calls at once; try again")
        .retry_after(Duration::from_secs(1))
}

fn request_id<B>(request: &Request<B>) -> String {
    let given = request.headers().get(headers::REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(id) if !id.is_empty() && id.len() <= 64 => id.to_owned(),
        _ => uuid::Uuid::now_v7().simple().to_string(),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a handler panicked".to_owned())
}
