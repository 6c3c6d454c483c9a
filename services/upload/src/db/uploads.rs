//! Upload sessions.

use reelmill_mesh::paging::Cursor;
use reelmill_platform::database::{after_in_list, is_unique_violation};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set, TransactionTrait as _,
    sea_query::Expr,
};

use super::{
    connection::Db,
    entity::{
        claimed_parts, uploads,
        videos::{self, Rungs},
    },
    revision::next_revision,
    videos::mark_deleted,
};
use crate::domain::{
    encoding_options::EncodingOptions,
    part_plan::{ClaimedParts, PartPlan},
    upload_state::{UploadEvent, UploadState},
    video_state::{VideoEvent, VideoState},
};

/// Rows of one INSERT: SQLite allows 32,766 parameters in a statement.
const INSERT_BATCH_ROWS: usize = 1000;

/// A new upload session and its video.
pub(crate) struct NewUpload {
    pub upload_id: String,
    pub video_id: String,
    pub owner: String,
    pub request_id: Option<String>,
    pub file_name: String,
    pub display_name: String,
    pub plan: PartPlan,
    pub options: EncodingOptions,
    pub create_time: i64,
    pub expire_time: i64,
}

/// Result of [`Db::create_upload`].
pub(crate) enum CreateOutcome {
    /// The upload was created.
    Created(uploads::Model),
    /// An earlier call with the same idempotency key created it.
    Existing(uploads::Model),
}

impl uploads::Model {
    /// The parts of the file.
    pub(crate) fn plan(&self) -> PartPlan {
        PartPlan { size: self.size_bytes, part_size: self.part_size_bytes, count: self.part_count }
    }
}

impl NewUpload {
    fn into_rows(self, video_revision: i64) -> (uploads::Model, videos::Model) {
        let upload = uploads::Model {
            id: self.upload_id.clone(),
            video_id: self.video_id.clone(),
            owner: self.owner.clone(),
            request_id: self.request_id,
            state: UploadState::Open,
            file_name: self.file_name,
            size_bytes: self.plan.size,
            part_size_bytes: self.plan.part_size,
            part_count: self.plan.count,
            multipart_upload_id: None,
            complete_time: None,
            create_time: self.create_time,
            update_time: self.create_time,
            expire_time: self.expire_time,
        };
        let mut video = videos::Model {
            id: self.video_id,
            owner: self.owner,
            display_name: self.display_name,
            state: VideoState::Uploading,
            size_bytes: self.plan.size,
            upload_id: self.upload_id,
            create_time: self.create_time,
            complete_time: None,
            playable_time: None,
            end_time: None,
            delete_time: None,
            cleanup_time: None,
            revision: video_revision,
            profile: None,
            preset: None,
            rungs: Rungs::default(),
            keep_hdr: false,
            poster_time_nanos: None,
            source_program: None,
            job: None,
            job_revision: 0,
            failure_reason: None,
            failure_message: None,
            waiting_reason: None,
            waiting_message: None,
            waiting_since: None,
            master_playlist_key: None,
            poster_key: None,
            dash_manifest_key: None,
            thumbnails_key: None,
            output_size_bytes: 0,
            source_container: None,
            source_video_codec: None,
            source_audio_codec: None,
            source_width: None,
            source_height: None,
            source_rotation_degrees: None,
            source_frame_rate: None,
            source_duration_nanos: None,
            source_pixel_format: None,
            source_video_range: None,
            source_interlaced: None,
            source_audio_tracks: None,
            source_subtitle_tracks: None,
            source_contents: None,
        };
        video.set_encoding_options(self.options);
        (upload, video)
    }
}

impl Db {
    /// Creates an upload and its video, unless the owner has used the idempotency key before.
    pub(crate) async fn create_upload(&self, new: NewUpload) -> Result<CreateOutcome, DbErr> {
        let key = new.request_id.clone().map(|request_id| (new.owner.clone(), request_id));
        if let Some(existing) = self.upload_by_request_id(key.as_ref()).await? {
            return Ok(CreateOutcome::Existing(existing));
        }
        let transaction = self.connection.begin().await?;
        let revision = next_revision(&transaction, &new.owner).await?;
        let (upload, video) = new.into_rows(revision);
        let insert = uploads::Entity::insert(upload.clone().into_active_model());
        match insert.exec_without_returning(&transaction).await {
            Err(error) if is_unique_violation(&error) => {
                transaction.rollback().await?;
                // A concurrent call with the same key has created it.
                let existing = self.upload_by_request_id(key.as_ref()).await?;
                return existing.map(CreateOutcome::Existing).ok_or(error);
            }
            inserted => inserted?,
        };
        videos::Entity::insert(video.into_active_model()).exec_without_returning(&transaction).await?;
        transaction.commit().await?;
        Ok(CreateOutcome::Created(upload))
    }

