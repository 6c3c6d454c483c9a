//! Keeps a lease: reports progress on a stream, opens it again when it breaks, and tells when the
//! lease is no more.

use crate::convert;
use crate::dispatch::{Dispatch, is_verdict};
use crate::engine::Snapshot;
use crate::patience::pause;
use reelmill_proto::transcode::{Lease, ReportProgressRequest, ReportProgressResponse};
use reelmill_proto::{seconds, unix_millis};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Reports are at least this far apart.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);
/// How often a lease is renewed before dispatch has said how often it wants that.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);
/// How long after its end a lease is still hoped for. Dispatch may have been away, and the fencing
/// token keeps a mistake harmless.
const HOPE: Duration = Duration::from_secs(120);

/// Why a lease is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The job was cancelled.
    Cancelled,
    /// Another has it, or the task has ended.
    Taken,
    /// Dispatch could not be reached for too long.
    Unreachable,
}

/// How one report stream ended.
enum Ended {
    Lost(Lost),
    Broken,
}

/// The keeper of one lease.
pub(crate) struct Keeper {
    dispatch: Dispatch,
    lease: Lease,
    snapshots: watch::Receiver<Snapshot>,
    /// When hope ends. Shared with whoever settles the task.
    until: watch::Sender<Instant>,
    interval: Duration,
}

impl Keeper {
    /// Keeps `lease`, which dispatch gave until `expires` (Unix time, milliseconds).
    pub(crate) fn new(
        dispatch: Dispatch,
        lease: Lease,
        expires: i64,
        snapshots: watch::Receiver<Snapshot>,
    ) -> Self {
        let until = watch::Sender::new(hope_until(expires));
        Self { dispatch, lease, snapshots, until, interval: FIRST_INTERVAL }
    }

    /// When the lease is surely lost, unless it is renewed.
    pub(crate) fn until(&self) -> watch::Receiver<Instant> {
        self.until.subscribe()
    }

    /// Keeps the lease until it is lost.
    pub(crate) async fn keep(mut self) -> Lost {
        let mut breaks = 0;
        loop {
            let opened = Instant::now();
            match self.stream().await {
                Ended::Lost(lost) => return lost,
                Ended::Broken if Instant::now() >= *self.until.borrow() => return Lost::Unreachable,
                Ended::Broken => {}
            }
            breaks = if opened.elapsed() > Duration::from_secs(10) { 1 } else { breaks + 1 };
            tokio::time::sleep(pause(breaks)).await;
        }
    }

    /// Opens a report stream and lives on it until it ends.
    async fn stream(&mut self) -> Ended {
        let (reports, outgoing) = mpsc::channel(1);
        if reports.try_send(self.report()).is_err() {
            return Ended::Broken;
        }
        let until = *self.until.borrow();
        let opening = self.dispatch.report_progress(ReceiverStream::new(outgoing));
        match tokio::time::timeout_at(until, opening).await {
            Ok(Ok(answers)) => self.converse(reports, answers.into_inner()).await,
            Ok(Err(status)) => ended(&status),
            Err(_) => Ended::Broken,
        }
    }

    async fn converse(
        &mut self,
        reports: mpsc::Sender<ReportProgressRequest>,
        mut answers: Streaming<ReportProgressResponse>,
    ) -> Ended {
        let mut tick = interval(SHORTEST_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = Instant::now();
        loop {
            let until = *self.until.borrow();
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) if answer.cancel => return Ended::Lost(Lost::Cancelled),
                    Ok(Some(answer)) => self.renewed(&answer),
                    Ok(None) => return Ended::Broken,
                    Err(status) => return ended(&status),
                },
                _ = tick.tick() => {
                    let changed = self.snapshots.has_changed().unwrap_or(false);
                    if !changed && reported.elapsed() < self.interval {
                        continue;
                    }
                    // A full channel is a stream that does not drain: the next tick tries again.
                    match reports.try_send(self.report()) {
                        Ok(()) => reported = Instant::now(),
                        Err(mpsc::error::TrySendError::Full(_)) => {}
                        Err(mpsc::error::TrySendError::Closed(_)) => return Ended::Broken,
                    }
                }
                () = sleep_until(until) => return Ended::Broken,
            }
        }
    }

    fn report(&mut self) -> ReportProgressRequest {
        let snapshot = self.snapshots.borrow_and_update();
        ReportProgressRequest {
            lease: Some(self.lease.clone()),
            progress: Some(convert::progress(&snapshot)),
        }
    }

    fn renewed(&mut self, answer: &ReportProgressResponse) {
        if let Some(expires) = &answer.lease_expire_time {
            self.until.send_replace(hope_until(unix_millis(expires)));
        }
        let wanted = answer.report_interval.as_ref().map(seconds).filter(|seconds| *seconds > 0.0);
        if let Some(wanted) = wanted.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            // A little earlier than asked: the way takes time, too.
            self.interval = wanted.mul_f64(0.8).max(SHORTEST_INTERVAL);
        }
    }
}

fn ended(status: &Status) -> Ended {
    if is_verdict(status) {
        return Ended::Lost(Lost::Taken);
    }
    tracing::debug!(%status, "the report stream broke");
    Ended::Broken
}

fn hope_until(expires_millis: i64) -> Instant {
    let expires = Duration::from_millis(u64::try_from(expires_millis).unwrap_or(0));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Instant::now() + expires.saturating_sub(now).min(Duration::from_secs(3600)) + HOPE
}
