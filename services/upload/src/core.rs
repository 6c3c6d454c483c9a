//! What both services and the background work stand on.

use std::{sync::Arc, time::Duration};

use reelmill_mesh::Channel;
use reelmill_platform::{clock::Clock, objects::Objects, shared_state::PubSub, signed_path::PathSigner};
use tokio::sync::Notify;

use crate::{
    UploadConfig, UploadError,
    changes::Changes,
    domain::names,
    jobs::Jobs,
    store::{Store, upload_row, video_row},
};

pub(crate) struct Core {
    pub config: UploadConfig,
    pub store: Store,
    pub objects: Objects,
    pub jobs: Jobs,
    pub pub_sub: Arc<dyn PubSub>,
    pub clock: Clock,
    pub signer: PathSigner,
    pub changes: Changes,
    /// Wakes the sweeper: something was left to it.
    pub unfinished: Notify,
}

impl Core {
    pub(crate) async fn open(
        config: UploadConfig,
        objects: Objects,
        transcode: Channel,
        pub_sub: Arc<dyn PubSub>,
        clock: Clock,
    ) -> Result<Self, UploadError> {
        Ok(Self {
            store: Store::open(&config.database_url).await?,
            signer: PathSigner::new(config.playback_secret.as_bytes()),
            jobs: Jobs::new(transcode),
            changes: Changes::default(),
            unfinished: Notify::new(),
            config,
            objects,
            pub_sub,
            clock,
        })
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_millis()
    }

    /// The caller's upload of that name.
    pub(crate) async fn upload_of(&self, owner: &str, name: &str) -> Result<upload_row::Model, UploadError> {
        let id = names::id_of("uploads", name).ok_or(UploadError::UploadNotFound)?;
        let upload = self.store.upload(id).await?;
        upload.filter(|upload| upload.owner == owner).ok_or(UploadError::UploadNotFound)
    }

    /// The caller's video of that name, deleted or not.
    pub(crate) async fn video_or_tombstone(
        &self,
        owner: &str,
        name: &str,
    ) -> Result<video_row::Model, UploadError> {
        let id = names::id_of("videos", name).ok_or(UploadError::VideoNotFound)?;
        let video = self.store.video(id).await?;
        video.filter(|video| video.owner == owner).ok_or(UploadError::VideoNotFound)
    }

    /// The caller's video of that name.
    pub(crate) async fn video_of(&self, owner: &str, name: &str) -> Result<video_row::Model, UploadError> {
        let video = self.video_or_tombstone(owner, name).await?;
        if video.delete_time.is_some() { Err(UploadError::VideoNotFound) } else { Ok(video) }
    }

    /// Tells everybody that a video's record changed: watchers here at once, other replicas by the hub.
    pub(crate) async fn announce(&self, owner: &str, video: &str) {
        self.changes.stored(owner, video);
        self.changes.publish(self.pub_sub.as_ref(), owner, video).await;
    }
}

/// Milliseconds of a length of time.
pub(crate) fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
