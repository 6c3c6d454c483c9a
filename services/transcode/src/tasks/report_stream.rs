//! ReportProgress: a worker's stream of reports, answered by lease renewals and, when its job ends, a cancel response.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use reelmill_platform::clock::Clock;
use reelmill_proto::{
    duration, timestamp,
    transcode::{ReportProgressRequest, ReportProgressResponse, job::State},
};
use tonic::{Status, Streaming};

use super::{
    lease::{Leases, PresentedLease},
    release::LeaseReleaser,
    renew::LeaseRenewer,
};
use crate::{
    db::TaskRow,
    domain::LeaseLost,
    error::TranscodeError,
    feed::{JobChange, JobFeed, JobWatch},
    progress::{ProgressTracker, TaskReport},
};

/// Renewals per lifetime of a lease.
const RENEWALS_PER_LEASE: u32 = 3;
/// Part of the renewal interval, in percent, after which a report renews the lease: workers without progress report a
/// little before the interval ends.
const RENEWAL_MIN_PERCENT: i64 = 75;

/// What all report streams use.
pub(crate) struct ReportStreams {
    pub(crate) leases: Leases,
    pub(crate) renewer: LeaseRenewer,
    pub(crate) releaser: Arc<LeaseReleaser>,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) feed: JobFeed,
    pub(crate) clock: Clock,
    pub(crate) lease_ttl: Duration,
}

/// Responses of a report stream.
pub(crate) type ReportResponses = Pin<Box<dyn Stream<Item = Result<ReportProgressResponse, Status>> + Send>>;

impl ReportStreams {
    /// Opens a stream of reports.
    pub(crate) fn open(self: &Arc<Self>, reports: Streaming<ReportProgressRequest>) -> ReportResponses {
        let stream = ReportStream {
            shared: Arc::clone(self),
            reports,
            changes: None,
            reported: None,
            has_ended: false,
        };
        Box::pin(stream::unfold(stream, |mut stream| async move {
            let response = stream.next_response().await?;
            Some((response.map_err(Status::from), stream))
        }))
    }

    fn renewal_interval(&self) -> Duration {
        self.lease_ttl / RENEWALS_PER_LEASE
    }
}

/// One worker's stream of reports.
struct ReportStream {
    shared: Arc<ReportStreams>,
    reports: Streaming<ReportProgressRequest>,
    /// Changes of the job; none before the first report.
    changes: Option<JobWatch>,
    /// None before the first report.
    reported: Option<ReportedTask>,
    has_ended: bool,
}

/// The task that a stream reports on.
struct ReportedTask {
    presented: PresentedLease,
    /// As of the last renewal by this stream.
    task: TaskRow,
    renewal_time: i64,
}

/// What a report stream waits for.
enum Event {
    Report(Option<Result<ReportProgressRequest, Status>>),
    JobStopped,
}

/// Waits until the job is cancelled or has failed; for ever before the first report.
async fn job_stopped(changes: &mut Option<JobWatch>) {
    let Some(changes) = changes else { return std::future::pending().await };
    let is_stopped = |change: &Option<JobChange>| {
        let job = change.as_ref().and_then(|change| change.job.as_ref());
        job.is_some_and(|job| matches!(job.state(), State::Cancelled | State::Failed))
    };
    while changes.changed().await.is_ok() {
        if is_stopped(&changes.borrow_and_update()) {
            return;
        }
    }
    // The watch ends with a job that succeeded.
    std::future::pending().await
}

impl ReportStream {
    /// The next response; none at the end of the stream.
    async fn next_response(&mut self) -> Option<Result<ReportProgressResponse, TranscodeError>> {
        while !self.has_ended {
            let event = tokio::select! {
                report = self.reports.next() => Event::Report(report),
                () = job_stopped(&mut self.changes) => Event::JobStopped,
            };
            let response = match event {
                Event::Report(Some(Ok(report))) => self.handle_report(report).await,
                Event::Report(_) => return None,
                Event::JobStopped => self.handle_stopped_job().await,
            };
            match response {
                Ok(None) => {}
                Ok(Some(response)) => {
                    self.has_ended = response.cancel;
                    return Some(Ok(response));
                }
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Renews the lease if that is due, and publishes the job's progress if that is due. Between two renewals the lease is
    /// not checked: a report of a lost lease only changes progress, which never decreases.
    async fn handle_report(
        &mut self,
        report: ReportProgressRequest,
    ) -> Result<Option<ReportProgressResponse>, TranscodeError> {
        let presented = PresentedLease::parse(report.lease.as_ref())?;
        let now = self.shared.clock.now_millis();
        let response =
            if self.must_renew(&presented, now) { Some(self.renew(presented, now).await?) } else { None };
        let Some(ReportedTask { task, .. }) = &self.reported else { return Err(LeaseLost.into()) };
        let report = TaskReport { task, progress: report.progress.unwrap_or_default() };
        if let Some(message) = self.shared.progress.report(report, now).await? {
            self.shared.feed.publish_message(&message).await;
        }
        Ok(response)
    }

    /// A cancel response, unless the change is late and the job was retried since.
    async fn handle_stopped_job(&mut self) -> Result<Option<ReportProgressResponse>, TranscodeError> {
        let Some(reported) = &self.reported else { return Ok(None) };
        match self.shared.leases.check(&reported.presented).await {
            Ok(_) => Ok(None),
            Err(TranscodeError::LeaseLost(_)) => {
                Ok(Some(ReportProgressResponse { cancel: true, ..ReportProgressResponse::default() }))
            }
            Err(error) => Err(error),
        }
    }

    fn must_renew(&self, presented: &PresentedLease, now: i64) -> bool {
        let interval_ms = i64::try_from(self.shared.renewal_interval().as_millis()).unwrap_or(i64::MAX);
        self.reported.as_ref().is_none_or(|reported| {
            reported.presented != *presented
                || now >= reported.renewal_time + interval_ms / 100 * RENEWAL_MIN_PERCENT
        })
    }

    async fn renew(
        &mut self,
        presented: PresentedLease,
        now: i64,
    ) -> Result<ReportProgressResponse, TranscodeError> {
        let task = self.shared.renewer.renew(&presented).await?;
        let response = ReportProgressResponse {
            lease_expire_time: Some(timestamp(task.lease_expire_time)),
            report_interval: Some(duration(self.shared.renewal_interval())),
            cancel: false,
        };
        let is_watched =
            self.reported.as_ref().is_some_and(|reported| reported.presented.job == presented.job);
        if !is_watched {
            self.changes = Some(self.shared.feed.watch_job(&presented.job));
        }
        self.reported = Some(ReportedTask { presented, task, renewal_time: now });
        Ok(response)
    }
}

impl Drop for ReportStream {
    /// A stream that breaks usually means a dead worker: its lease is shortened.
    fn drop(&mut self) {
        let Some(ReportedTask { presented, task, .. }) = self.reported.take() else { return };
        self.shared.progress.report_stream_ended(&task);
        if self.has_ended {
            return;
        }
        let releaser = Arc::clone(&self.shared.releaser);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match releaser.shorten(&presented, task.lease_expire_time).await {
                // The task has ended or was leased again.
                Ok(()) | Err(TranscodeError::LeaseLost(_)) => {}
                Err(error) => tracing::warn!(%error, "the lease of a lost worker was not shortened"),
            }
        });
    }
}
