//! Redis pub/sub, one connection for all topics.
//!
//! Redis does not buffer for disconnected subscribers. After every reconnect all channels are subscribed again, and
//! only then do all subscribers receive [`Notification::Lagged`]: what they read from the database after that is
//! followed by notifications again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fred::{
    clients::SubscriberClient,
    error::Error,
    interfaces::{ClientLike, EventInterface, HeartbeatInterface, PubsubInterface},
    types::{Builder, Message, Value},
};
use tokio::{
    sync::broadcast::{self, Receiver, error::RecvError},
    task::JoinHandle,
};

use super::connect;
use crate::shared_state::{Notification, SharedStateError, Subscription, pub_sub::SUBSCRIBER_BUFFER};

/// Ping interval of an idle connection, to detect a silent disconnect.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
const RESUBSCRIBE_BACKOFF: Duration = Duration::from_millis(250);
const CHANNEL_PREFIX: &str = "reelmill:topic:";

pub(super) fn channel_name(topic: &str) -> String {
    format!("{CHANNEL_PREFIX}{topic}")
}

/// Channels that this process is subscribed to.
pub(super) struct Channels {
    subscriber: SubscriberClient,
    senders: Arc<Senders>,
    /// Serialises subscribe and unsubscribe, so that `senders` matches the server's subscriptions.
    changing: tokio::sync::Mutex<()>,
    tasks: [JoinHandle<()>; 2],
}

impl Channels {
    pub(super) async fn open(builder: &Builder) -> Result<Self, SharedStateError> {
        let subscriber = builder.build_subscriber_client()?;
        connect(&subscriber).await;
        let senders = Arc::new(Senders::default());
        let forward = forward(
            subscriber.clone(),
            subscriber.message_rx(),
            subscriber.reconnect_rx(),
            Arc::clone(&senders),
        );
        let pinged = subscriber.clone();
        let heartbeat = async move {
            // A failed ping closes the connection; the heartbeat continues on the next one.
            let _ = pinged.enable_heartbeat(HEARTBEAT_INTERVAL, false).await;
        };
        let tasks = [tokio::spawn(forward), tokio::spawn(heartbeat)];
        Ok(Self { subscriber, senders, changing: tokio::sync::Mutex::new(()), tasks })
    }

    /// A caller that is dropped while it waits leaves a channel without receivers, which the next call unsubscribes
    /// and subscribes again.
    pub(super) async fn subscribe(&self, topic: &str) -> Result<Subscription, SharedStateError> {
        let _changing = self.changing.lock().await;
        let channel = channel_name(topic);
        let unused = self.senders.unused(&channel);
        if !unused.is_empty() {
            self.subscriber.unsubscribe(unused.clone()).await?;
            self.senders.remove(&unused);
        }
        if let Some(receiver) = self.senders.join(&channel) {
            return Ok(Subscription::new(receiver));
        }
        let receiver = self.senders.add(&channel);
        self.subscriber.subscribe(channel).await?;
        confirm(&self.subscriber).await?;
        Ok(Subscription::new(receiver))
    }
}

/// Waits until the server has processed the preceding commands. `subscribe` returns once the command is written, so a
/// message published right after it could otherwise be missed.
async fn confirm(subscriber: &SubscriberClient) -> Result<(), Error> {
    subscriber.ping(None).await
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        let subscriber = self.subscriber.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { subscriber.quit().await });
        }
    }
}

/// Local subscribers by channel.
#[derive(Default)]
struct Senders(Mutex<HashMap<String, broadcast::Sender<Notification>>>);

impl Senders {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, broadcast::Sender<Notification>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A receiver on a channel that has receivers already, so that the server-side subscription is known to exist.
    fn join(&self, channel: &str) -> Option<Receiver<Notification>> {
        let senders = self.lock();
        let used = senders.get(channel).filter(|sender| sender.receiver_count() > 0);
        used.map(broadcast::Sender::subscribe)
    }

    fn add(&self, channel: &str) -> Receiver<Notification> {
        let (sender, receiver) = broadcast::channel(SUBSCRIBER_BUFFER);
        self.lock().insert(channel.to_owned(), sender);
        receiver
    }

    fn channels(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Channels other than `wanted` that have no receivers.
    fn unused(&self, wanted: &str) -> Vec<String> {
        let senders = self.lock();
        let unused = senders.iter().filter(|(name, sender)| *name != wanted && sender.receiver_count() == 0);
        unused.map(|(name, _)| name.clone()).collect()
    }

    fn remove(&self, channels: &[String]) {
        let mut senders = self.lock();
        for channel in channels {
            senders.remove(channel);
        }
    }

    fn send(&self, channel: &str, notification: Notification) {
        if let Some(sender) = self.lock().get(channel) {
            // Fails only if there is no receiver.
            let _ = sender.send(notification);
        }
    }

    fn send_all_lagged(&self) {
        for sender in self.lock().values() {
            let _ = sender.send(Notification::Lagged);
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
                Ok(message) => senders.send(&message.channel, Notification::Payload(payload(message.value))),
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

/// Retries until it succeeds: nothing else would detect a channel that is not subscribed.
async fn resubscribe(subscriber: &SubscriberClient, senders: &Senders) {
    while let Err(error) = subscribe_all(subscriber, senders).await {
        tracing::warn!(%error, "Redis: cannot resubscribe after a reconnect; retrying");
        tokio::time::sleep(RESUBSCRIBE_BACKOFF).await;
    }
}

/// Subscribes to all channels. fred's own `resubscribe_all` also subscribes to an empty list of patterns; the server
/// rejects that, and the client then takes the error for the reply to its next command.
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
