//! The worker role: leases tasks from the dispatcher, runs ffmpeg, and puts the outputs in the object store.
//!
//! One task, from message to outcome:
//!
//! 1. `slot` asks for a task; if there is none it waits for a queue message, and asks again every few seconds.
//! 2. `start_task` calls StartTask: the dispatcher grants a lease with a fencing token. One message is kept hidden
//!    while the task runs (`queue_message`).
//! 3. `execute_task` runs the task; `lease_renewal` reports progress, which renews the lease, and drops the
//!    task when the lease is lost.
//! 4. `task_runner` does what the task asks for with the [`engine`]: probe the source and have the job
//!    planned (PlanJob), encode a work unit, or package a rendition.
//! 5. The engine hands each output to `presigned_sink`, which puts it at a URL from SignOutputs
//!    (`output_url_cache`) and records it (RecordOutputs).
//! 6. `encoder_health` decides whether this machine caused a failure, and `settle_task` calls CompleteTask or
//!    FailTask. Then the message is deleted.
//!
//! All calls go through `dispatcher_client`. The engine depends neither on the queue nor on leases.

mod backoff;
mod config;
mod convert;
mod dependency_breaker;
mod dispatcher_client;
mod encoder_build;
mod encoder_health;
mod error;
mod execute_task;
mod lease_renewal;
mod output_url_cache;
mod presigned_sink;
mod queue_message;
mod registration;
mod scratch;
mod settle_task;
mod slot;
mod start_task;
mod task_runner;

pub mod engine;

pub use config::{DEFAULT_EXPRESS_SLOTS, WorkerConfig, default_slots};
pub use convert::reason;
pub use error::WorkerError;

use std::{sync::Arc, time::Duration};

use reelmill_mesh::Channel;
use reelmill_platform::queue::Queue;
use reelmill_proto::transcode::{
    RegisterWorkerRequest, TaskClass, worker_service_client::WorkerServiceClient,
};
use reqwest::{Client, redirect::Policy};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    dependency_breaker::DependencyBreaker,
    dispatcher_client::DispatcherClient,
    encoder_health::EncoderHealth,
    engine::{Admission, Engine, EngineLimits, Tools},
    execute_task::TaskExecutor,
    registration::Registration,
    scratch::Scratch,
    slot::WorkerContext,
    start_task::StartTaskClient,
};

/// Timeout of a connection to the object store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the worker until `shutdown`. Then it takes no new task, gives running ones [`WorkerConfig::drain`],
/// and hands back those that have not ended, so that another worker can continue them at once.
///
/// # Errors
/// When the scratch folder or ffmpeg cannot be used, or a slot panics.
pub async fn run(
    config: WorkerConfig,
    queue: Arc<dyn Queue>,
    dispatcher: WorkerServiceClient<Channel>,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let slots = std::iter::repeat_n(TaskClass::Bulk, config.slots.max(1))
        .chain(std::iter::repeat_n(TaskClass::Express, config.express_slots.max(1)));
    let slots: Vec<TaskClass> = slots.collect();
    let dispatcher = DispatcherClient::new(dispatcher);
    let context = Arc::new(worker_context(config, queue, dispatcher, shutdown).await?);
    let registration = Arc::clone(&context.registration);
    let _registering = AbortOnDropHandle::new(tokio::spawn(async move { registration.run().await }));
    let mut running = JoinSet::new();
    for class in slots {
        running.spawn(slot::run_slot(Arc::clone(&context), class));
    }
    while let Some(joined) = running.join_next().await {
        joined.map_err(WorkerError::Slot)?;
    }
    Ok(())
}

/// Puts together what the slots use.
async fn worker_context(
    config: WorkerConfig,
    queue: Arc<dyn Queue>,
    dispatcher: DispatcherClient,
    shutdown: CancellationToken,
) -> Result<WorkerContext, WorkerError> {
    reelmill_jail::check(config.jail.mode).map_err(WorkerError::Jail)?;
    let encoder_build = encoder_build::name(&config.ffmpeg).await?;
    let engine = Engine {
        tools: Tools { ffmpeg: config.ffmpeg, ffprobe: config.ffprobe, jail: config.jail },
        limits: EngineLimits::default(),
        http: http_client()?,
        admission: Admission::default(),
    };
    let scratch = Arc::new(Scratch::open(&config.scratch_dir)?);
    let health = EncoderHealth::new(engine.clone(), Arc::clone(&scratch), shutdown.clone());
    let health = Arc::new(health);
    let breaker = Arc::new(DependencyBreaker::default());
    let number = |slots: usize| i32::try_from(slots.max(1)).unwrap_or(i32::MAX);
    let registration = RegisterWorkerRequest {
        name: config.name.clone(),
        host: config.host,
        version: config.version,
        encoder_build: encoder_build.clone(),
        bulk_slots: number(config.slots),
        express_slots: number(config.express_slots),
    };
    Ok(WorkerContext {
        registration: Registration::new(dispatcher.clone(), registration),
        queue,
        starter: StartTaskClient { dispatcher: dispatcher.clone(), worker_name: config.name, encoder_build },
        executor: TaskExecutor {
            dispatcher,
            engine,
            scratch,
            health: Arc::clone(&health),
            breaker: Arc::clone(&breaker),
            shutdown: shutdown.clone(),
            drain: config.drain,
        },
        health,
        breaker,
        shutdown,
    })
}

fn http_client() -> Result<Client, WorkerError> {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        // An object store does not redirect presigned URLs: a redirect could lead to an internal address.
        .redirect(Policy::none())
        .build()
        .map_err(WorkerError::Http)
}
