//! GET /play/{token}/{path}: recorded outputs, straight from the store, for whoever has the signed address.
//!
//! The token stands in the path, so the relative addresses inside playlists carry it on.

mod answer;
mod file;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
    routing::{MethodRouter, get},
};
use http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts};
use reelmill_platform::{objects::ObjectsError, signed_path::SignedPathError};
use reelmill_proto::Reason;
use tower_http::cors::{Any, CorsLayer};

use crate::{
    error::{http_error, not_found},
    gateway::Shared,
};
use file::File;

/// The route, playable from pages of every origin: who has the address may use it anywhere.
pub(crate) fn route() -> MethodRouter<Arc<Shared>> {
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
    get(play).layer(cors)
}

async fn play(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (asked, _) = request.into_parts();
    match find(&shared, &asked).await {
        Ok(response) | Err(response) => response,
    }
}

/// Checks the address, gets the object, answers; refusals are answers too.
async fn find(shared: &Shared, asked: &Parts) -> Result<Response, Response> {
    let path = asked.uri.path().strip_prefix("/play/").unwrap_or_default();
    let (token, name) = path.split_once('/').ok_or_else(not_found)?;
    let now_unix = u64::try_from(shared.clock.now_millis() / 1000).unwrap_or_default();
    let prefix = shared.signer.verify(token, now_unix).map_err(refuse_address)?;
    let file = File::named(name, asked.uri.query()).ok_or_else(not_found)?;
    let key = format!("{prefix}{name}");
    if asked.method == Method::HEAD {
        let head = shared.objects.head(&key).await.map_err(|error| refuse_object(&error))?;
        return Ok(answer::head(&file, &head.ok_or_else(not_found)?, &asked.headers));
    }
    let range = wanted_range(shared, &key, &asked.headers).await?;
    let known = text(&asked.headers, header::IF_NONE_MATCH);
    match shared.objects.get(&key, range, known).await {
        Ok(object) => Ok(answer::object(&file, object)),
        Err(ObjectsError::NotModified) => Ok(answer::not_modified(&file, known)),
        Err(ObjectsError::RangeNotSatisfiable) => {
            let size = shared.objects.head(&key).await.ok().flatten().map(|head| head.size);
            Ok(answer::range_not_satisfiable(size))
        }
        Err(error) => Err(refuse_object(&error)),
    }
}

/// The `Range` to ask for: one that `If-Range` makes conditional counts only while the object is the same.
async fn wanted_range<'a>(
    shared: &Shared,
    key: &str,
    headers: &'a HeaderMap,
) -> Result<Option<&'a str>, Response> {
    let Some(range) = text(headers, header::RANGE).filter(|range| file::is_single_range(range)) else {
        return Ok(None);
    };
    let Some(condition) = text(headers, header::IF_RANGE) else {
        return Ok(Some(range));
    };
    let head = shared.objects.head(key).await.map_err(|error| refuse_object(&error))?;
    Ok(head.is_some_and(|head| head.etag == condition).then_some(range))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn refuse_address(error: SignedPathError) -> Response {
    match error {
        SignedPathError::Expired => http_error(
            StatusCode::FORBIDDEN,
            Reason::PlaybackAddressExpired,
            "this address has expired; ask for a new one",
        ),
        SignedPathError::Malformed | SignedPathError::Forged => {
            http_error(StatusCode::FORBIDDEN, Reason::PlaybackAddressInvalid, "this address is not valid")
        }
    }
}

fn refuse_object(error: &ObjectsError) -> Response {
    if matches!(error, ObjectsError::NotFound) {
        return not_found();
    }
    tracing::warn!(cause = %error, "the object store does not serve an object");
    let mut response = http_error(
        StatusCode::SERVICE_UNAVAILABLE,
        Reason::ObjectStoreUnavailable,
        "the store is away; try again in a moment",
    );
    response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    response
}
