//! The way from one role to another.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tonic::{
    body::Body,
    transport::{Channel as Transport, Endpoint},
};
use tower::Service;

use crate::{Caller, MeshKey, Origin, deadline, headers, status};

/// A lazily connected, cheaply cloned way to one role, over TCP or a Unix socket. It shows the mesh
/// key, says on whose behalf it calls, and keeps deadlines.
#[derive(Clone)]
pub struct Channel {
    transport: Transport,
    key: HeaderValue,
    caller: Option<HeaderValue>,
}

/// An address that can't be called.
#[derive(Debug, thiserror::Error)]
#[error("{address}: not an address of a role (http://HOST:PORT or unix:///PATH): {cause}")]
pub struct BadAddress {
    address: String,
    cause: String,
}

impl Channel {
    /// A way to the role at `address` (`http://HOST:PORT` or `unix:///PATH`) for the role named
    /// `service`. Nothing is connected before the first call, and a lost connection is made again.
    pub fn lazy(address: &str, key: &MeshKey, service: &str) -> Result<Self, BadAddress> {
        let caller = Caller::Service(service.to_owned());
        let caller = caller_header(&caller).map_err(|error| BadAddress::new(address, &error))?;
        Ok(Self { caller: Some(caller), ..Self::forwarder(address, key)? })
    }

    /// A way to the role at `address` that calls for others: each request carries its [`Caller`] and
    /// [`Origin`] in its extensions, and one without a caller is anonymous.
    pub fn forwarder(address: &str, key: &MeshKey) -> Result<Self, BadAddress> {
        let transport = transport(address).map_err(|error| BadAddress::new(address, &error))?;
        let key = HeaderValue::from_str(key.expose()).map_err(|error| BadAddress::new(address, &error))?;
        Ok(Self { transport, key, caller: None })
    }

    /// The caller to name: this role itself, or whom the request is forwarded for.
    fn caller_of(&self, request: &Request<Body>) -> HeaderValue {
        let anonymous = || HeaderValue::from_static("anonymous");
        let forwarded = || request.extensions().get::<Caller>().and_then(|caller| caller_header(caller).ok());
        self.caller.clone().or_else(forwarded).unwrap_or_else(anonymous)
    }
}

impl BadAddress {
    fn new(address: &str, cause: &dyn std::fmt::Display) -> Self {
        Self { address: address.to_owned(), cause: cause.to_string() }
    }
}

fn caller_header(caller: &Caller) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::from_str(&caller.to_header())
}

/// How many bytes of headers a role takes. Far more than the gateway lets in from outside (32 KiB): HTTP/2
/// ends the whole connection, everybody's calls with it, when one call's compressed headers are too many.
pub(crate) const MAX_HEADERS: u32 = 256 << 10;

/// A lazy connection to a role, as every caller in the mesh sets it up.
pub fn transport(address: &str) -> Result<Transport, tonic::transport::Error> {
    Ok(Endpoint::from_shared(address.to_owned())?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20)
        .tcp_nodelay(true)
        .http2_max_header_list_size(MAX_HEADERS)
        .connect_lazy())
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.transport, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let bound = deadline::take_grpc_timeout(request.headers_mut()).unwrap_or(deadline::DEFAULT);
        deadline::put(request.headers_mut(), bound);
        let caller = self.caller_of(&request);
        let origin = request.extensions().get::<Origin>();
        if let Some(origin) = origin.and_then(|origin| HeaderValue::from_str(&origin.0).ok()) {
            request.headers_mut().insert(headers::ORIGIN, origin);
        }
        request.headers_mut().insert(headers::KEY, self.key.clone());
        request.headers_mut().insert(headers::CALLER, caller);
        let call = self.transport.call(request);
        Box::pin(async move {
            match tokio::time::timeout(bound, call).await {
                Ok(answer) => answer,
                Err(_) => Ok(status::deadline_exceeded().to_status().into_http()),
            }
        })
    }
}
