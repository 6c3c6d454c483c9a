//! A worker's report stream: progress comes in, the lease's end goes out.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use reelmill_platform::shared_state::{Notification, Subscription};
use reelmill_proto::{
    duration, timestamp,
    transcode::{Job, ReportProgressRequest, ReportProgressResponse, WatchJobsResponse, job::State},
};
use tonic::{Status, Streaming};

use crate::{
    dispatch::Dispatch,
    domain::{Lease, LeaseError, job_name},
    error::TranscodeError,
    leases::{Leased, shown},
};

/// What is answered to a stream of reports.
pub(crate) async fn answers(
    dispatch: Arc<Dispatch>,
    reports: Streaming<ReportProgressRequest>,
) -> Pin<Box<dyn Stream<Item = Result<ReportProgressResponse, Status>> + Send>> {
    // Without the hub a cancel is noticed at the next renewal only; leases are kept all the same.
    let changes = dispatch.feed.hints().await.inspect_err(|error| tracing::warn!(%error)).ok();
    let report = Report { dispatch, reports, changes, held: None, renewed_at: 0, over: false };
    Box::pin(stream::unfold(report, |mut report| async move {
        let answer = report.answer().await?;
        Some((answer.map_err(Status::from), report))
    }))
}

/// The lease that a report stream keeps.
struct Held {
    id: String,
    lease: Lease,
    leased: Leased,
    /// When the lease ends, as this stream last moved it.
    until: Option<i64>,
}

/// One worker's report stream.
struct Report {
    dispatch: Arc<Dispatch>,
    reports: Streaming<ReportProgressRequest>,
    changes: Option<Subscription>,
    held: Option<Held>,
    renewed_at: i64,
    over: bool,
}

enum Heard {
    Report(Option<Result<ReportProgressRequest, Status>>),
    Change(Option<Notification>),
}

/// The next hint; for ever in coming where there is no subscription.
async fn next_of(changes: &mut Option<Subscription>) -> Option<Notification> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

impl Report {
    /// The next thing to tell the worker; none when the stream is over.
    async fn answer(&mut self) -> Option<Result<ReportProgressResponse, TranscodeError>> {
        while !self.over {
            let heard = tokio::select! {
                report = self.reports.next() => Heard::Report(report),
                change = next_of(&mut self.changes) => Heard::Change(change),
            };
            let told = match heard {
                Heard::Report(Some(Ok(report))) => self.reported(report).await,
                Heard::Report(_) => return None,
                Heard::Change(hint) => self.changed(hint).await,
            };
            match told {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.over = answer.cancel;
                    return Some(Ok(answer));
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    async fn reported(
        &mut self,
        report: ReportProgressRequest,
    ) -> Result<Option<ReportProgressResponse>, TranscodeError> {
        let (task, lease) = shown(report.lease.as_ref())?;
        let now = self.dispatch.clock.now_millis();
        let fresh = self.held.as_ref().is_none_or(|held| held.id != task || held.lease != lease);
        if fresh {
            let leased = self.dispatch.leased(&task, lease).await?;
            self.held = Some(Held { id: task, lease, leased, until: None });
        }
        let due = fresh || now >= self.renewed_at + self.dispatch.lease_ms() / 3;
        let Some(Held { leased: Leased { job, task }, .. }) = &self.held else { return Ok(None) };
        let progress = report.progress.unwrap_or_default();
        let Dispatch { tracker, store, plans, feed, .. } = &*self.dispatch;
        if let Some(row) = tracker.reported(store, plans, (job, task), progress, now).await? {
            feed.progressed(&row).await;
        }
        if due { self.renewed(now).await.map(Some) } else { Ok(None) }
    }

    async fn renewed(&mut self, now: i64) -> Result<ReportProgressResponse, TranscodeError> {
        let Some(held) = &mut self.held else { return Err(LeaseError::Lost.into()) };
        let until = self.dispatch.renew(&held.id, held.lease).await?;
        held.until = Some(until);
        self.renewed_at = now;
        Ok(ReportProgressResponse {
            lease_expire_time: Some(timestamp(until)),
            report_interval: Some(duration(self.dispatch.config.lease / 3)),
            cancel: false,
        })
    }

    /// Hears of a job that changed: ours may have been cancelled, or another of its tasks failed.
    async fn changed(
        &mut self,
        hint: Option<Notification>,
    ) -> Result<Option<ReportProgressResponse>, TranscodeError> {
        let Some(held) = &self.held else {
            if hint.is_none() {
                self.changes = None;
            }
            return Ok(None);
        };
        let has_ended = match hint {
            None => {
                self.changes = None;
                false
            }
            Some(Notification::Payload(bytes)) => {
                let message: WatchJobsResponse = prost::Message::decode(bytes)?;
                let name = job_name(&held.leased.job.id);
                let is_over = |job: &Job| matches!(job.state(), State::Cancelled | State::Failed);
                message.job.is_some_and(|job| job.name == name && is_over(&job))
            }
            Some(Notification::Lagged) => {
                self.dispatch.leased(&held.id, held.lease).await?;
                false
            }
        };
        Ok(has_ended.then(|| ReportProgressResponse { cancel: true, ..ReportProgressResponse::default() }))
    }
}

impl Drop for Report {
    /// A stream that breaks usually means a dead worker: its lease ends soon, unless it comes back. Where it has come
    /// back already, before the old stream was seen to break, the new one has moved the lease's end: it stays there.
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.dispatch.tracker.gone(&held.leased.task);
        let Some(seen) = held.until.filter(|_| !self.over) else { return };
        let dispatch = Arc::clone(&self.dispatch);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let wait = i64::try_from(dispatch.config.lease_after_disconnect.as_millis()).unwrap_or(0);
            let until = dispatch.clock.now_millis() + wait;
            match dispatch.store.shorten(&held.id, held.lease, seen, until).await {
                Ok(_) => dispatch.woken.notify_one(),
                Err(error) => tracing::warn!(%error, "a lost worker's lease was not shortened"),
            }
        });
    }
}
