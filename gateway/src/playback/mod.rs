//! GET /play/{token}/{path}: outputs of videos, streamed from the object store, for holders of a signed URL.
//!
//! The token is part of the path, so that relative URLs in playlists keep it.

mod output_file;
mod response;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
    routing::{MethodRouter, get},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use reelmill_platform::{
    clock::Clock,
    objects::{Objects, ObjectsError},
    signed_path::{PrefixSigner, SignedPathError},
};
use reelmill_proto::Reason;
use tower_http::cors::{Any, CorsLayer};

use crate::{
    etag::{is_strong_etag, matches_etag},
    http_error::{http_error, not_found},
    server::Activity,
};
use output_file::OutputFile;

/// Playback of outputs.
pub(crate) struct Playback {
    objects: Objects,
    signer: PrefixSigner,
    clock: Clock,
}

/// The route. Pages of every origin may play: the signed URL is the only credential.
pub(crate) fn route(playback: Playback) -> MethodRouter {
    let exposed = [
        header::ACCEPT_RANGES,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::ETAG,
        HeaderName::from_static("x-request-id"),
    ];
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([header::RANGE, header::IF_NONE_MATCH, header::IF_RANGE])
        .expose_headers(exposed);
    get(play).layer(cors).with_state(Arc::new(playback))
}

async fn play(State(playback): State<Arc<Playback>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match playback.respond(&parts).await {
        Ok(mut response) => {
            // Its URL is signed.
            if let Some(activity) = parts.extensions.get::<Arc<Activity>>() {
                response.extensions_mut().insert(Arc::new(activity.trust()));
            }
            response
        }
        Err(response) => response,
    }
}

impl Playback {
    pub(crate) fn new(objects: Objects, signer: PrefixSigner, clock: Clock) -> Self {
        Self { objects, signer, clock }
    }

    /// Verifies the URL, reads the object, responds. Errors are responses too.
    async fn respond(&self, request: &Parts) -> Result<Response, Response> {
        let path = request.uri.path().strip_prefix("/play/").unwrap_or_default();
        let (token, name) = path.split_once('/').ok_or_else(not_found)?;
        let now_unix = u64::try_from(self.clock.now_millis() / 1000).unwrap_or_default();
        let prefix = self.signer.verify(token, now_unix).map_err(url_error)?;
        let file = OutputFile::named(name, request.uri.query()).ok_or_else(not_found)?;
        let key = format!("{prefix}{name}");
        if request.method == Method::HEAD {
            let head = self.objects.head(&key).await.map_err(|error| object_error(&error))?;
            return Ok(response::head(&file, &head.ok_or_else(not_found)?, &request.headers));
        }
        let known_etag = match text(&request.headers, header::IF_NONE_MATCH) {
            // Object stores compare one ETag, and differ in how they handle anything else.
            Some(tags) if !is_strong_etag(tags) => {
                let head = self.objects.head(&key).await.map_err(|error| object_error(&error))?;
                let etag = head.ok_or_else(not_found)?.etag;
                if matches_etag(tags, &etag) {
                    return Ok(response::not_modified(&file, Some(&etag)));
                }
                None
            }
            known_etag => known_etag,
        };
        let range = self.effective_range(&key, &request.headers).await?;
        match self.objects.get(&key, range, known_etag).await {
            Ok(object) => Ok(response::object(&file, object)),
            // The object's ETag is the one that it was compared with.
            Err(ObjectsError::NotModified) => Ok(response::not_modified(&file, known_etag)),
            Err(ObjectsError::RangeNotSatisfiable) => {
                let size = self.objects.head(&key).await.ok().flatten().map(|head| head.size);
                Ok(response::range_not_satisfiable(size))
            }
            Err(error) => Err(object_error(&error)),
        }
    }

    /// The `Range` to read. `None` if there is none, or if `If-Range` names another version of the object.
    async fn effective_range<'a>(
        &self,
        key: &str,
        headers: &'a HeaderMap,
    ) -> Result<Option<&'a str>, Response> {
        let Some(range) = text(headers, header::RANGE).filter(|range| output_file::is_single_range(range))
        else {
            return Ok(None);
        };
        let Some(if_range) = text(headers, header::IF_RANGE) else {
            return Ok(Some(range));
        };
        let head = self.objects.head(key).await.map_err(|error| object_error(&error))?;
        Ok(head.is_some_and(|head| head.etag == if_range).then_some(range))
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn url_error(error: SignedPathError) -> Response {
    match error {
        SignedPathError::Expired => http_error(
            StatusCode::FORBIDDEN,
            Reason::PlaybackUrlExpired,
            "this playback URL has expired: request a new one",
        ),
        SignedPathError::Malformed | SignedPathError::Forged => {
            http_error(StatusCode::FORBIDDEN, Reason::PlaybackUrlInvalid, "this playback URL is not valid")
        }
    }
}

fn object_error(error: &ObjectsError) -> Response {
    if matches!(error, ObjectsError::NotFound) {
        return not_found();
    }
    tracing::warn!(cause = %error, "reading an object from the object store failed");
    let mut response = http_error(
        StatusCode::SERVICE_UNAVAILABLE,
        Reason::ObjectStoreUnavailable,
        "the object store is unavailable; try again",
    );
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
