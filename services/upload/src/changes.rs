//! News of changes, inside this process and between replicas. News says where to look, never what is there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use reelmill_platform::shared_state::{Notification, PubSub};
use reelmill_proto::transcode::{Job, Progress};
use tokio::sync::broadcast;

use crate::core::Core;

/// The hub's topic; a hint's payload is `OWNER VIDEO`.
const TOPIC: &str = "videos";
/// News that a watcher may lag behind before it must look at everything again.
const KEPT: usize = 1024;
/// How long to wait before subscribing again.
const RESUBSCRIBE: Duration = Duration::from_secs(1);

/// One piece of news.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// The record of a video changed.
    Stored { owner: Arc<str>, video: Arc<str> },
    /// Only its progress did.
    Live { owner: Arc<str>, video: Arc<str> },
    /// News was missed: anything may have changed.
    Anything,
}

/// How far a job is, by its last report. Never stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Live {
    /// `jobs/{job}`.
    job: String,
    pub progress: Option<Progress>,
    /// By rendition.
    pub renditions: BTreeMap<String, Progress>,
}

impl Live {
    /// What a job tells.
    pub(crate) fn reported(job: &Job) -> Self {
        let renditions = job.renditions.iter();
        let renditions = renditions.filter_map(|rung| Some((rung.rendition_id.clone(), rung.progress?)));
        Self { job: job.name.clone(), progress: job.progress, renditions: renditions.collect() }
    }

    /// Never less than was told before of the same job: reports come from several workers, and a worker that
    /// takes over another's task begins before where that one was.
    fn after(mut self, before: &Self) -> Self {
        if self.job != before.job {
            return self;
        }
        if let Some(before) = &before.progress {
            self.progress.get_or_insert(*before).raise(before);
        }
        for (rung, before) in &before.renditions {
            self.renditions.entry(rung.clone()).or_insert(*before).raise(before);
        }
        self
    }
}

/// Where news is told and heard.
pub(crate) struct Changes {
    news: broadcast::Sender<Change>,
    live: Mutex<HashMap<String, Live>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { news: broadcast::Sender::new(KEPT), live: Mutex::default() }
    }
}

impl Changes {
    /// Everything told after this call.
    pub(crate) fn listen(&self) -> Listener {
        Listener(self.news.subscribe())
    }

    /// Tells watchers of this process that a record changed.
    pub(crate) fn stored(&self, owner: &str, video: &str) {
        self.tell(Change::Stored { owner: owner.into(), video: video.into() });
    }

    /// Takes a job's progress in, and tells watchers of this process.
    pub(crate) fn advanced(&self, owner: &str, video: &str, live: Live) {
        let mut all = self.all_live();
        let live = match all.get(video) {
            Some(before) => live.after(before),
            None => live,
        };
        all.insert(video.to_owned(), live);
        drop(all);
        self.tell(Change::Live { owner: owner.into(), video: video.into() });
    }

    /// Forgets the progress of a video whose job ended.
    pub(crate) fn ended(&self, video: &str) {
        self.all_live().remove(video);
    }

    /// How far a video's job is, if it was heard of.
    pub(crate) fn live(&self, video: &str) -> Option<Live> {
        self.all_live().get(video).cloned()
    }

    /// Tells the other replicas that a record changed.
    pub(crate) async fn publish(&self, pub_sub: &dyn PubSub, owner: &str, video: &str) {
        // Lost hints cost no more than time: what changed is in the database.
        if let Err(error) = pub_sub.publish(TOPIC, Bytes::from(format!("{owner} {video}"))).await {
            tracing::warn!(%error, "other replicas were not told of a change");
        }
    }

    fn tell(&self, change: Change) {
        // Nobody watching is no fault.
        let _ = self.news.send(change);
    }

    fn all_live(&self) -> std::sync::MutexGuard<'_, HashMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears news.
pub(crate) struct Listener(broadcast::Receiver<Change>);

impl Listener {
    /// Waits for the next piece of news.
    pub(crate) async fn next(&mut self) -> Change {
        match self.0.recv().await {
            Ok(change) => change,
            Err(broadcast::error::RecvError::Lagged(_)) => Change::Anything,
            // The service owns the sender and outlives its watchers.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// News that is here already.
    pub(crate) fn try_next(&mut self) -> Option<Change> {
        match self.0.try_recv() {
            Ok(change) => Some(change),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(Change::Anything),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }

    /// Waits until something may have changed about one video.
    pub(crate) async fn about(&mut self, id: &str) {
        loop {
            match self.next().await {
                Change::Stored { video, .. } | Change::Live { video, .. } if *video != *id => {}
                _ => return,
            }
        }
    }
}

/// Hears what other replicas tell, for as long as the service runs.
pub(crate) async fn listen(core: Arc<Core>) {
    loop {
        match core.pub_sub.subscribe(TOPIC).await {
            Err(error) => tracing::warn!(%error, "changes of other replicas are not heard"),
            Ok(mut hints) => {
                core.changes.tell(Change::Anything);
                while let Some(hint) = hints.next().await {
                    core.changes.tell(change_of(&hint));
                }
            }
        }
        tokio::time::sleep(RESUBSCRIBE).await;
    }
}

fn change_of(hint: &Notification) -> Change {
    let Notification::Payload(payload) = hint else { return Change::Anything };
    match std::str::from_utf8(payload).ok().and_then(|text| text.split_once(' ')) {
        Some((owner, video)) => Change::Stored { owner: owner.into(), video: video.into() },
        None => Change::Anything,
    }
}
