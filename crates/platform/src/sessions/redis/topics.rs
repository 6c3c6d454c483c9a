//! Redis pub/sub, one connection for all topics.
//!
//! Redis keeps nothing for those who are away. So after every reconnect all channels are subscribed anew, and only
//! then are all subscribers told that they may have missed something: whatever they read after that is followed by
//! hints again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::SubscriberClient;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, HeartbeatInterface, PubsubInterface};
use fred::types::{Builder, Message, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver};
use tokio::task::JoinHandle;

use super::super::{HINTS_KEPT, Hint, HubError, Subscription};

/// An idle connection is pinged, so that a silent loss of it is noticed.
const HEARTBEAT: Duration = Duration::from_secs(5);
const RESUBSCRIBE_AGAIN: Duration = Duration::from_millis(250);
const CHANNEL_PREFIX: &str = "reelmill:hint:";

pub(super) fn channel(topic: &str) -> String {
    format!("{CHANNEL_PREFIX}{topic}")
}

pub(super) struct Topics {
    subscriber: SubscriberClient,
    senders: Arc<Senders>,
    /// One subscribes or unsubscribes at a time, so that the server's view and ours agree.
    changing: tokio::sync::Mutex<()>,
    tasks: [JoinHandle<()>; 2],
}

impl Topics {
    pub(super) async fn open(builder: &Builder) -> Result<Self, HubError> {
        let subscriber = builder.build_subscriber_client()?;
        subscriber.init().await?;
        let senders = Arc::new(Senders::default());
        let forward = forward(
            subscriber.clone(),
            subscriber.message_rx(),
            subscriber.reconnect_rx(),
            Arc::clone(&senders),
        );
        let pinged = subscriber.clone();
        let heartbeat = async move {
            // Failures are the connection's to notice; the heartbeat itself goes on.
            let _ = pinged.enable_heartbeat(HEARTBEAT, false).await;
        };
        let tasks = [tokio::spawn(forward), tokio::spawn(heartbeat)];
        Ok(Self { subscriber, senders, changing: tokio::sync::Mutex::new(()), tasks })
    }

    /// Whoever goes away while this waits leaves a channel that nobody hears: the next one begins anew.
    pub(super) async fn subscribe(&self, topic: &str) -> Result<Subscription, HubError> {
        let _changing = self.changing.lock().await;
        let channel = channel(topic);
        let unheard = self.senders.unheard(&channel);
        if !unheard.is_empty() {
            self.subscriber.unsubscribe(unheard.clone()).await?;
            self.senders.remove(&unheard);
        }
        if let Some(hints) = self.senders.listen(&channel) {
            return Ok(Subscription::new(hints));
        }
        let hints = self.senders.add(&channel);
        self.subscriber.subscribe(channel).await?;
        confirm(&self.subscriber).await?;
        Ok(Subscription::new(hints))
    }
}

/// Waits until the server has carried out what was sent before: `subscribe` returns as soon as it is written, when
/// what others publish can still come before it.
async fn confirm(subscriber: &SubscriberClient) -> Result<(), Error> {
    subscriber.ping(None).await
}

impl Drop for Topics {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let subscriber = self.subscriber.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { subscriber.quit().await });
        }
    }
}

/// Those who listen, by channel.
#[derive(Default)]
struct Senders(Mutex<HashMap<String, broadcast::Sender<Hint>>>);

impl Senders {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Hint>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those who listen already: the server knows of them, which is not said of a channel that nobody hears.
    fn listen(&self, channel: &str) -> Option<Receiver<Hint>> {
        let senders = self.lock();
        let heard = senders.get(channel).filter(|sender| sender.receiver_count() > 0);
        heard.map(broadcast::Sender::subscribe)
    }

    fn add(&self, channel: &str) -> Receiver<Hint> {
        let (sender, hints) = broadcast::channel(HINTS_KEPT);
        self.lock().insert(channel.to_owned(), sender);
        hints
    }

    fn channels(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Names the channels, other than `wanted`, that nobody listens to any more.
    fn unheard(&self, wanted: &str) -> Vec<String> {
        let senders = self.lock();
        let unheard = senders.iter().filter(|(name, sender)| *name != wanted && sender.receiver_count() == 0);
        unheard.map(|(name, _)| name.clone()).collect()
    }

    fn remove(&self, channels: &[String]) {
        let mut senders = self.lock();
        for channel in channels {
            senders.remove(channel);
        }
    }

    fn send(&self, channel: &str, hint: Hint) {
        if let Some(sender) = self.lock().get(channel) {
            // An error only says that nobody listens.
            let _ = sender.send(hint);
        }
    }

    fn send_all_lagged(&self) {
        for sender in self.lock().values() {
            let _ = sender.send(Hint::Lagged);
        }
    }
}

async fn forward<S>(
    subscriber: SubscriberClient,
    mut messages: Receiver<Message>,
    mut reconnects: Receiver<S>,
    senders: Arc<Senders>,
) where
    S: Clone,
{
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Ok(message) => senders.send(&message.channel, Hint::Payload(payload(message.value))),
                Err(RecvError::Lagged(_)) => senders.send_all_lagged(),
                Err(RecvError::Closed) => return,
            },
            reconnect = reconnects.recv() => {
                if matches!(reconnect, Err(RecvError::Closed)) {
                    return;
                }
                resubscribe(&subscriber, &senders).await;
                senders.send_all_lagged();
            }
        }
    }
}

/// Goes on until it is done: a channel that is not subscribed is silent, which nobody would notice.
async fn resubscribe(subscriber: &SubscriberClient, senders: &Senders) {
    while let Err(error) = subscribe_all(subscriber, senders).await {
        tracing::warn!(%error, "Redis: could not subscribe anew after a reconnect, trying again");
        tokio::time::sleep(RESUBSCRIBE_AGAIN).await;
    }
}

/// The client's own `resubscribe_all` subscribes to no patterns too, which the server answers with an error that the
/// client then takes for the answer to what is sent next.
async fn subscribe_all(subscriber: &SubscriberClient, senders: &Senders) -> Result<(), Error> {
    let channels = senders.channels();
    if channels.is_empty() {
        return Ok(());
    }
    subscriber.subscribe(channels).await?;
    confirm(subscriber).await
}

fn payload(value: Value) -> Bytes {
    match value {
        Value::Bytes(bytes) => bytes,
        Value::String(text) => Bytes::copy_from_slice(text.as_bytes()),
        other => Bytes::from(other.into_string().unwrap_or_default()),
    }
}
