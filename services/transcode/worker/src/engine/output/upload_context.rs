//! Upload context: what all uploads of a task share.

use std::{io, sync::Arc};

use reelmill_media::fragments::FragmentError;
use tokio::sync::Semaphore;

use crate::engine::{
    activity::Activity,
    output::{
        record_batcher::RecordBatcherHandle,
        sink::{Content, Output, OutputSink, SinkError},
    },
};

/// Uploads of a task that are in flight at the same time.
const MAX_TASK_UPLOADS: usize = 6;

/// Why reading a pipe of the encoder and uploading its content failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Stream(#[from] FragmentError),
    #[error("scratch folder: {0}")]
    Scratch(io::Error),
    #[error("pipe: {0}")]
    Pipe(io::Error),
    #[error("the stream starts later than expected")]
    StartsLate,
    #[error("an upload panicked")]
    Panicked,
}

/// What all uploads of a task share: the sink, the record batcher, and a limit of uploads in flight.
#[derive(Clone)]
pub(crate) struct UploadContext {
    sink: Arc<dyn OutputSink>,
    recorder: RecordBatcherHandle,
    activity: Activity,
    permits: Arc<Semaphore>,
}

impl UploadContext {
    pub(crate) fn new(sink: Arc<dyn OutputSink>, recorder: RecordBatcherHandle, activity: Activity) -> Self {
        Self { sink, recorder, activity, permits: Arc::new(Semaphore::new(MAX_TASK_UPLOADS)) }
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// Puts an output when fewer than the allowed number of uploads are in flight.
    pub(crate) async fn put(
        &self,
        name: &str,
        content: Content,
        content_type: &'static str,
    ) -> Result<(), SinkError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let _request = self.activity.begin_request();
        let put = self.sink.put(name, content, content_type).await;
        self.activity.touch();
        put
    }

    /// Records an output that was put.
    pub(crate) fn record(&self, output: Output) {
        self.recorder.record(output);
    }

    /// Puts and records an output.
    pub(crate) async fn upload(
        &self,
        output: Output,
        content: Content,
        content_type: &'static str,
    ) -> Result<(), SinkError> {
        self.put(&output.name, content, content_type).await?;
        self.record(output);
        Ok(())
    }
}
