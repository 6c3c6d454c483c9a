use std::{
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use super::SharedStateError;

/// Notifications buffered for a subscriber before it receives [`Notification::Lagged`].
pub(super) const SUBSCRIBER_BUFFER: usize = 1024;

/// A message on a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// The payload as published.
    Payload(Bytes),
    /// Messages were dropped (slow subscriber, lost connection): reload from the database.
    Lagged,
}

/// Publish/subscribe between all replicas. Delivery is at most once: payloads announce changes, the database has them.
#[async_trait]
pub trait PubSub: Send + Sync {
    /// Publishes to all current subscribers of `topic`, in every replica.
    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), SharedStateError>;

    /// Subscribes to everything published on `topic` after this call has returned. The stream ends when the backend is
    /// dropped.
    async fn subscribe(&self, topic: &str) -> Result<Subscription, SharedStateError>;
}

/// Stream of the [`Notification`]s of one topic.
#[derive(Debug)]
pub struct Subscription {
    notifications: BroadcastStream<Notification>,
}

impl Subscription {
    pub(super) fn new(receiver: broadcast::Receiver<Notification>) -> Self {
        Self { notifications: BroadcastStream::new(receiver) }
    }
}

impl Stream for Subscription {
    type Item = Notification;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Notification>> {
        Pin::new(&mut self.notifications).poll_next(context).map(|item| {
            item.map(|item| item.unwrap_or_else(|BroadcastStreamRecvError::Lagged(_)| Notification::Lagged))
        })
    }
}