    async fn upload_by_request_id(
        &self,
        owner_and_key: Option<&(String, String)>,
    ) -> Result<Option<uploads::Model>, DbErr> {
        let Some((owner, request_id)) = owner_and_key else { return Ok(None) };
        uploads::Entity::find()
            .filter(uploads::Column::Owner.eq(owner))
            .filter(uploads::Column::RequestId.eq(request_id))
            .one(&self.connection)
            .await
    }

    /// Loads an upload.
    pub(crate) async fn upload(&self, id: &str) -> Result<Option<uploads::Model>, DbErr> {
        uploads::Entity::find_by_id(id).one(&self.connection).await
    }

    /// Lists the owner's uploads that are OPEN or COMPLETING, newest first.
    pub(crate) async fn open_uploads(
        &self,
        owner: &str,
        after: Option<&Cursor>,
        limit: u64,
    ) -> Result<Vec<uploads::Model>, DbErr> {
        uploads::Entity::find()
            .filter(uploads::Column::Owner.eq(owner))
            .filter(uploads::Column::State.is_in([UploadState::Open, UploadState::Completing]))
            .filter(after_in_list(
                after.map(Cursor::position),
                uploads::Column::CreateTime,
                uploads::Column::Id,
            ))
            .order_by_desc(uploads::Column::CreateTime)
            .order_by_desc(uploads::Column::Id)
            .limit(limit)
            .all(&self.connection)
            .await
    }

    /// Replaces the multipart upload id if it still is `expected` and the upload is OPEN. Returns whether it was
    /// replaced.
    pub(crate) async fn replace_multipart_upload(
        &self,
        id: &str,
        expected: Option<&str>,
        new: Option<&str>,
    ) -> Result<bool, DbErr> {
        let is_unchanged = match expected {
            None => uploads::Column::MultipartUploadId.is_null(),
            Some(expected) => uploads::Column::MultipartUploadId.eq(expected),
        };
        let replaced = uploads::Entity::update_many()
            .col_expr(uploads::Column::MultipartUploadId, Expr::value(new.map(str::to_owned)))
            .filter(uploads::Column::Id.eq(id))
            .filter(uploads::Column::State.eq(UploadState::Open))
            .filter(is_unchanged)
            .exec(&self.connection)
            .await?;
        Ok(replaced.rows_affected == 1)
    }

