//! RPC methods of AdminService.

use std::{collections::HashMap, sync::Arc};

use reelmill_mesh::paging::{Cursor, Page};
use reelmill_platform::{clock::Clock, queue::Queue};
use reelmill_proto::{
    timestamp,
    transcode::{
        ClassLoad, DeadLetter, DrainWorkerRequest, DrainWorkerResponse, GetQueueRequest, GetQueueResponse,
        JobDetails as JobDetailsMessage, ListAllJobsRequest, ListAllJobsResponse, ListDeadLettersRequest,
        ListDeadLettersResponse, ListWorkersRequest, ListWorkersResponse, OwnerLoad as OwnerLoadMessage,
        ReconcileRequest, ReconcileResponse, RedriveDeadLettersRequest, RedriveDeadLettersResponse,
        SetPausedRequest, SetPausedResponse, TaskClass as TaskClassMessage, Worker,
        admin_service_server::AdminService,
    },
};
use tonic::{Request, Response, Status};

use crate::{
    db::{Db, JobDetails},
    domain::{JobState, TaskClass, TaskState, task_name},
    error::TranscodeError,
    messages,
    progress::ProgressTracker,
    publisher::Publisher,
    scheduler::Scheduler,
    sweeper::Sweeper,
    workers::is_gone,
};

/// Dead letters moved or returned at once.
const DEAD_LETTER_BATCH: usize = 10;
/// Dead letters moved by one call.
const MAX_REDRIVEN: i32 = 10_000;

/// AdminService.
pub(crate) struct AdminRpc {
    pub(crate) db: Db,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) sweeper: Arc<Sweeper>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) clock: Clock,
}

impl AdminRpc {
    async fn queue(&self) -> Result<GetQueueResponse, TranscodeError> {
        let counts = self.db.unfinished_tasks().await?;
        let load = |class: TaskClass| {
            let count = |states: &[TaskState]| {
                let of_class = counts.iter().filter(|(of, state, _)| *of == class && states.contains(state));
                of_class.map(|(.., count)| count).sum()
            };
            ClassLoad {
                task_class: match class {
                    TaskClass::Express => TaskClassMessage::Express.into(),
                    TaskClass::Bulk => TaskClassMessage::Bulk.into(),
                },
                waiting_tasks: count(&[TaskState::Held, TaskState::Waiting]),
                queued_tasks: count(&[TaskState::Queued]),
                running_tasks: count(&[TaskState::Running]),
            }
        };
        let owners = self.db.busiest_owners().await?.into_iter().map(|load| OwnerLoadMessage {
            owner: format!("users/{}", load.owner),
            waiting_tasks: load.waiting,
            running_tasks: load.running,
        });
        let depth = self.queue.depth().await?;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(GetQueueResponse {
            paused: self.db.is_paused().await?,
            classes: TaskClass::ALL.map(load).to_vec(),
            owners: owners.collect(),
            waiting_jobs: self.db.waiting_jobs().await?,
            visible_messages: number(depth.visible),
            hidden_messages: number(depth.hidden),
            dead_letters: number(depth.dead_letters),
        })
    }

    async fn workers(&self) -> Result<Vec<Worker>, TranscodeError> {
        let now = self.clock.now_millis();
        let mut running: HashMap<String, Vec<String>> = HashMap::new();
        for (worker, job, task) in self.db.running_tasks().await? {
            running.entry(worker).or_default().push(task_name(&job, &task));
        }
        let workers = self.db.workers().await?.into_iter().map(|row| Worker {
            tasks: running.remove(&row.name).unwrap_or_default(),
            gone: is_gone(row.last_seen_time, now),
            first_seen_time: Some(timestamp(row.first_seen_time)),
            last_seen_time: Some(timestamp(row.last_seen_time)),
            name: row.name,
            host: row.host,
            version: row.version,
            encoder_build: row.encoder_build,
            bulk_slots: row.bulk_slots,
            express_slots: row.express_slots,
            draining: row.draining,
        });
        Ok(workers.collect())
    }

