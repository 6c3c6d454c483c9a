//! Boundary between HTTP requests and typed calls.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::{IntoResponse as _, Response},
};
use tower::Service;

use super::typed_layer::Handler;
use crate::error::CallError;

/// A native gRPC call.
pub(super) struct IncomingCall {
    /// The other end of the connection.
    pub(super) peer: SocketAddr,
    pub(super) request: Request,
}

/// Tower service that passes requests to a [`Handler`] of typed calls and turns its errors into responses.
pub(super) struct GrpcService<H> {
    handler: Arc<H>,
}

impl<H> GrpcService<H> {
    pub(super) fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler) }
    }
}

impl<H> Clone for GrpcService<H> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone() }
    }
}

impl<H: Handler<IncomingCall>> Service<http::Request<tonic::body::Body>> for GrpcService<H> {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let handler = self.handler.clone();
        Box::pin(async move {
            let handled = match peer(&request) {
                Ok(peer) => handler.handle(IncomingCall { peer, request: request.map(Body::new) }).await,
                Err(error) => Err(error),
            };
            Ok(handled.unwrap_or_else(CallError::into_response))
        })
    }
}

/// The address that the server attached to the request.
fn peer<B>(request: &http::Request<B>) -> Result<SocketAddr, CallError> {
    let Some(ConnectInfo(peer)) = request.extensions().get() else {
        tracing::error!(
            "the request has no peer address: the gateway runs behind a server other than its own"
        );
        return Err(CallError::Internal);
    };
    Ok(*peer)
}

#[cfg(test)]
mod tests {
    use reelmill_mesh::reason_of;
    use tower::ServiceExt as _;

    use super::*;

    struct Unreachable;

    impl Handler<IncomingCall> for Unreachable {
        async fn handle(&self, _: IncomingCall) -> Result<Response, CallError> {
            unreachable!("the call has no peer address")
        }
    }

    #[tokio::test]
    async fn call_without_a_peer_address_ends_with_internal() {
        let request = http::Request::new(tonic::body::Body::empty());
        let response = GrpcService::new(Unreachable).oneshot(request).await.unwrap();
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), tonic::Code::Internal);
        assert_eq!(reason_of(&status).as_deref(), Some("INTERNAL"));
    }
}
