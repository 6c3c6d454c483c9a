//! One message of the queue, from its receipt to its end.

use crate::convert;
use crate::dispatch::{ANSWER, CHECKED_ANSWER, Dispatch, insist, is_verdict};
use crate::engine::{Done, Engine, Progress, Snapshot};
use crate::lease::{Keeper, Lost};
use crate::patience::pause;
use crate::scratch::Scratch;
use crate::work::Labour;
use reelmill_media::{Failure, FailureKind};
use reelmill_mesh::reason_of;
use reelmill_platform::queue::{Message, Queue};
use reelmill_proto::transcode::start_task_response::Work;
use reelmill_proto::transcode::{
    self as proto, CompleteTaskRequest, FailTaskRequest, Lease, StartTaskRequest,
};
use reelmill_proto::unix_millis;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How long a received message is hidden from other workers, unless it is extended.
pub(crate) const VISIBILITY: Duration = Duration::from_secs(60);
/// How often it is extended.
const EXTEND_EVERY: Duration = Duration::from_secs(20);
/// How long a task that could not be started is left alone.
const UNSTARTED: Duration = Duration::from_secs(2);
/// How long a task of another encoder build is left to workers that have it.
const OTHER_BUILD: Duration = Duration::from_secs(5);

/// What every task of this worker needs.
pub(crate) struct Bench {
    pub name: String,
    pub encoder_build: String,
    pub drain: Duration,
    pub engine: Engine,
    pub scratch: Scratch,
    pub queue: Arc<dyn Queue>,
    pub dispatch: Dispatch,
    pub shutdown: CancellationToken,
    /// This machine can encode nothing just now, as with a full disk.
    pub unfit: AtomicBool,
}

/// What became of a task that was worked at.
enum Verdict {
    Done(Done),
    Failed(Failure),
}

/// What came of asking for a task.
enum Started {
    Leased {
        lease: Lease,
        expires: i64,
        work: Work,
    },
    /// There is nothing to do.
    Nothing,
    /// What there is to do is for another encoder build.
    NotHere,
}

impl Bench {
    /// Sees a message through. It is deleted once the database has the last word on its task.
    pub(crate) async fn handle(&self, message: Message) {
        if self.unfit.load(Ordering::Relaxed) {
            // Received before another slot found it out.
            return self.leave(&message, UNSTARTED).await;
        }
        let _hidden = self.keep_hidden(&message);
        let started = self.start(&message.body).await;
        let again = match started {
            Ok(Started::Leased { lease, expires, work }) => {
                tracing::info!(task = lease.task, token = lease.fencing_token, "task started");
                (!self.work(lease, expires, work).await).then_some(UNSTARTED)
            }
            Ok(Started::Nothing) => None,
            Ok(Started::NotHere) => Some(OTHER_BUILD),
            Err(status) => {
                tracing::warn!(task = message.body, %status, "the task could not be started");
                Some(UNSTARTED)
            }
        };
        match again {
            None => {
                if let Err(error) = self.queue.delete(&message.receipt).await {
                    tracing::debug!(%error, "the message comes back");
                }
            }
            Some(later) => self.leave(&message, later).await,
        }
    }

    /// Leaves a message to whoever receives it, so much later.
    async fn leave(&self, message: &Message, later: Duration) {
        if let Err(error) = self.queue.extend(&message.receipt, later).await {
            tracing::debug!(%error, "the message comes back when it is no longer hidden");
        }
    }