    async fn jobs(&self, request: &ListAllJobsRequest) -> Result<ListAllJobsResponse, TranscodeError> {
        let page = Page::parse("all-jobs", request.page_size, &request.page_token)?;
        let states = messages::requested_states(request.states())?;
        let states = if states.is_empty() { vec![JobState::Queued, JobState::Running] } else { states };
        let mut jobs = self.db.jobs_in_states(&states, page.after.as_ref(), page.query_limit()).await?;
        let next_page_token = page.finish(&mut jobs, |job: &JobDetails| Cursor {
            create_time: job.row.create_time,
            id: job.row.id.clone(),
        });
        let ids: Vec<&str> = jobs.iter().map(|job| job.row.id.as_str()).collect();
        let mut tasks = self.db.tasks_of_jobs(&ids).await?;
        let jobs = jobs.iter().map(|job| {
            let tasks = tasks.remove(&job.row.id).unwrap_or_default();
            JobDetailsMessage {
                job: Some(self.progress.job(job)),
                owner: format!("users/{}", job.row.owner),
                waiting_tasks: tasks.waiting,
                queued_tasks: tasks.queued,
                running_tasks: tasks.running,
                succeeded_tasks: tasks.succeeded,
                workers: tasks.workers,
            }
        });
        Ok(ListAllJobsResponse { jobs: jobs.collect(), next_page_token })
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, TranscodeError> {
        let letters = self.queue.dead_letters(DEAD_LETTER_BATCH).await?;
        let letters = letters.into_iter().map(|letter| DeadLetter {
            body: letter.body,
            receive_count: i32::try_from(letter.receive_count).unwrap_or(i32::MAX),
        });
        Ok(letters.collect())
    }

    async fn redrive(&self) -> Result<i32, TranscodeError> {
        let mut moved = 0;
        loop {
            let letters = self.queue.dead_letters(DEAD_LETTER_BATCH).await?;
            if letters.is_empty() || moved >= MAX_REDRIVEN {
                return Ok(moved);
            }
            for letter in letters {
                self.queue.send(&letter.body, std::time::Duration::ZERO).await?;
                self.queue.delete(&letter.receipt).await?;
                moved += 1;
            }
        }
    }

    async fn reconcile(&self) -> Result<ReconcileResponse, TranscodeError> {
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let owners = self.scheduler.request_all().await?;
        // Not leases and encoder builds: only the sweeper knows whether workers had time to reconnect.
        self.sweeper.end_retry_delays().await?;
        self.scheduler.sweep().await?;
        let published_jobs = self.publisher.sweep().await?;
        self.scheduler.sweep().await?;
        let wake_ups = self.scheduler.replenish_wake_ups().await?;
        Ok(ReconcileResponse {
            owners: number(owners),
            published_jobs: number(published_jobs),
            wake_ups: number(wake_ups),
        })
    }
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    async fn get_queue(&self, _: Request<GetQueueRequest>) -> Result<Response<GetQueueResponse>, Status> {
        Ok(Response::new(self.queue().await?))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse { workers: self.workers().await? }))
    }

    async fn list_all_jobs(
        &self,
        request: Request<ListAllJobsRequest>,
    ) -> Result<Response<ListAllJobsResponse>, Status> {
        Ok(Response::new(self.jobs(request.get_ref()).await?))
    }

    async fn list_dead_letters(
        &self,
        _: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        Ok(Response::new(ListDeadLettersResponse { dead_letters: self.dead_letters().await? }))
    }

    async fn redrive_dead_letters(
        &self,
        _: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<RedriveDeadLettersResponse>, Status> {
        Ok(Response::new(RedriveDeadLettersResponse { moved_messages: self.redrive().await? }))
    }

    async fn set_paused(
        &self,
        request: Request<SetPausedRequest>,
    ) -> Result<Response<SetPausedResponse>, Status> {
        let paused = request.get_ref().paused;
        self.db.set_paused(paused).await?;
        tracing::info!(paused, "the operator changed whether tasks are leased");
        Ok(Response::new(SetPausedResponse {}))
    }

    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        let DrainWorkerRequest { name, draining } = request.get_ref();
        if !self.db.set_draining(name, *draining).await? {
            return Err(TranscodeError::WorkerNotFound(name.clone()).into());
        }
        tracing::info!(worker = name, draining, "the operator changed whether a worker takes tasks");
        Ok(Response::new(DrainWorkerResponse {}))
    }

    async fn reconcile(&self, _: Request<ReconcileRequest>) -> Result<Response<ReconcileResponse>, Status> {
        Ok(Response::new(self.reconcile().await?))
    }
}
