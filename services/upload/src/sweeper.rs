//! Finishes what was cut short: by a crash, by a neighbour that was away, or by a client that never came back.
//! The database says what is to be done; every step may be done again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::time::Instant;

use crate::{
    UploadError,
    complete::STUCK_AFTER,
    core::{Core, millis},
    domain::{names, video::State},
    store::{upload_row, video_row},
};

/// Items of one kind looked at in one sweep.
const BATCH: u64 = 500;
/// Items worked at at once.
const AT_ONCE: usize = 8;
/// How long an item that failed rests, at first and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A worker that has not heard yet may go on writing outputs of a video that failed or was deleted: its objects
/// are removed again after this long. It is also how long watchers can still learn of a deletion.
const LAST_CLEANUP: Duration = Duration::from_secs(3600);

/// Sweeps when woken and from time to time, for as long as the service runs.
pub(crate) async fn run(core: Arc<Core>) {
    let sweeper = Sweeper { core, resting: Mutex::default() };
    loop {
        sweeper.sweep().await;
        let again = Instant::now() + sweeper.core.config.sweep_interval;
        let again = sweeper.next_retry().map_or(again, |retry| retry.min(again));
        tokio::select! {
            () = sweeper.core.unfinished.notified() => {}
            () = tokio::time::sleep_until(again) => {}
        }
    }
}

struct Sweeper {
    core: Arc<Core>,
    /// Items that failed, by id: how long each rests, and until when.
    resting: Mutex<HashMap<String, (Duration, Instant)>>,
}

enum Item {
    Expired(upload_row::Model),
    Stuck(upload_row::Model),
    Jobless(video_row::Model),
    Cleanup(video_row::Model),
}

impl Item {
    fn id(&self) -> &str {
        match self {
            Self::Expired(upload) | Self::Stuck(upload) => &upload.id,
            Self::Jobless(video) | Self::Cleanup(video) => &video.id,
        }
    }
}

impl Sweeper {
    async fn sweep(&self) {
        match self.due().await {
            Err(error) => tracing::warn!(%error, "the sweeper can't see what is to be done"),
            Ok(items) => {
                let awake = items.into_iter().filter(|item| !self.rests(item.id()));
                futures::stream::iter(awake).for_each_concurrent(AT_ONCE, |item| self.attend(item)).await;
            }
        }
    }

    async fn due(&self) -> Result<Vec<Item>, UploadError> {
        let (store, now) = (&self.core.store, self.core.now());
        let mut items: Vec<Item> = Vec::new();
        items.extend(store.expired_uploads(now, BATCH).await?.into_iter().map(Item::Expired));
        let stuck = store.stuck_uploads(now - millis(STUCK_AFTER), BATCH).await?;
        items.extend(stuck.into_iter().map(Item::Stuck));
        items.extend(store.jobless_videos(BATCH).await?.into_iter().map(Item::Jobless));
        items.extend(store.cleanups(now, BATCH).await?.into_iter().map(Item::Cleanup));
        Ok(items)
    }

    /// One item's failure is its own.
    async fn attend(&self, item: Item) {
        let done = match &item {
            Item::Expired(upload) => self.expire(upload).await,
            Item::Stuck(upload) => self.core.complete_stuck(upload).await,
            Item::Jobless(video) => self.core.ensure_job(video).await,
            Item::Cleanup(video) => self.clean_up(video).await,
        };
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(()) => {
                resting.remove(item.id());
            }
            Err(error) => {
                let rest = resting.get(item.id()).map_or(REST.0, |(rest, _)| (*rest * 2).min(REST.1));
                tracing::warn!(item = item.id(), %error, ?rest, "left for a later sweep");
                resting.insert(item.id().to_owned(), (rest, Instant::now() + rest));
            }
        }
    }

    fn rests(&self, id: &str) -> bool {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.get(id).is_some_and(|(_, until)| *until > Instant::now())
    }

    fn next_retry(&self) -> Option<Instant> {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        resting.values().map(|(_, until)| *until).filter(|until| *until > now).min()
    }

    async fn expire(&self, upload: &upload_row::Model) -> Result<(), UploadError> {
        if self.core.store.abort(upload, self.core.now()).await? {
            self.core.announce(&upload.owner, &upload.video_id).await;
            // Its objects are the next sweep's.
            self.core.unfinished.notify_one();
        }
        Ok(())
    }

    /// Removes what a deleted or failed video has in the store, and stops the job of a deleted one.
    async fn clean_up(&self, video: &video_row::Model) -> Result<(), UploadError> {
        // What is written while this runs may be missed, so only one that began late enough is the last.
        let began = self.core.now();
        let cancelled = match &video.job {
            Some(job) if video.state == State::Processing => self.core.jobs.cancel(job).await,
            _ => Ok(()),
        };
        self.remove_objects(video).await?;
        // Objects go even when the job could not be stopped, but then this was not the last time.
        cancelled?;
        let since = video.delete_time.or(video.end_time).unwrap_or(video.create_time);
        let last = since.saturating_add(millis(LAST_CLEANUP));
        match video.delete_time {
            _ if began < last => self.core.store.cleaned(video, Some(last)).await?,
            Some(_) => self.core.store.forget(&video.id).await?,
            None => self.core.store.cleaned(video, None).await?,
        }
        self.core.changes.ended(&video.id);
        Ok(())
    }

    async fn remove_objects(&self, video: &video_row::Model) -> Result<(), UploadError> {
        let objects = &self.core.objects;
        let sources = names::source_prefix(&video.id);
        if let Some(upload) = self.core.store.upload(&video.upload_id).await?
            && let Some(multipart) = &upload.store_upload_id
        {
            objects.abort_multipart(&upload.key(), multipart).await?;
        }
        self.abort_strays(&sources).await?;
        objects.delete_prefix(&sources).await?;
        objects.delete_prefix(&names::output_prefix(&video.id)).await?;
        Ok(())
    }

    /// Multipart uploads whose ids a crash kept from being written down.
    async fn abort_strays(&self, prefix: &str) -> Result<(), UploadError> {
        for (key, multipart) in self.core.multiparts_below(prefix).await? {
            self.core.objects.abort_multipart(&key, &multipart).await?;
        }
        Ok(())
    }
}
