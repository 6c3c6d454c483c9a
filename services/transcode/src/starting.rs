//! Which task a worker gets: the most urgent that it can work at.

use reelmill_proto::transcode::StartTaskRequest;

use crate::{
    dispatch::Dispatch,
    domain::{JobEvent, LeaseError, TaskKind, TaskState, Verdict, task_id},
    error::TranscodeError,
    leases::Leased,
    store::{Generation, JobUnit, TaskRow, new_task},
};

/// How often the most urgent tasks are looked up again when others took them all meanwhile.
const ROUNDS: usize = 3;
/// How often the queue was told of a task in vain before it is believed that no worker has its build any more.
const SENDS_IN_VAIN: i32 = 3;

impl Dispatch {
    /// Leases a task to a worker. The one that its queue message named says only that there is work.
    pub(crate) async fn start_task(&self, request: &StartTaskRequest) -> Result<Leased, TranscodeError> {
        let unknown = || TranscodeError::TaskNotFound(request.task.clone());
        let id = task_id(&request.task).ok_or_else(unknown)?;
        let hinted = self.store.task(id).await?.ok_or_else(unknown)?;
        if let Some(leased) = self.start_anew(&hinted, request).await? {
            return Ok(leased);
        }
        for _ in 0..ROUNDS {
            let now = self.clock.now_millis();
            let urgent = self.store.startable(now, &request.encoder_build).await?;
            if urgent.is_empty() {
                break;
            }
            for candidate in urgent {
                if let Some(leased) = self.take(&candidate, request).await? {
                    return Ok(leased);
                }
            }
        }
        Err(self.refusal(id, request).await?.into())
    }

    /// Why a worker gets nothing, said of the task it named.
    async fn refusal(&self, id: &str, request: &StartTaskRequest) -> Result<LeaseError, TranscodeError> {
        let now = self.store.task(id).await?;
        let now = now.ok_or_else(|| TranscodeError::TaskNotFound(request.task.clone()))?;
        Ok(match TaskState::from_stored(now.state) {
            Some(TaskState::Queued) if !is_for(&now, request) => LeaseError::OtherBuild,
            Some(TaskState::Queued | TaskState::Running) => LeaseError::Leased,
            _ => LeaseError::Ended,
        })
    }

    /// Leases a candidate; none when another took it meanwhile.
    async fn take(
        &self,
        seen: &TaskRow,
        request: &StartTaskRequest,
    ) -> Result<Option<Leased>, TranscodeError> {
        let mut unit = self.store.hold(&seen.job_id).await?;
        let (row, task) = match unit.task(&seen.id).await {
            Err(TranscodeError::TaskNotFound(_)) => return Ok(None),
            found => found?,
        };
        let now = self.clock.now_millis();
        if !unit.is_open() || !is_for(&row, request) || task.start(now).is_err() {
            return Ok(None);
        }
        let mut failures = row.failures;
        if task.state == TaskState::Running {
            match task.retry(self.config.max_failures) {
                Verdict::Retry { failures: counted, .. } => failures = counted,
                // The sweeper gives it up, and says so.
                Verdict::GiveUp => return Ok(None),
            }
        }
        let is_news = unit.advance(JobEvent::TaskStarted, now);
        self.lease(unit, TaskRow { failures, ..row }, request, is_news).await.map(Some)
    }

    /// Leases a task of a held job, which is told where that is news of it.
    async fn lease(
        &self,
        unit: JobUnit,
        row: TaskRow,
        request: &StartTaskRequest,
        is_news: bool,
    ) -> Result<Leased, TranscodeError> {
        let now = self.clock.now_millis();
        let task = TaskRow {
            state: TaskState::Running as i32,
            fencing_token: row.fencing_token + 1,
            lease_expires_at: now.saturating_add(self.lease_ms()),
            worker: request.worker.clone(),
            encoder_build: request.encoder_build.clone(),
            ..row
        };
        unit.save_task(task.clone()).await?;
        let job = if is_news {
            self.commit(unit).await?
        } else {
            let job = unit.job.clone();
            unit.commit_tasks().await?;
            job
        };
        self.woken.notify_one();
        Ok(Leased { job, task })
    }

    /// Starts a job anew whose tasks wait in vain for an encoder build that no worker seems to have any more, and
    /// leases its first task. What was published plays on until it is overwritten.
    async fn start_anew(
        &self,
        hinted: &TaskRow,
        request: &StartTaskRequest,
    ) -> Result<Option<Leased>, TranscodeError> {
        let waits_in_vain = |row: &TaskRow| {
            row.state == TaskState::Queued as i32 && !is_for(row, request) && row.sends >= SENDS_IN_VAIN
        };
        if !waits_in_vain(hinted) {
            return Ok(None);
        }
        // Its workers may be busy with other jobs: then it is their turn that it waits for.
        if self.store.is_at_work(&hinted.required_build, self.clock.now_millis()).await? {
            return Ok(None);
        }
        let mut unit = self.store.hold(&hinted.job_id).await?;
        let row = match unit.task(&hinted.id).await {
            Err(TranscodeError::TaskNotFound(_)) => return Ok(None),
            found => found?.0,
        };
        if !unit.is_open() || !waits_in_vain(&row) || unit.has_running_task().await? {
            return Ok(None);
        }
        tracing::warn!(
            job = row.job_id,
            build = row.required_build,
            "no worker has the encoder build that this job began with: it starts anew"
        );
        unit.restart().await?;
        let first = new_task(&Generation::of(&unit.job), TaskKind::Prepare, 0, self.clock.now_millis());
        unit.add_tasks(vec![first.clone()]).await?;
        self.tracker.started_anew(&row.job_id);
        self.lease(unit, first, request, true).await.map(Some)
    }
}

/// Whether a worker's encoder is the one that a task must be made with.
fn is_for(task: &TaskRow, request: &StartTaskRequest) -> bool {
    task.required_build.is_empty() || task.required_build == request.encoder_build
}
