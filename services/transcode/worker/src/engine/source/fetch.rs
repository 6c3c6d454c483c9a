//! GET requests to the object store, with retries.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use crate::backoff::RetryWindow;

/// Timeout of a ranged GET.
const RANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of a GET of a whole object.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(60);

/// The source cannot be read: a permanent error, or the last one of the retries.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the source could not be read: {0}")]
pub(crate) struct SourceError(pub String);

/// A failed attempt.
pub(crate) struct FetchError {
    pub error: SourceError,
    pub is_transient: bool,
}

impl FetchError {
    fn transient(cause: impl ToString) -> Self {
        Self { error: SourceError(cause.to_string()), is_transient: true }
    }

    /// Without the URL: its signature must not be logged.
    fn http(error: reqwest::Error) -> Self {
        Self::transient(error.without_url())
    }
}

/// Fetches a range of an object of `size` bytes. One attempt.
pub(crate) async fn fetch_range(
    http: &Client,
    uri: &str,
    range: Range<u64>,
    size: u64,
) -> Result<Bytes, FetchError> {
    let length = range.end - range.start;
    let header = format!("bytes={}-{}", range.start, range.end - 1);
    let response = send(http.get(uri).header("range", header).timeout(RANGE_TIMEOUT)).await?;
    if response.status() != StatusCode::PARTIAL_CONTENT && length != size {
        let error = SourceError("the object store ignored the range".into());
        return Err(FetchError { error, is_transient: false });
    }
    read_body(response, length).await
}

/// Fetches a whole object of `size` bytes, retrying for `retry_window`.
///
/// # Errors
/// After a permanent error, or when the retry window has passed.
pub(crate) async fn fetch_object(
    http: &Client,
    uri: String,
    size: u64,
    retry_window: Duration,
) -> Result<Bytes, SourceError> {
    retry(retry_window, || fetch_object_once(http, &uri, size)).await
}

async fn fetch_object_once(http: &Client, uri: &str, size: u64) -> Result<Bytes, FetchError> {
    let response = send(http.get(uri).timeout(OBJECT_TIMEOUT)).await?;
    read_body(response, size).await
}

/// Repeats an attempt until it succeeds, its error is permanent, or the retry window has passed.
pub(crate) async fn retry<F>(window: Duration, attempt: impl Fn() -> F) -> Result<Bytes, SourceError>
where
    F: Future<Output = Result<Bytes, FetchError>>,
{
    let mut retries = RetryWindow::new(window);
    loop {
        let FetchError { error, is_transient } = match attempt().await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        tracing::debug!(%error, "an attempt to read an object failed");
        if !is_transient || !retries.wait_for_retry().await {
            return Err(error);
        }
    }
}

async fn send(request: RequestBuilder) -> Result<Response, FetchError> {
    let response = request.send().await.map_err(FetchError::http)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let is_transient = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    Err(FetchError { error: SourceError(format!("the object store responded {status}")), is_transient })
}

async fn read_body(response: Response, expected: u64) -> Result<Bytes, FetchError> {
    let bytes = response.bytes().await.map_err(FetchError::http)?;
    if bytes.len() as u64 != expected {
        return Err(FetchError::transient(format!("{} bytes instead of {expected}", bytes.len())));
    }
    Ok(bytes)
}
