//! Upload sessions: create, find, list, abort.

use std::time::Duration;

use reelmill_mesh::paging::{Cursor, Page};
use reelmill_platform::clock::{Clock, duration_millis};
use reelmill_proto::upload::CreateUploadSessionRequest;

use crate::{
    change_feed::ChangeFeed,
    db::{CreateOutcome, Db, NewUpload, UploadRow},
    domain::{
        encoding_options::EncodingOptions, file_name, idempotency_key, part_plan::PartPlan, resource_name,
    },
    error::UploadError,
    sweep_signal::SweepSignal,
};

/// Upload sessions of all users.
#[derive(Clone)]
pub(crate) struct UploadSessions {
    pub db: Db,
    pub changes: ChangeFeed,
    pub sweep: SweepSignal,
    pub clock: Clock,
    /// Minimum size of a part, bytes.
    pub part_size_bytes: i64,
    pub session_ttl: Duration,
}

impl UploadSessions {
    /// Creates an upload session and its video. A repeated idempotency key returns the existing session, if the file
    /// and the options are the same.
    pub(crate) async fn create(
        &self,
        owner: &str,
        request: &CreateUploadSessionRequest,
    ) -> Result<CreateOutcome, UploadError> {
        let file_name = file_name::parse(&request.file_name)?;
        let now = self.clock.now_millis();
        let new = NewUpload {
            upload_id: resource_name::new_id(),
            video_id: resource_name::new_id(),
            owner: owner.to_owned(),
            request_id: idempotency_key::parse(&request.request_id)?,
            display_name: file_name::parse_display_name(&request.display_name, &file_name)?,
            file_name,
            plan: PartPlan::new(request.size_bytes, self.part_size_bytes)?,
            options: EncodingOptions::parse(request.options.as_ref())?,
            create_time: now,
            expire_time: now + duration_millis(self.session_ttl),
        };
        let (file_name, size, options) = (new.file_name.clone(), new.plan.size, new.options.clone());
        let outcome = self.db.create_upload(new).await?;
        if let CreateOutcome::Existing(upload) = &outcome {
            if upload.size_bytes != size || upload.file_name != file_name {
                return Err(UploadError::field("request_id", "was used for another file"));
            }
            let video = self.db.video(&upload.video_id).await?;
            if video.is_some_and(|video| video.encoding_options() != options) {
                return Err(UploadError::field("request_id", "was used with other options"));
            }
        }
        Ok(outcome)
    }

    /// Discards a session that could not be opened in the object store: the client sees no trace of it.
    pub(crate) async fn discard(&self, upload: &UploadRow) -> Result<(), UploadError> {
        self.db.discard_upload(upload, self.clock.now_millis()).await?;
        self.sweep.request();
        Ok(())
    }

    /// Finds the owner's upload session by resource name.
    pub(crate) async fn find(&self, owner: &str, name: &str) -> Result<UploadRow, UploadError> {
        let id = resource_name::upload_id(name).ok_or(UploadError::UploadNotFound)?;
        let upload = self.db.upload(id).await?;
        upload.filter(|upload| upload.owner == owner).ok_or(UploadError::UploadNotFound)
    }

    /// Lists the owner's open sessions. Returns one page and the token of the next.
    pub(crate) async fn list_open(
        &self,
        owner: &str,
        page: &Page,
    ) -> Result<(Vec<UploadRow>, String), UploadError> {
        let mut uploads = self.db.open_uploads(owner, page.after.as_ref(), page.query_limit()).await?;
        let cursor = |row: &UploadRow| Cursor { create_time: row.create_time, id: row.id.clone() };
        let next_page_token = page.finish(&mut uploads, cursor);
        Ok((uploads, next_page_token))
    }

    /// Sessions that expired while OPEN.
    pub(crate) async fn expired(&self, limit: u64) -> Result<Vec<UploadRow>, UploadError> {
        Ok(self.db.expired_uploads(self.clock.now_millis(), limit).await?)
    }

    /// Aborts an OPEN session and deletes its video. Aborting again is not an error.
    pub(crate) async fn abort(&self, upload: &UploadRow) -> Result<(), UploadError> {
        if !self.try_abort(upload).await? {
            return Err(UploadError::UploadNotOpen);
        }
        Ok(())
    }

    /// Aborts a session if it is still OPEN. Returns whether it was.
    pub(crate) async fn try_abort(&self, upload: &UploadRow) -> Result<bool, UploadError> {
        if !self.db.abort_upload(upload, self.clock.now_millis()).await? {
            return Ok(false);
        }
        self.changes.publish_row_change(&upload.owner, &upload.video_id).await;
        // The sweeper deletes the objects.
        self.sweep.request();
        Ok(true)
    }
}
