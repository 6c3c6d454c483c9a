//! Lease renewal: reports progress on a stream, whose responses extend the lease, reopens the stream when
//! it breaks, and returns when the lease is lost.

use std::time::{Duration, SystemTime};

use reelmill_proto::{
    seconds,
    transcode::{Lease, ReportProgressRequest, ReportProgressResponse},
    unix_millis,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout_at},
};
use tonic::{Status, Streaming};

use crate::{
    backoff::Backoff,
    convert,
    dispatcher_client::{DispatcherClient, is_claim_rejected},
    engine::Snapshot,
};

/// Shortest interval between two reports.
const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// Report interval until the dispatcher has requested one.
const REPORT_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// Reports are sent after this fraction of the requested interval, so that they arrive in time.
const REPORT_INTERVAL_FRACTION: f64 = 0.8;
/// A stream is reopened if it was not answered for this many report intervals: well within the lifetime of a lease. The
/// keep-alive of the connection, which notices a host that does not answer, takes longer.
const ANSWER_TIMEOUT_INTERVALS: f64 = 2.5;
/// Grace period after expiry before the worker gives up renewing. The dispatcher may have been unavailable,
/// and the fencing token makes a wrong guess harmless.
const RENEWAL_GRACE: Duration = Duration::from_secs(120);
/// Longest lease that is accepted from the dispatcher, in case the two clocks differ.
const MAX_LEASE_TTL: Duration = Duration::from_secs(3600);
/// A stream that lasted longer than this resets the backoff.
const STABLE_STREAM: Duration = Duration::from_secs(10);

/// Why a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseLoss {
    /// The job was cancelled.
    Cancelled,
    /// Another worker holds the lease, or the task has ended.
    Superseded,
    /// The dispatcher was unreachable until the grace period ended.
    Unreachable,
}

/// How one progress stream ended.
enum StreamEnd {
    LeaseLost(LeaseLoss),
    Broken,
}

/// Renews one lease.
pub(crate) struct LeaseRenewal {
    dispatcher: DispatcherClient,
    lease: Lease,
    snapshots: watch::Receiver<Snapshot>,
    /// When renewal is given up.
    deadline: watch::Sender<Instant>,
    report_interval: Duration,
}

impl LeaseRenewal {
    /// Renews `lease`, which expires at `expire_millis` (Unix time, milliseconds).
    pub(crate) fn new(
        dispatcher: DispatcherClient,
        lease: Lease,
        expire_millis: i64,
        snapshots: watch::Receiver<Snapshot>,
    ) -> Self {
        let deadline = watch::Sender::new(renewal_deadline(expire_millis));
        Self { dispatcher, lease, snapshots, deadline, report_interval: REPORT_INTERVAL_DEFAULT }
    }

    /// When the lease is lost unless it is renewed before.
    pub(crate) fn deadline(&self) -> watch::Receiver<Instant> {
        self.deadline.subscribe()
    }

    /// Renews the lease until it is lost.
    pub(crate) async fn run(mut self) -> LeaseLoss {
        let mut backoff = Backoff::new();
        loop {
            let opened = Instant::now();
            match self.run_stream().await {
                StreamEnd::LeaseLost(loss) => return loss,
                StreamEnd::Broken if Instant::now() >= *self.deadline.borrow() => {
                    return LeaseLoss::Unreachable;
                }
                StreamEnd::Broken => {}
            }
            if opened.elapsed() > STABLE_STREAM {
                backoff = Backoff::new();
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Opens a progress stream and reports on it until it ends.
    async fn run_stream(&mut self) -> StreamEnd {
        let (reports, outgoing) = mpsc::channel(1);
        if reports.try_send(self.next_report()).is_err() {
            return StreamEnd::Broken;
        }
        let deadline = self.answer_deadline();
        match timeout_at(deadline, self.dispatcher.report_progress(outgoing)).await {
            Ok(Ok(responses)) => self.exchange(reports, responses).await,
            Ok(Err(status)) => stream_end(&status),
            Err(_) => StreamEnd::Broken,
        }
    }

    async fn exchange(
        &mut self,
        reports: mpsc::Sender<ReportProgressRequest>,
        mut responses: Streaming<ReportProgressResponse>,
    ) -> StreamEnd {
        let mut tick = interval(REPORT_INTERVAL_MIN);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_report = Instant::now();
        let mut deadline = self.answer_deadline();
        loop {
            tokio::select! {
                response = responses.message() => match response {
                    Ok(Some(response)) if response.cancel => {
                        return StreamEnd::LeaseLost(LeaseLoss::Cancelled);
                    }
                    Ok(Some(response)) => {
                        self.apply(&response);
                        deadline = self.answer_deadline();
                    }
                    Ok(None) => return StreamEnd::Broken,
                    Err(status) => return stream_end(&status),
                },
                _ = tick.tick() => {
                    let has_changed = self.snapshots.has_changed().unwrap_or(false);
                    if !has_changed && last_report.elapsed() < self.report_interval {
                        continue;
                    }
                    match reports.try_send(self.next_report()) {
                        Ok(()) => last_report = Instant::now(),
                        // The previous report was not sent yet: the next tick tries again.
                        Err(mpsc::error::TrySendError::Full(_)) => {}
                        Err(mpsc::error::TrySendError::Closed(_)) => return StreamEnd::Broken,
                    }
                }
                () = sleep_until(deadline) => return StreamEnd::Broken,
            }
        }
    }

    /// When a stream that is not answered from now on breaks.
    fn answer_deadline(&self) -> Instant {
        let timeout = self.report_interval.mul_f64(ANSWER_TIMEOUT_INTERVALS);
        (*self.deadline.borrow()).min(Instant::now() + timeout)
    }

    fn next_report(&mut self) -> ReportProgressRequest {
        let snapshot = self.snapshots.borrow_and_update();
        ReportProgressRequest {
            lease: Some(self.lease.clone()),
            progress: Some(convert::progress(&snapshot)),
        }
    }

    /// Applies the lease's new expiry and the requested report interval.
    fn apply(&mut self, response: &ReportProgressResponse) {
        if let Some(expire_time) = &response.lease_expire_time {
            self.deadline.send_replace(renewal_deadline(unix_millis(expire_time)));
        }
        let requested = response.report_interval.as_ref().map(seconds).filter(|seconds| *seconds > 0.0);
        if let Some(requested) = requested.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            self.report_interval = requested.mul_f64(REPORT_INTERVAL_FRACTION).max(REPORT_INTERVAL_MIN);
        }
    }
}

fn stream_end(status: &Status) -> StreamEnd {
    if is_claim_rejected(status) {
        return StreamEnd::LeaseLost(LeaseLoss::Superseded);
    }
    tracing::debug!(%status, "the progress stream broke");
    StreamEnd::Broken
}

fn renewal_deadline(expire_millis: i64) -> Instant {
    let expires = Duration::from_millis(u64::try_from(expire_millis).unwrap_or(0));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Instant::now() + expires.saturating_sub(now).min(MAX_LEASE_TTL) + RENEWAL_GRACE
}
