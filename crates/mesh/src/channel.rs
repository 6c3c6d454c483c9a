//! gRPC clients for calls from one role to another.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header::InvalidHeaderValue};
use tonic::{
    body::Body,
    transport::{Channel as Transport, Error},
};
use tower::{Service, ServiceExt as _};

use crate::{
    deadline, headers,
    identity::{Caller, MeshKey, Origin, UserSession},
    status::{self, RpcError},
    transport::transport,
};

/// Size limit of request headers between roles. Far more than the gateway accepts from clients (32 KiB): HTTP/2 closes
/// the whole connection, with the calls of all clients, when one call's compressed headers are too large.
pub(crate) const MAX_HEADER_BYTES: u32 = 256 << 10;

/// Connection to a role, opened at the first call and reopened when lost. Clones share it.
#[derive(Clone)]
struct Connection {
    transport: Transport,
    key: HeaderValue,
}

/// Client for a role's own calls to another role, over TCP or a Unix socket. Adds the mesh key and the calling role's
/// name, and enforces the timeout.
#[derive(Clone)]
pub struct Channel {
    connection: Connection,
    caller: HeaderValue,
}

/// Client that forwards calls of others to a role. Every call names its caller.
#[derive(Clone)]
pub struct Forwarder {
    connection: Connection,
}

/// An address that is malformed or unsupported.
#[derive(Debug, thiserror::Error)]
#[error("{address}: not an address of a role (http://HOST:PORT or unix:///PATH): {cause}")]
pub struct BadAddress {
    address: String,
    cause: String,
}

impl Channel {
    /// A channel to the role at `address` (`http://HOST:PORT` or `unix:///PATH`) for calls by the role named
    /// `own_role`.
    pub fn lazy(address: &str, key: &MeshKey, own_role: &str) -> Result<Self, BadAddress> {
        let bad = |cause: String| BadAddress { address: address.to_owned(), cause };
        let caller = caller_header(&Caller::Service(own_role.to_owned()));
        Ok(Self {
            connection: Connection {
                transport: transport(address).map_err(|error| bad(error.to_string()))?,
                key: HeaderValue::from_str(key.expose()).map_err(|error| bad(error.to_string()))?,
            },
            caller: caller.map_err(|error| bad(error.to_string()))?,
        })
    }

    /// The same connection for calls on behalf of a user, as the gateway forwards them.
    #[must_use]
    pub fn on_behalf_of(&self, user: UserSession) -> Self {
        // An id has no characters that a header can't have.
        let caller = caller_header(&Caller::User(user)).unwrap_or_else(|_| self.caller.clone());
        Self { connection: self.connection.clone(), caller }
    }

    /// A forwarder to the same role over the same connection.
    pub fn forwarder(&self) -> Forwarder {
        Forwarder { connection: self.connection.clone() }
    }
}

impl Forwarder {
    /// Forwards a call on behalf of `caller`. Returns DEADLINE_EXCEEDED as a response after `timeout`.
    ///
    /// # Errors
    /// When the role cannot be reached.
    pub async fn forward(
        &self,
        mut request: Request<Body>,
        caller: &Caller,
        origin: Option<&Origin>,
        timeout: Duration,
    ) -> Result<Response<Body>, Error> {
        let origin = origin.map(|origin| HeaderValue::from_str(&origin.0)).transpose();
        let (caller, origin) = match (caller_header(caller), origin) {
            (Ok(caller), Ok(origin)) => (caller, origin),
            (Err(error), _) | (_, Err(error)) => {
                return Ok(RpcError::internal(&error).to_status().into_http());
            }
        };
        if let Some(origin) = origin {
            request.headers_mut().insert(headers::ORIGIN, origin);
        }
        self.connection.clone().call(request, caller, timeout).await
    }
}

impl Connection {
    async fn call(
        self,
        mut request: Request<Body>,
        caller: HeaderValue,
        timeout: Duration,
    ) -> Result<Response<Body>, Error> {
        let Self { transport, key } = self;
        deadline::set(request.headers_mut(), timeout);
        request.headers_mut().insert(headers::KEY, key);
        request.headers_mut().insert(headers::CALLER, caller);
        match tokio::time::timeout(timeout, transport.oneshot(request)).await {
            Ok(response) => response,
            Err(_) => Ok(status::deadline_exceeded().to_status().into_http()),
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.connection.transport, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let timeout = deadline::take_grpc_timeout(request.headers_mut()).unwrap_or(deadline::DEFAULT_TIMEOUT);
        // The transport that was polled ready is the one to call.
        let unpolled = self.connection.clone();
        let ready = std::mem::replace(&mut self.connection, unpolled);
        Box::pin(ready.call(request, self.caller.clone(), timeout))
    }
}

fn caller_header(caller: &Caller) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_str(&caller.to_header())
}