    /// Claims the completion of an upload, or takes over an abandoned claim, if the upload still is as in `seen`.
    /// Returns the claimed upload. The completion time stays that of the first claim since the upload was OPEN.
    pub(crate) async fn claim_completion(
        &self,
        seen: &uploads::Model,
        parts: &ClaimedParts,
        now: i64,
    ) -> Result<Option<uploads::Model>, DbErr> {
        let Ok(next) = seen.state.on(UploadEvent::Claim) else { return Ok(None) };
        let mut claimed = seen.clone();
        claimed.state = next;
        // Unique to each claim, so that a slow call cannot reopen the upload under its successor's claim.
        claimed.update_time = now.max(seen.update_time + 1);
        claimed.complete_time =
            seen.complete_time.filter(|_| seen.state == UploadState::Completing).or(Some(now));
        let transaction = self.connection.begin().await?;
        let updated = uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(claimed.state))
            .col_expr(uploads::Column::UpdateTime, Expr::value(claimed.update_time))
            .col_expr(uploads::Column::CompleteTime, Expr::value(claimed.complete_time))
            .filter(uploads::Column::Id.eq(&seen.id))
            .filter(uploads::Column::State.eq(seen.state))
            .filter(uploads::Column::UpdateTime.eq(seen.update_time))
            .exec(&transaction)
            .await?;
        if updated.rows_affected != 1 {
            transaction.rollback().await?;
            return Ok(None);
        }
        delete_claimed_parts(&transaction, &seen.id).await?;
        insert_claimed_parts(&transaction, &seen.id, parts).await?;
        transaction.commit().await?;
        Ok(Some(claimed))
    }

    /// The parts of the current claim.
    pub(crate) async fn claimed_parts(&self, upload: &str) -> Result<ClaimedParts, DbErr> {
        let rows = claimed_parts::Entity::find().filter(claimed_parts::Column::UploadId.eq(upload));
        let rows = rows.all(&self.connection).await?;
        Ok(rows.into_iter().map(|row| (row.part_number, row.etag)).collect())
    }

    /// Reopens a claimed upload, if the claim still is the current one. Returns whether it was reopened.
    pub(crate) async fn reopen_upload(&self, claimed: &uploads::Model, now: i64) -> Result<bool, DbErr> {
        let Ok(next) = claimed.state.on(UploadEvent::Reopen) else { return Ok(false) };
        let transaction = self.connection.begin().await?;
        let reopened = uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(next))
            .col_expr(uploads::Column::UpdateTime, Expr::value(now.max(claimed.update_time + 1)))
            .col_expr(uploads::Column::CompleteTime, Expr::value(None::<i64>))
            .filter(uploads::Column::Id.eq(&claimed.id))
            .filter(uploads::Column::State.eq(claimed.state))
            .filter(uploads::Column::UpdateTime.eq(claimed.update_time))
            .exec(&transaction)
            .await?;
        if reopened.rows_affected != 1 {
            transaction.rollback().await?;
            return Ok(false);
        }
        delete_claimed_parts(&transaction, &claimed.id).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Completes an upload and moves its video to PROCESSING, in one transaction. Returns `false` if the upload is no
    /// longer COMPLETING.
    pub(crate) async fn finish_upload(&self, upload: &uploads::Model, now: i64) -> Result<bool, DbErr> {
        let completed = UploadState::Completing.on(UploadEvent::Finish);
        let processing = VideoState::Uploading.on(&VideoEvent::Uploaded);
        let (Ok(completed), Ok(processing)) = (completed, processing) else { return Ok(false) };
        let transaction = self.connection.begin().await?;
        let revision = next_revision(&transaction, &upload.owner).await?;
        let finished = uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(completed))
            .col_expr(uploads::Column::UpdateTime, Expr::value(now))
            .filter(uploads::Column::Id.eq(&upload.id))
            .filter(uploads::Column::State.eq(UploadState::Completing))
            .exec(&transaction)
            .await?;
        let moved = videos::Entity::update_many()
            .col_expr(videos::Column::State, Expr::value(processing))
            .col_expr(videos::Column::Revision, Expr::value(revision))
            .col_expr(videos::Column::CompleteTime, Expr::value(upload.complete_time))
            .filter(videos::Column::Id.eq(&upload.video_id))
            .filter(videos::Column::State.eq(VideoState::Uploading))
            .filter(videos::Column::DeleteTime.is_null())
            .exec(&transaction)
            .await?;
        if finished.rows_affected != 1 || moved.rows_affected != 1 {
            transaction.rollback().await?;
            return Ok(false);
        }
        delete_claimed_parts(&transaction, &upload.id).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Aborts an OPEN upload and deletes its video. Returns `false` if the upload is not as in `upload` any more.
    pub(crate) async fn abort_upload(&self, upload: &uploads::Model, now: i64) -> Result<bool, DbErr> {
        let Ok(next) = upload.state.on(UploadEvent::Abort) else { return Ok(false) };
        let transaction = self.connection.begin().await?;
        let revision = next_revision(&transaction, &upload.owner).await?;
        let aborted = uploads::Entity::update_many()
            .col_expr(uploads::Column::State, Expr::value(next))
            .col_expr(uploads::Column::UpdateTime, Expr::value(now))
            .filter(uploads::Column::Id.eq(&upload.id))
            .filter(uploads::Column::State.eq(upload.state))
            .exec(&transaction)
            .await?;
        if aborted.rows_affected != 1 {
            transaction.rollback().await?;
            return Ok(false);
        }
        mark_deleted(&transaction, &upload.video_id, revision, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Aborts an upload that could not be opened in the object store, and releases its idempotency key.
    pub(crate) async fn discard_upload(&self, upload: &uploads::Model, now: i64) -> Result<(), DbErr> {
        if self.abort_upload(upload, now).await? {
            let released = uploads::ActiveModel {
                id: Set(upload.id.clone()),
                request_id: Set(None),
                ..Default::default()
            };
            released.update(&self.connection).await?;
        }
        Ok(())
    }

    /// Lists OPEN uploads that have expired.
    pub(crate) async fn expired_uploads(&self, now: i64, limit: u64) -> Result<Vec<uploads::Model>, DbErr> {
        uploads::Entity::find()
            .filter(uploads::Column::State.eq(UploadState::Open))
            .filter(uploads::Column::ExpireTime.lte(now))
            .limit(limit)
            .all(&self.connection)
            .await
    }

    /// Lists uploads whose completion was claimed at or before `claimed_before` and not finished.
    pub(crate) async fn abandoned_claims(
        &self,
        claimed_before: i64,
        limit: u64,
    ) -> Result<Vec<uploads::Model>, DbErr> {
        uploads::Entity::find()
            .filter(uploads::Column::State.eq(UploadState::Completing))
            .filter(uploads::Column::UpdateTime.lte(claimed_before))
            .limit(limit)
            .all(&self.connection)
            .await
    }
}

async fn insert_claimed_parts(
    transaction: &DatabaseTransaction,
    upload: &str,
    parts: &ClaimedParts,
) -> Result<(), DbErr> {
    let row = |(part_number, etag): (i32, &str)| claimed_parts::ActiveModel {
        upload_id: Set(upload.to_owned()),
        part_number: Set(part_number),
        etag: Set(etag.to_owned()),
    };
    let rows: Vec<_> = parts.iter().map(row).collect();
    for batch in rows.chunks(INSERT_BATCH_ROWS) {
        let insert = claimed_parts::Entity::insert_many(batch.iter().cloned());
        insert.exec_without_returning(transaction).await?;
    }
    Ok(())
}

async fn delete_claimed_parts(transaction: &DatabaseTransaction, upload: &str) -> Result<(), DbErr> {
    claimed_parts::Entity::delete_many()
        .filter(claimed_parts::Column::UploadId.eq(upload))
        .exec(transaction)
        .await?;
    Ok(())
}
