//! The end of an upload: are the parts the file, join them, send the video on.
//!
//! A call that completes an upload first *claims* it (OPEN to COMPLETING, with a time of its own, and with what
//! the client claims to have sent). Whoever holds the newest claim may end it; a claim that nobody ended is
//! taken over, by a later call or by the sweeper. Two that work at the same upload do no harm: joining the parts
//! twice gives the same file, and one transaction alone moves the video on.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use reelmill_platform::objects::ObjectsError;
use reelmill_proto::upload::{CompleteUploadSessionRequest, CompletedPart};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::{
    UploadError,
    core::{Core, millis},
    domain::upload::State,
    store::{upload_row, video_row},
};

/// A claim older than this is nobody's.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(30);
/// How long a call waits for another that completes the same upload.
const WAIT_FOR_OTHER: Duration = Duration::from_secs(20);
/// While waiting, look again at least this often: the other's process may have died.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Core {
    /// Completes an upload, or waits for the call that does. Goes on to its end even when the caller goes away.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        upload: upload_row::Model,
        request: CompleteUploadSessionRequest,
    ) -> Result<video_row::Model, UploadError> {
        let core = Arc::clone(self);
        tokio::spawn(async move { core.complete_or_wait(upload, &request).await }.in_current_span()).await?
    }

    async fn complete_or_wait(
        &self,
        mut upload: upload_row::Model,
        request: &CompleteUploadSessionRequest,
    ) -> Result<video_row::Model, UploadError> {
        let give_up = Instant::now() + WAIT_FOR_OTHER;
        loop {
            let mut news = self.changes.listen();
            upload = self.store.upload(&upload.id).await?.ok_or(UploadError::UploadNotFound)?;
            let held = upload.state == State::Completing && !self.is_stuck(&upload);
            match upload.state {
                State::Completed => return self.completed_video(&upload).await,
                State::Aborted => return Err(UploadError::UploadNotOpen),
                _ if held && Instant::now() >= give_up => return Err(UploadError::UploadCompleting),
                _ if held => {
                    let _ = timeout_at(Instant::now() + LOOK_AGAIN, news.about(&upload.video_id)).await;
                }
                State::Open | State::Completing => {
                    let claim = self.store.claim(&upload, request.encode_to_vec(), self.now()).await?;
                    if let Some(claimed) = claim {
                        return self.complete_claimed(&claimed, &request.parts).await;
                    }
                }
            }
        }
    }

    fn is_stuck(&self, upload: &upload_row::Model) -> bool {
        upload.update_time <= self.now() - millis(STUCK_AFTER)
    }

    async fn complete_claimed(
        &self,
        claimed: &upload_row::Model,
        parts: &[CompletedPart],
    ) -> Result<video_row::Model, UploadError> {
        let joined = self.join(claimed, parts).await;
        if joined.is_err() {
            self.store.reopen(claimed, self.now()).await?;
            self.announce(&claimed.owner, &claimed.video_id).await;
        }
        joined?;
        self.send_on(claimed).await
    }

    /// Takes over a claim that nobody ended. A store that is away leaves it claimed, to be tried again.
    pub(crate) async fn complete_stuck(&self, stuck: &upload_row::Model) -> Result<(), UploadError> {
        let parts = stuck.claimed_parts.clone().unwrap_or_default();
        let request = CompleteUploadSessionRequest::decode(parts.as_slice())?;
        let Some(claimed) = self.store.claim(stuck, parts, self.now()).await? else { return Ok(()) };
        match self.join(&claimed, &request.parts).await {
            Ok(()) => self.send_on(&claimed).await.map(|_| ()),
            Err(error) if error.is_clients() => {
                self.store.reopen(&claimed, self.now()).await?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Checks the parts and makes the object of them.
    async fn join(&self, upload: &upload_row::Model, claimed: &[CompletedPart]) -> Result<(), UploadError> {
        let (key, plan) = (upload.key(), upload.plan());
        let multipart = upload.store_upload_id.as_deref().ok_or(UploadError::PartMissing(1))?;
        match self.objects.list_parts(&key, multipart).await {
            Ok(stored) => {
                let parts = plan.check(claimed, &stored)?;
                match self.objects.complete_multipart(&key, multipart, &parts).await {
                    Err(ObjectsError::InvalidParts { .. }) => {
                        // A part was sent again between the two calls: say which.
                        let stored = self.objects.list_parts(&key, multipart).await?;
                        plan.check(claimed, &stored)?;
                        return Err(UploadError::PartMissing(1));
                    }
                    joined => joined?,
                };
            }
            // Joined before, by a call that was cut short: the object decides.
            Err(ObjectsError::UploadNotFound) => {}
            Err(error) => return Err(error.into()),
        }
        match self.objects.head(&key).await? {
            Some(head) if head.size == plan.size => Ok(()),
            Some(_) => Err(UploadError::SizeMismatch { declared: plan.size }),
            None => Err(UploadError::PartMissing(1)),
        }
    }

    /// The file is whole: the video is PROCESSING from here on, and gets its job now or, if transcoding is away,
    /// by the sweeper.
    async fn send_on(&self, upload: &upload_row::Model) -> Result<video_row::Model, UploadError> {
        if !self.store.finish(upload, self.now()).await? {
            let video = self.completed_video(upload).await?;
            let upload = self.store.upload(&upload.id).await?.ok_or(UploadError::UploadNotFound)?;
            return match upload.state {
                State::Completed => Ok(video),
                State::Aborted => Err(UploadError::UploadNotOpen),
                // A successor that took the claim over set it free: the next call finds the file whole.
                State::Open | State::Completing => Err(UploadError::UploadCompleting),
            };
        }
        self.announce(&upload.owner, &upload.video_id).await;
        let video = self.completed_video(upload).await?;
        if let Err(error) = self.ensure_job(&video).await {
            tracing::warn!(video = video.id, %error, "the job will be asked for later");
        }
        self.completed_video(upload).await
    }

    async fn completed_video(&self, upload: &upload_row::Model) -> Result<video_row::Model, UploadError> {
        let video = self.store.video(&upload.video_id).await?;
        video.filter(|video| video.delete_time.is_none()).ok_or(UploadError::UploadNotOpen)
    }
}
