//! The transcode role: plans jobs, schedules their tasks, leases these to workers, records and publishes what workers
//! encode, and streams progress.
//!
//! The database is authoritative. A queue message only says that there is work, a pub/sub message only that a job
//! changed.
//!
//! Requests read downhill: `job_service` and `worker_service` (RPC) call `jobs` and `tasks`, these ask
//! `domain` (pure rules) and write through `db`. In the background run `sweeper`, `publisher` and `cleanup`.

mod cleanup;
mod config;
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
mod sweeper;
mod sweeper_signal;
mod tasks;
mod transcode_service;
mod wake_ups;
mod warnings;
mod worker_service;

use std::sync::Arc;

pub use config::TranscodeConfig;
pub use error::TranscodeError;
pub use reelmill_media::plan::{Codec, Preset};
use reelmill_platform::{clock::Clock, database, objects::Objects, queue::Queue, shared_state::PubSub};
use reelmill_proto::transcode::{
    transcode_service_server::TranscodeServiceServer, worker_service_server::WorkerServiceServer,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    cleanup::Cleanup,
    db::Db,
    feed::JobFeed,
    job_changes::JobChanges,
    jobs::Jobs,
    options::PlannerDefaults,
    plans::Plans,
    progress::ProgressTracker,
    publisher::{PublicationSchedule, Publisher, PublisherInputs},
    sweeper::Sweeper,
    sweeper_signal::SweeperSignal,
    tasks::{
        JobPlanner, LeaseReleaser, LeaseRenewer, Leases, OutputRecorder, PresignedUrls, ReportStreams,
        TaskCompleter, TaskFailer, TaskStarter, WorkMessages,
    },
    transcode_service::TranscodeRpc,
    wake_ups::WakeUps,
    worker_service::WorkerRpc,
};

/// The gRPC services of this role.
pub const SERVICES: &[&str] =
    &["reelmill.transcode.v1.TranscodeService", "reelmill.transcode.v1.WorkerService"];

/// The transcode role: its RPC services and its background work.
#[derive(Clone)]
pub struct Transcode {
    transcode_rpc: Arc<TranscodeRpc>,
    worker_rpc: Arc<WorkerRpc>,
    sweeper: Arc<Sweeper>,
    publisher: Arc<Publisher>,
    cleanup: Arc<Cleanup>,
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
        let db = Db::new(database::connect::<db::migration::Migrator>(&config.database_url).await?);
        let plans = Arc::new(Plans::new(db.clone()));
        let progress = Arc::new(ProgressTracker::new(db.clone(), Arc::clone(&plans)));
        let feed = JobFeed::new(db.clone(), pub_sub, Arc::clone(&progress));
        let sweeper_signal = SweeperSignal::default();
        let jobs_ended = Arc::new(Notify::new());
        let changes = JobChanges::new(
            feed.clone(),
            Arc::clone(&progress),
            sweeper_signal.clone(),
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
            sweeper: sweeper_signal.clone(),
            clock: clock.clone(),
            max_failures: config.max_failures,
            jitter: rand::random::<f64>,
        });
        let releaser = Arc::new(LeaseReleaser {
            db: db.clone(),
            leases: leases.clone(),
            failer: Arc::clone(&failer),
            sweeper: sweeper_signal.clone(),
            clock: clock.clone(),
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
            starter: TaskStarter {
                db: db.clone(),
                changes: changes.clone(),
                progress: Arc::clone(&progress),
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
            },
            reports: Arc::new(ReportStreams {
                leases: leases.clone(),
                renewer: LeaseRenewer { leases: leases.clone(), clock: clock.clone(), lease_ttl_ms },
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
            },
            failer,
        };
        let transcode_rpc = TranscodeRpc {
            jobs: Jobs::new(db.clone(), objects.clone(), changes.clone(), clock.clone()),
            feed,
            progress: Arc::clone(&progress),
            clock: clock.clone(),
        };
        let publisher = Publisher::new(PublisherInputs {
            db: db.clone(),
            plans,
            schedule: publications,
            objects: objects.clone(),
            changes,
            progress,
            clock: clock.clone(),
            publish_interval: config.publish_interval,
        });
        let sweeper = Sweeper {
            db: db.clone(),
            releaser,
            wake_ups: WakeUps::new(db.clone(), queue, clock.clone()),
            clock: clock.clone(),
            signal: sweeper_signal,
            lease_ttl_ms,
        };
        Ok(Self {
            transcode_rpc: Arc::new(transcode_rpc),
            worker_rpc: Arc::new(worker_rpc),
            sweeper: Arc::new(sweeper),
            publisher: Arc::new(publisher),
            cleanup: Arc::new(Cleanup { db, objects, clock, jobs_ended }),
        })
    }

    /// The RPC services, to be served.
    pub fn routes(&self) -> Routes {
        Routes::new(TranscodeServiceServer::from_arc(Arc::clone(&self.transcode_rpc)))
            .add_service(WorkerServiceServer::from_arc(Arc::clone(&self.worker_rpc)))
    }

    /// Does once what [`Transcode::run`] does repeatedly.
    ///
    /// # Errors
    /// A backend is unavailable.
    pub async fn sweep(&self) -> Result<(), TranscodeError> {
        self.sweeper.sweep(true).await?;
        self.publisher.sweep().await?;
        // Wake-ups of tasks that the publisher has created.
        self.sweeper.sweep(true).await?;
        self.cleanup.sweep().await
    }

    /// Runs the background work until `shutdown`: publishes and finishes jobs, releases expired leases, sends wake-ups,
    /// removes unreferenced objects.
    pub async fn run(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.sweeper.run() => {}
            () = self.cleanup.run() => {}
            () = self.publisher.run() => {}
        }
    }
}
