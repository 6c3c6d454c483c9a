//! The transcode role: plans jobs, schedules their tasks, leases these to workers, records and publishes what workers
//! encode, and streams progress.
//!
//! The database is authoritative. A queue message only says that there is work, a pub/sub message only that a job
//! changed.
//!
//! Requests read downhill: `transcode_service`, `worker_service` and `admin_service` (RPC) call `jobs`, `tasks` and
//! `workers`, these ask `domain` (pure rules) and write through `db`. In the background run `scheduler`, which queues
//! tasks, `sweeper`, `publisher` and `cleanup`.

mod admin_service;
mod cleanup;
mod config;
mod database_clock;
mod db;
mod domain;
mod error;
mod feed;
mod job_changes;
mod jobs;
mod messages;
mod options;
mod plans;
mod progress;
mod publisher;
mod scheduler;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod sweeper;
mod sweeper_signal;
mod tasks;
mod transcode_service;
mod wake_ups;
mod warnings;
mod worker_service;
mod workers;

use std::sync::{Arc, Mutex};

pub use config::TranscodeConfig;
pub use error::TranscodeError;
pub use reelmill_media::plan::{Codec, Preset};
use reelmill_platform::{clock::Clock, database, objects::Objects, queue::Queue, shared_state::PubSub};
use reelmill_proto::transcode::{
    admin_service_server::AdminServiceServer, transcode_service_server::TranscodeServiceServer,
    worker_service_server::WorkerServiceServer,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    admin_service::AdminRpc,
    cleanup::Cleanup,
    database_clock::{DatabaseClock, database_clock},
    db::Db,
    domain::OwnerLimits,
    feed::JobFeed,
    job_changes::JobChanges,
    jobs::Jobs,
    options::PlannerDefaults,
    plans::Plans,
    progress::ProgressTracker,
    publisher::{PublicationSchedule, Publisher, PublisherInputs},
    scheduler::Scheduler,
    sweeper::Sweeper,
    sweeper_signal::SweeperSignal,
    tasks::{
        JobPlanner, LeaseReleaser, LeaseRenewer, Leases, OutputRecorder, PresignedUrls, ReportStreams,
        TaskCompleter, TaskFailer, TaskStarter, WorkMessages,
    },
    transcode_service::TranscodeRpc,
    wake_ups::WakeUps,
    worker_service::WorkerRpc,
    workers::{StrandedJobs, Workers},
};

/// Queued tasks of one owner and class. A task that is started makes room for the next one.
const QUEUED_TASKS_PER_OWNER: i64 = 16;

/// Database connections for leasing tasks and renewing leases.
const LEASE_CONNECTIONS: u32 = 4;

/// The gRPC services of this role.
pub const SERVICES: &[&str] = &[
    "reelmill.transcode.v1.TranscodeService",
    "reelmill.transcode.v1.WorkerService",
    "reelmill.transcode.v1.AdminService",
];

/// The transcode role: its RPC services and its background work.
#[derive(Clone)]
pub struct Transcode {
    transcode_rpc: Arc<TranscodeRpc>,
    worker_rpc: Arc<WorkerRpc>,
    admin_rpc: Arc<AdminRpc>,
    sweeper: Arc<Sweeper>,
    scheduler: Arc<Scheduler>,
    publisher: Arc<Publisher>,
    cleanup: Arc<Cleanup>,
    database_clock: DatabaseClock,
}

