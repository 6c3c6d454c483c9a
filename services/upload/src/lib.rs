//! The upload service: `UploadService` and `VideoService` of reelmill.upload.v1.
//!
//! Bytes go from the client straight to the object store, in parts, by presigned addresses; this service keeps
//! what belongs to whom and how far it is. Beside the calls it answers, it works in the background
//! ([`Upload::run`]): the *follower* applies what becomes of the transcode jobs, and the *sweeper* finishes
//! whatever a crash or an absent neighbour cut short.

mod changes;
mod complete;
mod config;
mod convert;
mod core;
mod domain;
mod error;
mod follower;
mod jobs;
mod multipart;
mod playback;
mod store;
mod sweeper;
mod upload_service;
mod video_service;
mod watch;

use std::sync::Arc;

use reelmill_mesh::Channel;
use reelmill_platform::{clock::Clock, objects::Objects, shared_state::PubSub};
use reelmill_proto::upload::{
    upload_service_server::UploadServiceServer, video_service_server::VideoServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use config::UploadConfig;
pub use error::UploadError;

use crate::{core::Core, upload_service::Uploads, video_service::Videos};

/// Full names of the services in [`Upload::routes`].
pub const SERVICES: &[&str] = &["reelmill.upload.v1.UploadService", "reelmill.upload.v1.VideoService"];

/// Completing an upload of ten thousand parts names each with its entity tag: about half a megabyte.
const MAX_REQUEST: usize = 4 << 20;

/// The upload service over its database, store and neighbours.
#[derive(Clone)]
pub struct Upload {
    core: Arc<Core>,
}

impl Upload {
    /// Opens the database and brings it up to date. The store, the hub and the transcode service may still be
    /// away.
    pub async fn open(
        config: UploadConfig,
        objects: Objects,
        transcode: Channel,
        pub_sub: Arc<dyn PubSub>,
        clock: Clock,
    ) -> Result<Self, UploadError> {
        let core = Core::open(config, objects, transcode, pub_sub, clock).await?;
        Ok(Self { core: Arc::new(core) })
    }

    /// The services, to be served by the mesh.
    pub fn routes(&self) -> Routes {
        let uploads = UploadServiceServer::new(Uploads(Arc::clone(&self.core)));
        let videos = VideoServiceServer::new(Videos(Arc::clone(&self.core)));
        Routes::new(uploads.max_decoding_message_size(MAX_REQUEST)).add_service(videos)
    }

    /// The background work: follows jobs, sweeps, and hears of other replicas' changes. Ends at `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let work = async {
            tokio::join!(
                follower::run(Arc::clone(&self.core)),
                sweeper::run(Arc::clone(&self.core)),
                changes::listen(Arc::clone(&self.core)),
            )
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = work => {}
        }
    }
}
