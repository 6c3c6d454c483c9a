//! What every call into a role passes before its handler, as one tower layer.

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
use reelmill_proto::{Policies, Reason, options::Access};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};
use tracing::Instrument as _;

use crate::{Caller, MeshKey, RpcError, body::DrainingBody, deadline, headers, identity, status};

/// Handlers that may run at once in one role; calls beyond are refused at once.
const MAX_RUNNING: usize = 2048;

/// What the layer knows of its server.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub key: MeshKey,
    pub policies: Arc<Policies>,
    pub shutdown: CancellationToken,
    running: Arc<Semaphore>,
}

impl Entrance {
    pub(crate) fn new(key: MeshKey, policies: Arc<Policies>, shutdown: CancellationToken) -> Self {
        Self { key, policies, shutdown, running: Arc::new(Semaphore::new(MAX_RUNNING)) }
    }

    /// Says who calls, if they may: health and reflection are open, everything else needs the
    /// mesh key, and what the contract says of the method is checked here again, behind the gateway.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(), RpcError> {
        let path = request.uri().path();
        if path.starts_with("/grpc.health.") || path.starts_with("/grpc.reflection.") {
            return Ok(());
        }
        let (caller, origin) = identity::admit(&self.key, request.headers())?;
        let access = self.policies.get(path).map(reelmill_proto::MethodPolicy::access);
        match (access, &caller) {
            (None, _) => return Err(status::method_unknown()),
            (Some(Access::Public), _) | (Some(_), Caller::Service(_)) => {}
            (Some(Access::SignedIn), Caller::User(_)) => {}
            (Some(Access::SignedIn), _) => caller.user().map(|_| ())?,
            (Some(Access::Internal | Access::Unspecified), _) => return Err(status::method_unknown()),
        }
        request.extensions_mut().insert(caller);
        if let Some(origin) = origin {
            request.extensions_mut().insert(origin);
        }
        Ok(())
    }
}

impl<S> tower::Layer<S> for Entrance {
    type Service = Entered<S>;

    fn layer(&self, inner: S) -> Entered<S> {
        Entered { inner, entrance: self.clone() }
    }
}

/// A service behind the entrance.
#[derive(Clone)]
pub(crate) struct Entered<S> {
    inner: S,
    entrance: Entrance,
}

impl<S> tower::Service<Request<Body>> for Entered<S>
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
        let bound = deadline::read(request.headers()).unwrap_or(deadline::DEFAULT);
        let entrance = self.entrance.clone();
        // The clone that was polled ready is the one to call.
        let standby = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, standby);
        let answer = async move {
            if let Err(refusal) = entrance.admit(&mut request) {
                return refuse(&refusal);
            }
            let Ok(_running) = entrance.running.try_acquire() else {
                return refuse(&overloaded());
            };
            let response = bounded(bound, inner.call(request)).await;
            response.map(|body| Body::new(DrainingBody::new(body, entrance.shutdown.clone())))
        };
        Box::pin(
            async move {
                let mut response = answer.await;
                if let Ok(value) = HeaderValue::from_str(&request_id) {
                    response.headers_mut().insert(headers::REQUEST_ID, value);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

/// Runs a handler within its bound; a panic or a bare status leaves as a rich status.
async fn bounded<F>(bound: Duration, handler: F) -> Response<Body>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    match tokio::time::timeout(bound, AssertUnwindSafe(handler).catch_unwind()).await {
        Err(_) => refuse(&status::deadline_exceeded()),
        Ok(Err(panic)) => refuse(&RpcError::internal(&panic_message(panic.as_ref()))),
        Ok(Ok(Ok(response))) => described(response),
    }
}

/// Gives errors that tonic made by itself their reason.
fn described(response: Response<Body>) -> Response<Body> {
    let bare = Status::from_header_map(response.headers()).and_then(|status| status::describe_bare(&status));
    match bare {
        Some(refusal) => refuse(&refusal),
        None => response,
    }
}

fn refuse(refusal: &RpcError) -> Response<Body> {
    refusal.to_status().into_http()
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
