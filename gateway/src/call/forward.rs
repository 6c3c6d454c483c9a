//! Forwards a call to the role that serves its method, and the response back, as bytes.

use std::{sync::OnceLock, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header, request::Parts};
use reelmill_mesh::{Caller, Forwarder, Origin};
use tokio_util::sync::CancellationToken;

use super::{
    admit::AuthorizedCall,
    deadline::Deadline,
    framing::FramedBody,
    limited_body::{LimitedBody, ResponseLimits},
    payload::Payload,
    strip_headers,
    typed_layer::Handler,
};
use crate::{
    admission::CallPermit,
    client::ClientOrigins,
    embedded::EmbeddedServices,
    error::CallError,
    methods::{Destination, Method},
    upstreams::Upstream,
};

/// The only role that receives and sets cookies.
const COOKIE_ROLE: &str = "auth";
/// Delay before a call is sent again: the role may be restarting.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Headers about the client's connection or its proxies.
const NOT_FORWARDED: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    header::EXPECT,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-grpc-web"),
];

/// The innermost handler.
pub(crate) struct Forward {
    pub embedded: EmbeddedServices,
    pub origins: ClientOrigins,
    /// Cancelled at shutdown.
    pub draining: CancellationToken,
}

impl Handler<AuthorizedCall> for Forward {
    async fn handle(&self, call: AuthorizedCall) -> Result<Response, CallError> {
        let AuthorizedCall { deadline, method, caller, session, permit, request } = call;
        let limits = ResponseLimits {
            deadline: deadline.response_end(),
            session,
            draining: method.server_streaming.then(|| self.draining.clone()),
        };
        let response = match &method.destination {
            Destination::Embedded => {
                let limit = method.policy.request_limit();
                let framed =
                    request.map(|body| Body::new(FramedBody::new(body, method.client_streaming, limit)));
                self.embedded.call(framed).await
            }
            Destination::Role(upstream) => {
                let origin = self.origins.origin_of(&request);
                forward(upstream, &method, deadline, caller, origin, &permit, request).await?
            }
        };
        let is_kept_alive = method.server_streaming && matches!(method.destination, Destination::Role(_));
        Ok(response.map(|body| Body::new(LimitedBody::new(body, limits, is_kept_alive, permit))))
    }
}

async fn forward(
    upstream: &Upstream,
    method: &Method,
    deadline: Deadline,
    caller: Caller,
    origin: Option<Origin>,
    permit: &CallPermit,
    request: Request,
) -> Result<Response, CallError> {
    let with_cookies = upstream.role() == COOKIE_ROLE;
    let (parts, body) = request.into_parts();
    let body = FramedBody::new(body, method.client_streaming, method.policy.request_limit());
    let fault = body.fault();
    let payload =
        if method.client_streaming { Payload::stream(body) } else { Payload::read(body, permit).await? };
    let head = RequestHead::new(parts, caller, origin, with_cookies)?;
    let attempts = if method.policy.may_retry() { 2 } else { 1 };
    let response = send(&upstream.forwarder(), &head, payload, deadline, attempts, &fault).await?;
    client_response(response, upstream.role(), with_cookies)
}

/// Sends a call. Repeats it if it may be repeated and the role could not be reached.
async fn send(
    forwarder: &Forwarder,
    head: &RequestHead,
    mut payload: Payload<'_>,
    deadline: Deadline,
    attempts: u32,
    fault: &OnceLock<CallError>,
) -> Result<http::Response<tonic::body::Body>, CallError> {
    let mut attempts_left = attempts;
    loop {
        attempts_left -= 1;
        let (body, copy) = payload.into_body();
        // The mesh carries whole milliseconds, and 0 would be no time at all.
        let timeout = deadline.remaining().max(Duration::from_millis(1));
        let sent = forwarder.forward(head.request(body), &head.caller, head.origin.as_ref(), timeout).await;
        // A malformed request body is the reason for any other error.
        if let Some(error) = fault.get() {
            return Err(error.clone());
        }
        match (sent, copy) {
            (Ok(response), _) => return Ok(response),
            (Err(error), Some(copy)) if attempts_left > 0 => {
                tracing::debug!(cause = ?error, "a role is unreachable; trying once more");
                payload = copy;
                tokio::time::sleep(RETRY_DELAY).await;
            }
            (Err(error), _) => {
                tracing::warn!(cause = ?error, path = head.uri.path(), "a role is unreachable");
                return Err(CallError::ServiceUnavailable);
            }
        }
    }
}

/// A forwarded request without its body.
struct RequestHead {
    uri: Uri,
    headers: HeaderMap,
    caller: Caller,
    origin: Option<Origin>,
}

impl RequestHead {
    fn new(
        parts: Parts,
        caller: Caller,
        origin: Option<Origin>,
        with_cookies: bool,
    ) -> Result<Self, CallError> {
        let mut headers = parts.headers;
        for name in NOT_FORWARDED {
            headers.remove(name);
        }
        // gRPC requires it, but it was removed from native calls as a hop-by-hop header.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if !with_cookies {
            headers.remove(header::COOKIE);
        }
        let uri = parts.uri.path().parse().map_err(|_| CallError::MethodUnknown)?;
        Ok(Self { uri, headers, caller, origin })
    }

    fn request(&self, body: tonic::body::Body) -> http::Request<tonic::body::Body> {
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A role's response without headers that are not for clients.
fn client_response(
    response: http::Response<tonic::body::Body>,
    role: &str,
    with_cookies: bool,
) -> Result<Response, CallError> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if response.status() != StatusCode::OK || !is_grpc {
        tracing::warn!(role, status = %response.status(), "the server at a role's address does not speak gRPC");
        return Err(CallError::ServiceUnavailable);
    }
    let mut response = response.map(Body::new);
    let headers = response.headers_mut();
    strip_headers::remove_hop_by_hop(headers);
    strip_headers::remove_internal(headers);
    headers.remove(header::CONTENT_LENGTH);
    if !with_cookies {
        headers.remove(header::SET_COOKIE);
    }
    Ok(response)
}
