//! Sends a call to the role that answers it, and its answer back, as bytes.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header, request::Parts};
use reelmill_mesh::{Caller, Channel, Origin};
use tower::ServiceExt as _;

use crate::{
    call::{
        deadline::Deadline,
        framing::FramedBody,
        guarded_body::{Ends, GuardedBody},
        replay::Payload,
        scrub,
    },
    client,
    contract::{Home, Method},
    error::Refused,
    gateway::Shared,
    sessions::OpenCall,
};

/// The only role that gets and sets cookies.
const COOKIE_ROLE: &str = "auth";
/// A role that restarts needs a moment before the second try.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Headers that say something of the client's own connection, or of how it came.
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
pub(crate) async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let extensions = request.extensions();
    let (Some(method), Some(deadline)) =
        (extensions.get::<Arc<Method>>().cloned(), extensions.get::<Deadline>().copied())
    else {
        return Refused::MethodUnknown.into_response();
    };
    let ends = Ends {
        deadline: deadline.end(),
        session: extensions.get::<Arc<OpenCall>>().cloned(),
        draining: method.server_streaming.then(|| shared.draining.clone()),
    };
    let answer = match &method.home {
        Home::Gateway => Ok(shared.own_services.call(request).await),
        Home::Role(role) => send(&shared, role, &method, deadline, request).await,
    };
    match answer {
        Ok(response) => response.map(|body| Body::new(GuardedBody::new(body, ends))),
        Err(refused) => refused.into_response(),
    }
}

async fn send(
    shared: &Shared,
    role: &str,
    method: &Method,
    deadline: Deadline,
    request: Request,
) -> Result<Response, Refused> {
    let channel = shared.upstreams.get(role).ok_or(Refused::ServiceUnavailable)?;
    let origin = client::origin_of(&request, &shared.config);
    let (parts, body) = request.into_parts();
    let body = FramedBody::new(body, method.client_streaming);
    let fault = body.fault();
    let payload = if method.client_streaming { Payload::pass(body) } else { Payload::gather(body).await? };
    let head = Head::of(&parts, role, origin)?;
    let tries = if method.policy.may_retry() { 2 } else { 1 };
    let response = attempt(channel, &head, payload, deadline, tries, &fault).await?;
    answered(response, role)
}

/// Sends the call, and once more if it may be repeated and the role could not be reached.
async fn attempt(
    channel: Channel,
    head: &Head,
    mut payload: Payload,
    deadline: Deadline,
    tries: u32,
    fault: &OnceLock<Refused>,
) -> Result<http::Response<tonic::body::Body>, Refused> {
    let mut tries_left = tries;
    loop {
        tries_left -= 1;
        let (body, again) = payload.take();
        let sent = channel.clone().oneshot(head.with(body, deadline)).await;
        // A body that turned out malformed is why the call failed, whatever the role made of it.
        if let Some(refused) = fault.get() {
            return Err(refused.clone());
        }
        match (sent, again) {
            (Ok(response), _) => return Ok(response),
            (Err(error), Some(held)) if tries_left > 0 => {
                tracing::debug!(cause = ?error, "a role can't be reached; trying once more");
                payload = held;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            (Err(error), _) => {
                tracing::warn!(cause = ?error, path = head.uri.path(), "a role can't be reached");
                return Err(Refused::ServiceUnavailable);
            }
        }
    }
}

/// What a role is told of a call besides its messages.
struct Head {
    uri: Uri,
    headers: HeaderMap,
    caller: Caller,
    origin: Option<Origin>,
}

impl Head {
    fn of(parts: &Parts, role: &str, origin: Option<Origin>) -> Result<Self, Refused> {
        let mut headers = parts.headers.clone();
        for name in NOT_FORWARDED {
            headers.remove(name);
        }
        // tonic-web has put it back for gRPC-web; native calls lost it as a hop-by-hop header.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if role != COOKIE_ROLE {
            headers.remove(header::COOKIE);
        }
        Ok(Self {
            uri: parts.uri.path().parse().map_err(|_| Refused::MethodUnknown)?,
            headers,
            caller: parts.extensions.get().cloned().unwrap_or(Caller::Anonymous),
            origin,
        })
    }

    fn with(&self, body: tonic::body::Body, deadline: Deadline) -> http::Request<tonic::body::Body> {
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let left = deadline.left().as_millis().clamp(1, 99_999_999);
        if let Ok(timeout) = HeaderValue::from_str(&format!("{left}m")) {
            request.headers_mut().insert("grpc-timeout", timeout);
        }
        request.extensions_mut().insert(self.caller.clone());
        if let Some(origin) = &self.origin {
            request.extensions_mut().insert(origin.clone());
        }
        request
    }
}

/// Makes a role's answer one of ours.
fn answered(response: http::Response<tonic::body::Body>, role: &str) -> Result<Response, Refused> {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_grpc = content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if response.status() != StatusCode::OK || !is_grpc {
        tracing::warn!(role, status = %response.status(), "what answers at a role's address is no role");
        return Err(Refused::ServiceUnavailable);
    }
    let mut response = response.map(Body::new);
    let headers = response.headers_mut();
    scrub::remove_hop_by_hop(headers);
    scrub::remove_internal(headers);
    headers.remove(header::CONTENT_LENGTH);
    if role != COOKIE_ROLE {
        headers.remove(header::SET_COOKIE);
    }
    Ok(response)
}
