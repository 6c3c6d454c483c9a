//! Report streams of workers.

use futures::channel::mpsc;
use reelmill_mesh::Channel;
use reelmill_proto::transcode::{
    Lease, Progress, ReportProgressRequest, ReportProgressResponse,
    worker_service_client::WorkerServiceClient,
};
use tonic::{Status, Streaming};

use super::TestSystem;

/// A report stream that stays open until it is dropped.
pub struct OpenReportStream {
    lease: Lease,
    requests: mpsc::UnboundedSender<ReportProgressRequest>,
    responses: Streaming<ReportProgressResponse>,
}

impl OpenReportStream {
    /// Opens a stream on a connection of its own.
    pub async fn open(system: &TestSystem, lease: &Lease) -> Self {
        Self::open_on(&mut system.worker_client(), lease).await
    }

    /// Opens a stream on the connection of a client.
    pub async fn open_on(client: &mut WorkerServiceClient<Channel>, lease: &Lease) -> Self {
        let (requests, sent) = mpsc::unbounded();
        let responses = client.report_progress(sent).await.unwrap().into_inner();
        Self { lease: lease.clone(), requests, responses }
    }

    /// Sends a report.
    pub fn report(&self, progress: Progress) {
        let request = ReportProgressRequest { lease: Some(self.lease.clone()), progress: Some(progress) };
        self.requests.unbounded_send(request).unwrap();
    }

    /// The next response; none when the server has ended the stream.
    pub async fn response(&mut self) -> Result<Option<ReportProgressResponse>, Status> {
        self.responses.message().await
    }
}

/// Opens a report stream and sends one report.
pub async fn open_report_stream(system: &TestSystem, lease: &Lease) -> OpenReportStream {
    let stream = OpenReportStream::open(system, lease).await;
    stream.report(Progress { percent: 12.5, ..Progress::default() });
    stream
}
