//! The worker role's [`OutputSink`]: puts outputs in the object store at presigned URLs and records them
//! with the dispatcher.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use reelmill_proto::transcode::{Lease, RecordOutputsRequest};
use reqwest::{Body, Client};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::{
    backoff::RetryWindow,
    convert,
    dispatcher_client::{DispatcherClient, is_transient},
    engine::{Content, Output, OutputSink, SinkError},
    presigned_urls::{PresignError, PresignedUrls},
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
    urls: PresignedUrls,
}

/// A failed attempt to put an output.
struct PutError {
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
        let urls = PresignedUrls::new(dispatcher.clone(), lease.clone());
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
            .map_err(|error| PutError { cause: error.without_url().to_string(), is_transient: true })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        // 403: the URL may have expired while it was cached.
        self.urls.discard(name).await;
        let is_transient = status.is_server_error() || matches!(status.as_u16(), 403 | 408 | 429);
        Err(PutError { cause: format!("the object store responded {status}"), is_transient })
    }
}

async fn file_body(path: &Path) -> Result<Body, PutError> {
    let opened = File::open(path).await;
    let file = opened.map_err(|error| PutError { cause: error.to_string(), is_transient: false })?;
    Ok(Body::wrap_stream(ReaderStream::with_capacity(file, FILE_BUFFER_BYTES)))
}

impl From<PresignError> for PutError {
    fn from(error: PresignError) -> Self {
        let is_transient = matches!(&error, PresignError::Call(status) if is_transient(status));
        Self { cause: error.to_string(), is_transient }
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
                return Err(SinkError { name: name.to_owned(), cause: error.cause });
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
            SinkError { name, cause: format!("recording: {status}") }
        })
    }
}
