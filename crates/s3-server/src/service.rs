//! The HTTP service: CORS, and checks and corrections of requests before s3s handles them, and of
//! responses.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use s3s::{Body, dto::Range, service::S3Service};
use tower::{Layer as _, Service};
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer};

use crate::checksum::Algorithm;

/// Time for which a browser may cache the response to a preflight request.
const CORS_MAX_AGE: Duration = Duration::from_secs(3600);

/// The object store as a `tower` service.
pub type ObjectService = Cors<S3HttpService>;

/// s3s's service, made infallible. Checks and corrects requests first.
#[derive(Clone)]
pub struct S3HttpService {
    s3: S3Service,
}

/// Adds CORS, outside authentication: a preflight request carries no signature. `None` allows every
/// origin.
pub(crate) fn with_cors(s3: S3Service, origins: Option<&[HeaderValue]>) -> ObjectService {
    let origins = match origins {
        None => AllowOrigin::any(),
        Some(list) => AllowOrigin::list(list.iter().cloned()),
    };
    let checksums = Algorithm::ALL.into_iter().map(|a| HeaderName::from_static(a.header()));
    let exposed = [
        header::ETAG,
        header::LAST_MODIFIED,
        header::ACCEPT_RANGES,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        HeaderName::from_static("x-amz-checksum-type"),
        HeaderName::from_static("x-amz-mp-parts-count"),
    ];
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.into_iter().chain(checksums).collect::<Vec<_>>())
        .max_age(CORS_MAX_AGE)
        .layer(S3HttpService { s3 })
}

impl<B> Service<Request<B>> for S3HttpService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // s3s would buffer a form upload in memory before it authenticates the caller.
        if is_form_upload(&request) {
            return Box::pin(async { Ok(status(StatusCode::NOT_IMPLEMENTED)) });
        }
        // A malformed range must be ignored (RFC 9110 section 14.2); s3s rejects it.
        if let Some(range) = request.headers().get(header::RANGE)
            && !range.to_str().is_ok_and(|r| Range::parse(r).is_ok())
        {
            request.headers_mut().remove(header::RANGE);
        }
        join_content_encodings(request.headers_mut());
        let (is_head, for_attributes) = (request.method() == Method::HEAD, is_for_attributes(&request));
        let call = Service::call(&mut self.s3, request);
        Box::pin(async move {
            let mut response = call.await.unwrap_or_else(|e| {
                tracing::error!(error = ?e, "the S3 service failed");
                status(StatusCode::INTERNAL_SERVER_ERROR)
            });
            if is_head {
                correct_partial_status(&mut response);
            }
            if for_attributes {
                unquote_etag(&mut response);
            }
            Ok(response)
        })
    }
}

fn is_form_upload<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.method() == Method::POST
        && content_type.is_some_and(|t| t.to_ascii_lowercase().starts_with(b"multipart/"))
}

/// Sets the status of a partial response to HEAD: s3s sets it for GET only.
fn correct_partial_status(response: &mut Response<Body>) {
    if response.status() == StatusCode::OK && response.headers().contains_key(header::CONTENT_RANGE) {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
}

/// True for GetObjectAttributes.
fn is_for_attributes<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::GET
        && query.split('&').any(|pair| pair.split('=').next() == Some("attributes"))
}

/// Removes the quotes of the ETag in a response to GetObjectAttributes: S3 sends none there, s3s does.
fn unquote_etag(response: &mut Response<Body>) {
    let Some(body) = response.body().bytes() else { return };
    let Ok(text) = str::from_utf8(&body) else { return };
    let Some((before, rest)) = text.split_once("<ETag>\"") else { return };
    let Some((etag, after)) = rest.split_once("\"</ETag>") else { return };
    *response.body_mut() = Body::from(format!("{before}<ETag>{etag}</ETag>{after}"));
    response.headers_mut().remove(header::CONTENT_LENGTH);
}

/// Joins repeated Content-Encoding headers into one list, which has the same meaning and signature.
/// SDKs send `gzip` and `aws-chunked` as two headers; s3s expects one.
fn join_content_encodings(headers: &mut HeaderMap) {
    let all: Vec<_> = headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    if all.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&all.join(&b','))
    {
        headers.insert(header::CONTENT_ENCODING, joined);
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