    /// Keeps the message hidden for as long as what is returned lives.
    fn keep_hidden(&self, message: &Message) -> AbortOnDropHandle<()> {
        let (queue, receipt) = (Arc::clone(&self.queue), message.receipt.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(EXTEND_EVERY).await;
                if let Err(error) = queue.extend(&receipt, VISIBILITY).await {
                    // The lease, not the message, keeps others away.
                    tracing::debug!(%error, "the message was not extended");
                }
            }
        }))
    }

    /// Takes the lease of what is most urgent; `task` is what the message named.
    async fn start(&self, task: &str) -> Result<Started, tonic::Status> {
        let request = StartTaskRequest {
            task: task.to_owned(),
            worker: self.name.clone(),
            encoder_build: self.encoder_build.clone(),
        };
        let ask = || {
            let (mut dispatch, request) = (self.dispatch.clone(), request.clone());
            async move { dispatch.start_task(request).await }
        };
        match insist(Instant::now() + VISIBILITY / 2, ANSWER, ask).await {
            Ok(proto::StartTaskResponse {
                lease: Some(lease), lease_expire_time, work: Some(work), ..
            }) => {
                let expires = lease_expire_time.as_ref().map_or(0, unix_millis);
                Ok(Started::Leased { lease, expires, work })
            }
            Ok(_) => Err(tonic::Status::internal("dispatch gave a lease without work")),
            Err(status) if reason_of(&status).as_deref() == Some("TASK_OTHER_BUILD") => Ok(Started::NotHere),
            Err(status) if is_verdict(&status) => {
                tracing::debug!(task, %status, "nothing to do");
                Ok(Started::Nothing)
            }
            Err(status) => Err(status),
        }
    }

    /// Works at a task and settles it with dispatch. False when dispatch was never told.
    async fn work(&self, lease: Lease, expires: i64, work: Work) -> bool {
        let (progress, snapshots) = Progress::new();
        let keeper = Keeper::new(self.dispatch.clone(), lease.clone(), expires, snapshots.clone());
        let until = keeper.until();
        let settle = async {
            let verdict = self.labour(&lease, work, progress).await;
            let verdict = self.own_fault(verdict).await;
            self.settle(&lease, verdict, until, &snapshots).await
        };
        tokio::select! {
            told = settle => told,
            lost = keeper.keep() => {
                tracing::info!(task = lease.task, ?lost, "task dropped");
                // Nobody else may have been told to take an unreachable dispatch's task.
                lost != Lost::Unreachable
            }
        }
    }

    /// Works, for as long as the worker may run.
    async fn labour(&self, lease: &Lease, work: Work, progress: Progress) -> Verdict {
        let scratch = match self.scratch.task() {
            Ok(scratch) => scratch,
            Err(error) => {
                tracing::error!(%error, "no scratch folder");
                return Verdict::Failed(crashed());
            }
        };
        let (engine, dispatch, lease) = (self.engine.clone(), self.dispatch.clone(), lease.clone());
        let labour = Labour { engine, dispatch, lease, scratch, progress };
        // A task of its own, so that a panic ends it alone.
        let running = AbortOnDropHandle::new(tokio::spawn(labour.run(work)));
        let stopped = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            ended = running => self.verdict(ended),
            () = stopped => Verdict::Failed(worker_stopped()),
        }
    }

    fn verdict(&self, ended: Result<Result<Done, Failure>, JoinError>) -> Verdict {
        let failure = match ended {
            Ok(Ok(done)) => return Verdict::Done(done),
            Ok(Err(failure)) => failure,
            Err(panic) => {
                tracing::error!(%panic, "the engine panicked");
                crashed()
            }
        };
        if !self.shutdown.is_cancelled() {
            return Verdict::Failed(failure);
        }
        // Whoever stops the worker may have stopped its encoder too: this says nothing of the file.
        tracing::info!(
            reason = convert::reason(failure.kind).as_str_name(),
            "a failure while the worker stops"
        );
        Verdict::Failed(worker_stopped())
    }

    /// Where an encoder failed for no fault of the file's, the machine may be to blame. One that can encode nothing at
    /// all hands the task back, which does not count against the job, and takes no more until it can.
    async fn own_fault(&self, verdict: Verdict) -> Verdict {
        let doubtful = |reason| matches!(reason, FailureKind::EncoderCrashed | FailureKind::EncoderStalled);
        match verdict {
            Verdict::Failed(failure) if doubtful(failure.kind) => match self.trial().await {
                // Whoever stops the worker may have stopped its encoder first.
                Ok(()) if self.shutdown.is_cancelled() => Verdict::Failed(worker_stopped()),
                Ok(()) => Verdict::Failed(failure),
                Err(cause) => {
                    tracing::error!(cause, "this worker can't encode: it takes no tasks until it can");
                    self.unfit.store(true, Ordering::Relaxed);
                    Verdict::Failed(unfit())
                }
            },
            other => other,
        }
    }

    /// Waits until this machine can encode again, or the worker stops.
    pub(crate) async fn become_fit(&self) {
        let mut trials = 0;
        while self.unfit.load(Ordering::Relaxed) && !self.shutdown.is_cancelled() {
            trials += 1;
            tokio::select! {
                () = tokio::time::sleep(pause(trials)) => {}
                () = self.shutdown.cancelled() => return,
            }
            match self.trial().await {
                Ok(()) => {
                    tracing::info!("this worker can encode again");
                    self.unfit.store(false, Ordering::Relaxed);
                }
                Err(cause) => tracing::debug!(cause, "this worker still can't encode"),
            }
        }
    }

    /// Tries whether this machine can encode. One that stops is not asked.
    async fn trial(&self) -> Result<(), String> {
        let scratch = self.scratch.task().map_err(|error| format!("no scratch folder: {error}"))?;
        tokio::select! {
            tried = self.engine.trial(scratch.path()) => tried,
            () = self.shutdown.cancelled() => Ok(()),
        }
    }

    /// Tells dispatch how the task ended, until it has heard or the lease is surely lost.
    async fn settle(
        &self,
        lease: &Lease,
        verdict: Verdict,
        until: watch::Receiver<Instant>,
        snapshots: &watch::Receiver<Snapshot>,
    ) -> bool {
        let until = *until.borrow();
        let told = match verdict {
            Verdict::Done(done) => {
                tracing::info!(task = lease.task, warnings = done.warnings.len(), "task done");
                let request = CompleteTaskRequest {
                    lease: Some(lease.clone()),
                    outputs: Vec::new(),
                    warnings: done.warnings.iter().map(convert::warning).collect(),
                };
                let ask = || {
                    let (mut dispatch, request) = (self.dispatch.clone(), request.clone());
                    async move { dispatch.complete_task(request).await }
                };
                insist(until, CHECKED_ANSWER, ask).await.map(drop)
            }
            Verdict::Failed(failure) => {
                let percent = snapshots.borrow().percent;
                tracing::info!(
                    task = lease.task,
                    reason = convert::reason(failure.kind).as_str_name(),
                    percent,
                    "task failed"
                );
                let request = FailTaskRequest {
                    lease: Some(lease.clone()),
                    retryable: failure.kind.retryable(),
                    failure: Some(proto::Failure {
                        reason: convert::reason(failure.kind).as_str_name().into(),
                        message: failure.message,
                    }),
                };
                let ask = || {
                    let (mut dispatch, request) = (self.dispatch.clone(), request.clone());
                    async move { dispatch.fail_task(request).await }
                };
                insist(until, ANSWER, ask).await.map(drop)
            }
        };
        told.inspect_err(|status| tracing::warn!(task = lease.task, %status, "the task was not settled"))
            .map_or_else(|status| is_verdict(&status), |()| true)
    }
}

fn worker_stopped() -> Failure {
    Failure::new(FailureKind::WorkerStopped, "The worker was stopped. Another one goes on.")
}

fn unfit() -> Failure {
    Failure::new(FailureKind::WorkerStopped, "The worker can't encode. Another one goes on.")
}

fn crashed() -> Failure {
    Failure::new(FailureKind::EncoderCrashed, "The worker failed. It is tried again.")
}
