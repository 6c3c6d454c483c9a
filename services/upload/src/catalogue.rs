//! The video catalogue: find, list, delete.

use reelmill_mesh::paging::{Cursor, Page};
use reelmill_platform::clock::Clock;

use crate::{
    change_feed::ChangeFeed,
    db::{Db, VideoDetail, VideoRow},
    domain::resource_name,
    error::UploadError,
    sweep_signal::SweepSignal,
};

/// Videos of all users.
#[derive(Clone)]
pub(crate) struct Catalogue {
    pub db: Db,
    pub changes: ChangeFeed,
    pub sweep: SweepSignal,
    pub clock: Clock,
}

impl Catalogue {
    /// Finds the owner's video by resource name.
    pub(crate) async fn find(&self, owner: &str, name: &str) -> Result<VideoDetail, UploadError> {
        let id = resource_name::video_id(name).ok_or(UploadError::VideoNotFound)?;
        let detail = self.db.video_detail(id).await?;
        let is_visible = |video: &VideoRow| video.owner == owner && video.delete_time.is_none();
        detail.filter(|detail| is_visible(&detail.video)).ok_or(UploadError::VideoNotFound)
    }

    /// Lists the owner's videos. Returns one page and the token of the next.
    pub(crate) async fn list(
        &self,
        owner: &str,
        page: &Page,
    ) -> Result<(Vec<VideoDetail>, String), UploadError> {
        let mut videos = self.db.videos(owner, page.after.as_ref(), page.query_limit()).await?;
        let cursor = |detail: &VideoDetail| Cursor {
            create_time: detail.video.create_time,
            id: detail.video.id.clone(),
        };
        let next_page_token = page.finish(&mut videos, cursor);
        Ok((videos, next_page_token))
    }

    /// Deletes the owner's video. Deleting it again is not an error until its rows are purged.
    pub(crate) async fn delete(&self, owner: &str, name: &str) -> Result<(), UploadError> {
        let id = resource_name::video_id(name).ok_or(UploadError::VideoNotFound)?;
        let video = self.db.video(id).await?.filter(|video| video.owner == owner);
        let video = video.ok_or(UploadError::VideoNotFound)?;
        if self.db.delete_video(&video, self.clock.now_millis()).await? {
            self.changes.publish_row_change(owner, &video.id).await;
            self.sweep.request();
        }
        Ok(())
    }
}
