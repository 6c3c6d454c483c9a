//! Videos with their renditions and warnings.

use std::collections::HashMap;

use reelmill_mesh::paging::Cursor;
use reelmill_platform::database::{after_in_list, begin_snapshot};
use reelmill_proto::transcode::{Rendition, Warning};
use sea_orm::{
    ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Select,
};

use super::{
    connection::Db,
    entity::{video_renditions, video_warnings, videos},
};
use crate::domain::video_state::VideoState;

/// A video with everything that its message contains.
#[derive(Clone)]
pub(crate) struct VideoDetail {
    pub video: videos::Model,
    pub renditions: Vec<video_renditions::Model>,
    pub warnings: Vec<video_warnings::Model>,
}

impl Db {
    /// Loads a video with its details, deleted or not.
    pub(crate) async fn video_detail(&self, id: &str) -> Result<Option<VideoDetail>, DbErr> {
        let snapshot = begin_snapshot(&self.connection).await?;
        let video = videos::Entity::find_by_id(id).one(&snapshot).await?;
        let details = load_details(&snapshot, video.into_iter().collect()).await?;
        snapshot.commit().await?;
        Ok(details.into_iter().next())
    }

    /// Lists the owner's videos, newest first.
    pub(crate) async fn videos(
        &self,
        owner: &str,
        after: Option<&Cursor>,
        limit: u64,
    ) -> Result<Vec<VideoDetail>, DbErr> {
        let query = videos::Entity::find()
            .filter(videos::Column::Owner.eq(owner))
            .filter(videos::Column::DeleteTime.is_null())
            .filter(after_in_list(
                after.map(Cursor::position),
                videos::Column::CreateTime,
                videos::Column::Id,
            ))
            .order_by_desc(videos::Column::CreateTime)
            .order_by_desc(videos::Column::Id)
            .limit(limit);
        self.details_of(query).await
    }

    /// Lists the owner's videos that changed after `revision`, including deleted ones, by revision.
    pub(crate) async fn videos_changed_after(
        &self,
        owner: &str,
        revision: i64,
        limit: u64,
    ) -> Result<Vec<VideoDetail>, DbErr> {
        let query = videos::Entity::find()
            .filter(videos::Column::Owner.eq(owner))
            .filter(videos::Column::Revision.gt(revision))
            .order_by_asc(videos::Column::Revision)
            .limit(limit);
        self.details_of(query).await
    }

    async fn details_of(&self, query: Select<videos::Entity>) -> Result<Vec<VideoDetail>, DbErr> {
        let snapshot = begin_snapshot(&self.connection).await?;
        let videos = query.all(&snapshot).await?;
        let details = load_details(&snapshot, videos).await?;
        snapshot.commit().await?;
        Ok(details)
    }
}

async fn load_details(
    snapshot: &DatabaseTransaction,
    videos: Vec<videos::Model>,
) -> Result<Vec<VideoDetail>, DbErr> {
    // Only a job adds details.
    let with_job = videos.iter().filter(|video| video.state != VideoState::Uploading);
    let ids: Vec<String> = with_job.map(|video| video.id.clone()).collect();
    let mut renditions: HashMap<String, Vec<video_renditions::Model>> = HashMap::new();
    let mut warnings: HashMap<String, Vec<video_warnings::Model>> = HashMap::new();
    if !ids.is_empty() {
        let rows = video_renditions::Entity::find()
            .filter(video_renditions::Column::VideoId.is_in(&ids))
            .order_by_asc(video_renditions::Column::VideoId)
            .order_by_asc(video_renditions::Column::RenditionIndex);
        for row in rows.all(snapshot).await? {
            renditions.entry(row.video_id.clone()).or_default().push(row);
        }
        let rows = video_warnings::Entity::find()
            .filter(video_warnings::Column::VideoId.is_in(&ids))
            .order_by_asc(video_warnings::Column::VideoId)
            .order_by_asc(video_warnings::Column::WarningIndex);
        for row in rows.all(snapshot).await? {
            warnings.entry(row.video_id.clone()).or_default().push(row);
        }
    }
    let details = videos.into_iter().map(|video| VideoDetail {
        renditions: renditions.remove(&video.id).unwrap_or_default(),
        warnings: warnings.remove(&video.id).unwrap_or_default(),
        video,
    });
    Ok(details.collect())
}

/// Replaces all renditions of a video. `download_key` returns the key of a rendition's progressive MP4.
pub(super) async fn replace_renditions(
    transaction: &DatabaseTransaction,
    video: &str,
    renditions: &[Rendition],
    download_key: impl Fn(&str) -> Option<String>,
) -> Result<(), DbErr> {
    video_renditions::Entity::delete_many()
        .filter(video_renditions::Column::VideoId.eq(video))
        .exec(transaction)
        .await?;
    if renditions.is_empty() {
        return Ok(());
    }
    let rows = (0..).zip(renditions).map(|(index, rendition)| {
        let download_key = download_key(&rendition.rendition_id);
        video_renditions::Model::new(video, index, rendition, download_key).into_active_model()
    });
    video_renditions::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}

/// Replaces all warnings of a video.
pub(super) async fn replace_warnings(
    transaction: &DatabaseTransaction,
    video: &str,
    warnings: &[Warning],
) -> Result<(), DbErr> {
    video_warnings::Entity::delete_many()
        .filter(video_warnings::Column::VideoId.eq(video))
        .exec(transaction)
        .await?;
    if warnings.is_empty() {
        return Ok(());
    }
    let rows = (0..)
        .zip(warnings)
        .map(|(index, warning)| video_warnings::Model::new(video, index, warning).into_active_model());
    video_warnings::Entity::insert_many(rows).exec_without_returning(transaction).await?;
    Ok(())
}
