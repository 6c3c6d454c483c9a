//! The worker role's [`OutputSink`]: puts outputs in the object store at presigned URLs and records them
//! with the dispatcher.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use reelmill_media::FailureKind;
use reelmill_proto::transcode::{Lease, RecordOutputsRequest};
use reqwest::{Body, Client};
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use tonic::Status;

use crate::{
    backoff::RetryWindow,
    convert,
    dispatcher_client::{DispatcherClient, is_transient, is_unavailable},
    engine::{Content, Output, OutputSink, SinkError},
    output_url_cache::{OutputUrlCache, PresignError},
};

/// Timeout of a PUT of an empty object. Larger ones get the time that [`MIN_BYTES_PER_SECOND`] takes on top.
const PUT_TIMEOUT_MIN: Duration = Duration::from_secs(60);
/// Lowest upload rate that is tolerated.
const MIN_BYTES_PER_SECOND: u64 = 256 * 1024;
/// Bytes read from a file at once.
const FILE_BUFFER_BYTES: usize = 256 * 1024;

/// The outputs of one lease.
pub(crate) struct PresignedSink {
    http: Client,
    dispatcher: DispatcherClient,
    lease: Lease,
    retry_window: Duration,
    urls: OutputUrlCache,
}

/// A failed attempt to put an output.
struct PutError {
    kind: FailureKind,
    cause: String,
    is_transient: bool,
}

impl PresignedSink {
    /// A sink that retries a failed upload for `retry_window`.
    pub(crate) fn new(
        http: Client,
        dispatcher: DispatcherClient,
        lease: Lease,
        retry_window: Duration,
    ) -> Self {
        let urls = OutputUrlCache::new(dispatcher.clone(), lease.clone());
        Self { http, dispatcher, lease, retry_window, urls }
    }

    async fn put_once(
        &self,
        name: &str,
        content: &Content,
        content_type: &'static str,
    ) -> Result<(), PutError> {
        let uri = self.urls.take(name).await?;
        let size = content.size();
        let body = match content {
            Content::Bytes(bytes) => Body::from(bytes.clone()),
            Content::File(path, _) => file_body(path).await?,
        };
        let timeout = PUT_TIMEOUT_MIN + Duration::from_secs(size / MIN_BYTES_PER_SECOND);
        let put = self.http.put(uri).header("content-type", content_type).header("content-length", size);
        // Without the URL: its signature must not be logged.
        let response = put
            .body(body)
            .timeout(timeout)
            .send()
            .await
            .map_err(|error| PutError::object_store(error.without_url().to_string(), true))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        // 403: the URL may have expired while it was cached.
        self.urls.discard(name).await;
        let is_transient = status.is_server_error() || matches!(status.as_u16(), 403 | 408 | 429);
        Err(PutError::object_store(format!("the object store responded {status}"), is_transient))
    }
}

impl PutError {
    fn object_store(cause: String, is_transient: bool) -> Self {
        Self { kind: FailureKind::ObjectStoreUnavailable, cause, is_transient }
    }
}

/// What a failed call to the dispatcher means.
fn failure_kind(status: &Status) -> FailureKind {
    if is_unavailable(status) { FailureKind::DispatcherUnavailable } else { FailureKind::EncoderCrashed }
}

async fn file_body(path: &Path) -> Result<Body, PutError> {
    let opened = File::open(path).await;
    let file = opened.map_err(|error| PutError {
        kind: FailureKind::EncoderCrashed,
        cause: error.to_string(),
        is_transient: false,
    })?;
    Ok(Body::wrap_stream(ReaderStream::with_capacity(file, FILE_BUFFER_BYTES)))
}

impl From<PresignError> for PutError {
    fn from(error: PresignError) -> Self {
        let (kind, is_transient) = match &error {
            PresignError::Call(status) => (failure_kind(status), is_transient(status)),
            _ => (FailureKind::EncoderCrashed, false),
        };
        Self { kind, cause: error.to_string(), is_transient }
    }
}

#[async_trait]
impl OutputSink for PresignedSink {
    async fn put(&self, name: &str, content: Content, content_type: &'static str) -> Result<(), SinkError> {
        let mut retries = RetryWindow::new(self.retry_window);
        loop {
            let Err(error) = self.put_once(name, &content, content_type).await else { return Ok(()) };
            tracing::debug!(name, cause = error.cause, "an attempt to put an output failed");
            if !error.is_transient || !retries.wait_for_retry().await {
                return Err(SinkError { name: name.to_owned(), kind: error.kind, cause: error.cause });
            }
        }
    }

    async fn record(&self, outputs: &[Output]) -> Result<(), SinkError> {
        let request = RecordOutputsRequest {
            lease: Some(self.lease.clone()),
            outputs: outputs.iter().map(convert::output).collect(),
        };
        self.dispatcher.record_outputs(request).await.map_err(|status| {
            let name = outputs.first().map(|output| output.name.clone()).unwrap_or_default();
            SinkError { name, kind: failure_kind(&status), cause: format!("recording: {status}") }
        })
    }
}
