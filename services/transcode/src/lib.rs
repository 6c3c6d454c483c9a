//! The transcode service, or dispatch: makes jobs of tasks, puts the tasks' names on the queue, leases
//! them to workers, records what they make, publishes it as it comes, and streams how far they are.
//!
//! The database is the truth; the queue only says "look", and the hub only says "changed".

mod config;
mod convert;
mod dispatch;
mod domain;
mod error;
mod feed;
mod job_service;
mod leases;
mod options;
mod outputs;
mod planning;
mod plans;
mod progress;
mod publish;
mod reached;
mod recording;
mod report;
mod starting;
mod store;
mod sweeper;
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
    dispatch::Dispatch, feed::Feed, job_service::JobService, plans::Plans, progress::Tracker,
    publish::Publisher, store::Store, worker_service::Workers,
};

/// The services this crate serves.
pub const SERVICES: &[&str] =
    &["reelmill.transcode.v1.TranscodeService", "reelmill.transcode.v1.WorkerService"];

/// The transcode role: its methods, and the work it does beside them.
#[derive(Clone)]
pub struct Transcode {
    dispatch: Arc<Dispatch>,
}

impl Transcode {
    /// Opens the database, bringing its schema up to date.
    pub async fn open(
        config: TranscodeConfig,
        objects: Objects,
        queue: Arc<dyn Queue>,
        pub_sub: Arc<dyn PubSub>,
        clock: Clock,
    ) -> Result<Self, TranscodeError> {
        let database = database::connect::<store::migration::Migrator>(&config.database_url).await?;
        let store = Store::new(database);
        let tracker = Arc::<Tracker>::default();
        let feed = Feed::new(store.clone(), pub_sub, Arc::clone(&tracker));
        Ok(Self {
            dispatch: Arc::new(Dispatch {
                config,
                plans: Plans::new(store.clone()),
                store,
                tracker,
                publisher: Publisher::new(),
                feed,
                objects,
                queue,
                clock,
                woken: Notify::new(),
                ended: Notify::new(),
            }),
        })
    }

    /// The methods, to be served.
    pub fn routes(&self) -> Routes {
        Routes::new(TranscodeServiceServer::new(JobService::new(Arc::clone(&self.dispatch))))
            .add_service(WorkerServiceServer::new(Workers::new(Arc::clone(&self.dispatch))))
    }

    /// Does once what [`Transcode::run`] does again and again.
    pub async fn sweep(&self) -> Result<(), TranscodeError> {
        sweeper::sweep(&self.dispatch).await
    }

    /// The work beside the methods, until `shutdown`: puts playlists and finishes jobs, sends what a crash kept
    /// from the queue, ends leases that ran out, removes what lost attempts left in the store.
    pub async fn run(&self, shutdown: CancellationToken) {
        sweeper::run(Arc::clone(&self.dispatch), shutdown).await;
    }
}
