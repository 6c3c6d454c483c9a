//! The upload service: `UploadService` and `VideoService` of reelmill.upload.v1.
//!
//! Clients send files directly to the object store, in parts, with presigned URLs. This service stores the owner and
//! the state of each file. Besides serving calls it runs background work ([`Upload::run`]): the *job follower* applies
//! revisions of transcode jobs to their videos, and the *sweeper* finishes interrupted work.
//!
//! Each capability is a type of its own; [`Upload::open`] connects them. Calls go from the RPC methods
//! (`upload_service.rs`, `video_service.rs`) through the capabilities to the rules in `domain` and the queries in `db`.

mod caller;
mod catalogue;
mod change_feed;
mod config;
mod db;
mod domain;
mod error;
mod job_follower;
mod job_reconciler;
mod job_requests;
mod maintenance_service;
mod multipart_uploads;
mod object_cleanup;
mod playback_urls;
mod progress_cache;
mod session_messages;
mod storage_comparison;
mod sweep_signal;
mod sweeper;
mod transcode_client;
mod upload_completion;
mod upload_service;
mod upload_sessions;
mod video_messages;
mod video_service;
mod watch;

use std::sync::Arc;

use reelmill_mesh::Channel;
use reelmill_platform::{clock::Clock, objects::Objects, shared_state::PubSub, signed_path::PrefixSigner};
use reelmill_proto::upload::{
    maintenance_service_server::MaintenanceServiceServer, upload_service_server::UploadServiceServer,
    video_service_server::VideoServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use config::UploadConfig;
pub use error::UploadError;

use catalogue::Catalogue;
use change_feed::ChangeFeed;
use db::Db;
use job_follower::JobFollower;
use job_reconciler::JobReconciler;
use job_requests::JobRequests;
use maintenance_service::MaintenanceRpc;
use multipart_uploads::MultipartUploads;
use object_cleanup::ObjectCleanup;
use playback_urls::PlaybackUrls;
use progress_cache::ProgressCache;
use storage_comparison::{StorageComparison, StorageWatch};
use sweep_signal::SweepSignal;
use sweeper::{SweepWork, Sweeper};
use transcode_client::TranscodeClient;
use upload_completion::UploadCompletion;
use upload_service::UploadRpc;
use upload_sessions::UploadSessions;
use video_messages::VideoMessages;
use video_service::VideoRpc;
use watch::WatchSources;

/// Full names of the services in [`Upload::routes`].
pub const SERVICES: &[&str] = &[
    "reelmill.upload.v1.UploadService",
    "reelmill.upload.v1.VideoService",
    "reelmill.upload.v1.MaintenanceService",
];

/// Largest request, bytes. CompleteUploadSession with 10,000 parts has about half a megabyte.
const MAX_REQUEST_BYTES: usize = 4 << 20;

/// The upload service.
pub struct Upload {
    upload_rpc: UploadRpc,
    video_rpc: VideoRpc,
    maintenance_rpc: MaintenanceRpc,
    storage_watch: StorageWatch,
    changes: ChangeFeed,
    follower: JobFollower,
    reconciler: JobReconciler,
    sweeper: Sweeper,
}

impl Upload {
    /// Opens and migrates the database. Object store, pub/sub and transcode may still be unavailable.
    pub async fn open(
        config: UploadConfig,
        objects: Objects,
        transcode: Channel,
        pub_sub: Arc<dyn PubSub>,
        clock: Clock,
    ) -> Result<Self, UploadError> {
        let db = Db::open(&config.database_url).await?;
        let transcode = TranscodeClient::new(transcode);
        let changes = ChangeFeed::new(pub_sub);
        let progress = ProgressCache::default();
        let sweep = SweepSignal::default();

        let sessions = UploadSessions {
            db: db.clone(),
            changes: changes.clone(),
            sweep: sweep.clone(),
            clock: clock.clone(),
            part_size_bytes: config.part_size_bytes,
            session_ttl: config.session_ttl,
        };
        let multipart = MultipartUploads {
            db: db.clone(),
            objects: objects.clone(),
            clock: clock.clone(),
            part_url_ttl: config.part_url_ttl,
        };
        let jobs = JobRequests {
            db: db.clone(),
            transcode: transcode.clone(),
            changes: changes.clone(),
            sweep: sweep.clone(),
            clock: clock.clone(),
        };
        let completion = UploadCompletion {
            db: db.clone(),
            objects: objects.clone(),
            jobs: jobs.clone(),
            changes: changes.clone(),
            clock: clock.clone(),
        };
        let catalogue = Catalogue {
            db: db.clone(),
            changes: changes.clone(),
            sweep: sweep.clone(),
            clock: clock.clone(),
        };
        let playback = PlaybackUrls {
            signer: PrefixSigner::new(config.playback_secret.as_bytes()),
            clock: clock.clone(),
            public_url: config.public_url.map(Arc::from),
            default_ttl: config.playback_url_ttl,
        };
        let messages = VideoMessages { progress: progress.clone(), playback: playback.clone() };
        let watch_sources = WatchSources {
            db: db.clone(),
            changes: changes.clone(),
            progress: progress.clone(),
            messages: messages.clone(),
            poll_interval: config.watch_poll_interval,
        };
        let comparison = StorageComparison { db: db.clone(), objects: objects.clone() };
        let cleanup = ObjectCleanup {
            db: db.clone(),
            objects,
            transcode: transcode.clone(),
            progress: progress.clone(),
            clock: clock.clone(),
            failed_source_retention: config.failed_source_retention,
        };

        let reconciler = JobReconciler {
            db: db.clone(),
            transcode: transcode.clone(),
            changes: changes.clone(),
            sweep: sweep.clone(),
            clock: clock.clone(),
            interval: config.reconcile_interval,
        };
        let work = SweepWork { sessions: sessions.clone(), completion: completion.clone(), jobs, cleanup };
        Ok(Self {
            upload_rpc: UploadRpc {
                sessions,
                multipart,
                completion,
                catalogue: catalogue.clone(),
                messages: messages.clone(),
                changes: changes.clone(),
            },
            video_rpc: VideoRpc { catalogue, messages, playback, watch_sources },
            maintenance_rpc: MaintenanceRpc {
                reconciler: reconciler.clone(),
                comparison: comparison.clone(),
            },
            storage_watch: StorageWatch { comparison, interval: config.storage_interval },
            sweeper: Sweeper::new(work, sweep.clone(), config.sweep_interval),
            follower: JobFollower::new(db, transcode, progress, changes.clone(), sweep, clock),
            reconciler,
            changes,
        })
    }

    /// The gRPC services.
    pub fn routes(&self) -> Routes {
        let uploads = UploadServiceServer::new(self.upload_rpc.clone());
        let videos = VideoServiceServer::new(self.video_rpc.clone());
        Routes::new(uploads.max_decoding_message_size(MAX_REQUEST_BYTES))
            .add_service(videos)
            .add_service(MaintenanceServiceServer::new(self.maintenance_rpc.clone()))
    }

    /// Runs the background work until `shutdown`: follows jobs, compares videos with them, sweeps, and forwards changes of other replicas.
    pub async fn run(self, shutdown: CancellationToken) {
        let work = async {
            tokio::join!(
                self.follower.run(),
                self.reconciler.run(),
                self.storage_watch.run(),
                self.sweeper.run(),
                self.changes.forward_remote()
            );
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }
}
