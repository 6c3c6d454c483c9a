//! The HTTP service around the store: CORS, and what must be settled before s3s sees a request.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::Range;
use s3s::service::S3Service;
use s3s::{Body, S3Result, s3_error};
use tower::{Layer as _, Service};
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer};

use crate::checksum::Algorithm;

/// How long a browser may remember a preflight's answer.
const CORS_MAX_AGE: Duration = Duration::from_secs(3600);

/// The store as a `tower` service.
pub type ObjectService = Cors<Front>;

/// The S3 service, made infallible, behind a few guards.
#[derive(Clone)]
pub struct Front {
    s3: S3Service,
}

/// CORS goes outside authentication: a preflight carries no signature.
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
    ];
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.into_iter().chain(checksums).collect::<Vec<_>>())
        .max_age(CORS_MAX_AGE)
        .layer(Front { s3 })
}

impl<B> Service<Request<B>> for Front
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
        // s3s gathers a form upload in memory before it asks who is calling.
        if is_form_upload(&request) {
            return Box::pin(async { Ok(status(StatusCode::NOT_IMPLEMENTED)) });
        }
        // A range that can't be understood is to be ignored (RFC 9110 section 14.2); s3s refuses it.
        if let Some(range) = request.headers().get(header::RANGE)
            && !range.to_str().is_ok_and(|r| Range::parse(r).is_ok())
        {
            request.headers_mut().remove(header::RANGE);
        }
        join_content_encodings(request.headers_mut());
        let call = Service::call(&mut self.s3, request);
        Box::pin(async move {
            Ok(call.await.unwrap_or_else(|e| {
                tracing::error!(error = ?e, "the S3 service failed");
                status(StatusCode::INTERNAL_SERVER_ERROR)
            }))
        })
    }
}

fn is_form_upload<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    request.method() == Method::POST
        && content_type.is_some_and(|t| t.to_ascii_lowercase().starts_with(b"multipart/"))
}

/// SDKs send `gzip` and `aws-chunked` as two headers, which means the same as one list; s3s wants one.
/// A signature covers the list either way.
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

/// Lets in whoever signed with the key, by Signature Version 4 alone: s3s would take version 2 as
/// well, whose header form never expires.
pub(crate) struct SignedV4Only;

#[async_trait::async_trait]
impl S3Access for SignedV4Only {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "A signature is required."));
        }
        let authorization = context.headers().get(header::AUTHORIZATION);
        let in_header = authorization.is_some_and(|v| v.as_bytes().starts_with(b"AWS4-HMAC-SHA256"));
        let in_query = context.uri().query().is_some_and(|q| q.contains("X-Amz-Signature="));
        // s3s tries version 2 first, and knows it by this parameter.
        let version_2 = context
            .uri()
            .query()
            .is_some_and(|q| q.split('&').any(|pair| pair.split('=').next() == Some("Signature")));
        if (in_header || in_query) && !version_2 {
            Ok(())
        } else {
            Err(s3_error!(InvalidRequest, "Please use AWS4-HMAC-SHA256 to sign."))
        }
    }
}