impl Transcode {
    /// Opens and migrates the database, and puts the role together.
    ///
    /// # Errors
    /// The database cannot be opened or migrated.
    pub async fn open(
        config: TranscodeConfig,
        objects: Objects,
        queue: Arc<dyn Queue>,
        pub_sub: Arc<dyn PubSub>,
        clock: Clock,
    ) -> Result<Self, TranscodeError> {
        let connection = database::connect::<db::migration::Migrator>(&config.database_url).await?;
        let clock = database_clock(&connection, clock).await?;
        let lease_connection =
            database::reserve(&connection, &config.database_url, LEASE_CONNECTIONS).await?;
        let db = Db::new(connection.clone(), lease_connection, clock.clone());
        let plans = Arc::new(Plans::new(db.clone()));
        let progress = Arc::new(ProgressTracker::new(db.clone(), Arc::clone(&plans)));
        let feed = JobFeed::new(db.clone(), Arc::clone(&pub_sub), Arc::clone(&progress));
        let limits = OwnerLimits {
            queued: QUEUED_TASKS_PER_OWNER,
            running: config.max_running_tasks_per_owner.map(i64::from),
            started_jobs: i64::from(config.max_started_jobs_per_owner),
        };
        let scheduler =
            Arc::new(Scheduler::new(db.clone(), pub_sub, WakeUps::new(Arc::clone(&queue)), limits));
        let sweeper_signal = SweeperSignal::default();
        let jobs_ended = Arc::new(Notify::new());
        let changes = JobChanges::new(
            feed.clone(),
            Arc::clone(&progress),
            Arc::clone(&scheduler),
            Arc::clone(&jobs_ended),
        );
        let publications = Arc::new(PublicationSchedule::default());
        let lease_ttl_ms = i64::try_from(config.lease.as_millis()).unwrap_or(i64::MAX);

        let leases = Leases::new(db.clone());
        let failer = Arc::new(TaskFailer {
            leases: leases.clone(),
            changes: changes.clone(),
            progress: Arc::clone(&progress),
            publications: Arc::clone(&publications),
            scheduler: Arc::clone(&scheduler),
            sweeper: sweeper_signal.clone(),
            clock: clock.clone(),
            max_failures: config.max_failures,
            jitter: rand::random::<f64>,
        });
        let releaser = Arc::new(LeaseReleaser {
            db: db.clone(),
            failer: Arc::clone(&failer),
            sweeper: sweeper_signal.clone(),
            lease_after_disconnect: config.lease_after_disconnect,
            max_failures: config.max_failures,
        });
        let urls = PresignedUrls {
            db: db.clone(),
            leases: leases.clone(),
            objects: objects.clone(),
            clock: clock.clone(),
            read_url_ttl: config.address_ttl,
        };
        let worker_rpc = WorkerRpc {
            workers: Workers { db: db.clone(), scheduler: Arc::clone(&scheduler), clock: clock.clone() },
            starter: TaskStarter {
                db: db.clone(),
                changes: changes.clone(),
                scheduler: Arc::clone(&scheduler),
                sweeper: sweeper_signal.clone(),
                clock: clock.clone(),
                lease_ttl_ms,
            },
            planner: JobPlanner {
                leases: leases.clone(),
                changes: changes.clone(),
                publications: Arc::clone(&publications),
                clock: clock.clone(),
                defaults: PlannerDefaults::of(&config),
            },
            work: WorkMessages { db: db.clone(), plans: Arc::clone(&plans), urls: urls.clone() },
            urls,
            recorder: OutputRecorder {
                leases: leases.clone(),
                plans: Arc::clone(&plans),
                changes: changes.clone(),
                publications: Arc::clone(&publications),
                clock: clock.clone(),
            },
            reports: Arc::new(ReportStreams {
                leases: leases.clone(),
                renewer: LeaseRenewer { db: db.clone(), lease_ttl_ms },
                releaser: Arc::clone(&releaser),
                progress: Arc::clone(&progress),
                feed: feed.clone(),
                clock: clock.clone(),
                lease_ttl: config.lease,
            }),
            completer: TaskCompleter {
                leases,
                plans: Arc::clone(&plans),
                changes: changes.clone(),
                progress: Arc::clone(&progress),
                publications: Arc::clone(&publications),
                scheduler: Arc::clone(&scheduler),
                clock: clock.clone(),
            },
            failer,
        };
        let transcode_rpc = TranscodeRpc {
            db: db.clone(),
            jobs: Jobs::new(
                db.clone(),
                objects.clone(),
                changes.clone(),
                Arc::clone(&scheduler),
                clock.clone(),
            ),
            feed,
            progress: Arc::clone(&progress),
            clock: clock.clone(),
        };
        let publisher = Publisher::new(PublisherInputs {
            db: db.clone(),
            plans: Arc::clone(&plans),
            schedule: publications,
            objects: objects.clone(),
            changes: changes.clone(),
            progress: Arc::clone(&progress),
            clock: clock.clone(),
            publish_interval: config.publish_interval,
        });
        let sweeper = Sweeper {
            db: db.clone(),
            releaser,
            scheduler: Arc::clone(&scheduler),
            stranded_jobs: StrandedJobs {
                db: db.clone(),
                plans,
                changes,
                progress: Arc::clone(&progress),
                scheduler: Arc::clone(&scheduler),
                replan_after: config.replan_after,
                last_jobs: Mutex::default(),
            },
            clock: clock.clone(),
            signal: sweeper_signal,
            lease_ttl_ms,
        };
        let (sweeper, publisher) = (Arc::new(sweeper), Arc::new(publisher));
        let admin_rpc = AdminRpc {
            db: db.clone(),
            queue,
            progress,
            scheduler: Arc::clone(&scheduler),
            sweeper: Arc::clone(&sweeper),
            publisher: Arc::clone(&publisher),
            clock: clock.clone(),
        };
        Ok(Self {
            admin_rpc: Arc::new(admin_rpc),
            transcode_rpc: Arc::new(transcode_rpc),
            worker_rpc: Arc::new(worker_rpc),
            sweeper,
            scheduler,
            publisher,
            cleanup: Arc::new(Cleanup { db, objects, clock: clock.clone(), jobs_ended }),
            database_clock: DatabaseClock { connection, clock },
        })
    }

    /// The RPC services, to be served.
    pub fn routes(&self) -> Routes {
        Routes::new(TranscodeServiceServer::from_arc(Arc::clone(&self.transcode_rpc)))
            .add_service(WorkerServiceServer::from_arc(Arc::clone(&self.worker_rpc)))
            .add_service(AdminServiceServer::from_arc(Arc::clone(&self.admin_rpc)))
    }

    /// Does once what [`Transcode::run`] does repeatedly.
    ///
    /// # Errors
    /// A backend is unavailable.
    pub async fn sweep(&self) -> Result<(), TranscodeError> {
        self.sweeper.sweep(false).await?;
        self.queue_tasks().await?;
        self.publisher.sweep().await?;
        // Tasks that the publisher has created.
        self.queue_tasks().await?;
        self.cleanup.sweep().await
    }

    /// Queues the tasks whose retry delay is over, and those that calls of this process have requested, now instead of in
    /// the background.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn queue_tasks(&self) -> Result<(), TranscodeError> {
        self.sweeper.end_retry_delays().await?;
        self.scheduler.sweep().await
    }

    /// Runs the background work until `shutdown`: publishes and finishes jobs, releases expired leases, sends wake-ups,
    /// removes unreferenced objects.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.sweeper.run() => {}
            () = self.scheduler.run() => {}
            () = self.database_clock.run() => {}
            () = self.cleanup.run() => {}
            () = self.publisher.run() => {}
        }
    }
}
