//! Shared state of a single process: maps behind a lock that is never held across an await.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use super::{
    Bucket, Notification, PubSub, RateDecision, RateLimiter, SESSION_ENDED, SessionCache, SessionState,
    SharedStateError, Subscription, Taken, pub_sub::SUBSCRIBER_BUFFER, rate_limiter::costs,
};

/// Interval at which expired entries are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

static BACKENDS: LazyLock<Mutex<HashMap<String, Weak<MemoryState>>>> = LazyLock::new(Mutex::default);

/// The backend of this URL in this process; created if no handle to it exists.
pub(super) fn open(url: &str) -> Arc<MemoryState> {
    let mut backends = BACKENDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(backend) = backends.get(url).and_then(Weak::upgrade) {
        return backend;
    }
    backends.retain(|_, backend| backend.strong_count() > 0);
    let backend = Arc::new(MemoryState::new());
    backends.insert(url.to_owned(), Arc::downgrade(&backend));
    backend
}

pub(super) struct MemoryState {
    epoch: Instant,
    state: Mutex<State>,
}

struct State {
    sessions: HashMap<String, (SessionState, Instant)>,
    /// Theoretical arrival times, in microseconds since `epoch`.
    buckets: HashMap<String, i64>,
    topics: HashMap<String, broadcast::Sender<Notification>>,
    swept: Instant,
}

impl State {
    fn session(&self, session: &str, now: Instant) -> Option<SessionState> {
        let known = self.sessions.get(session).filter(|(_, expires)| *expires > now);
        known.map(|(value, _)| value.clone())
    }
}

impl MemoryState {
    pub(super) fn new() -> Self {
        let epoch = Instant::now();
        let state =
            State { sessions: HashMap::new(), buckets: HashMap::new(), topics: HashMap::new(), swept: epoch };
        Self { epoch, state: Mutex::new(state) }
    }

    fn micros(&self, now: Instant) -> i64 {
        i64::try_from(now.duration_since(self.epoch).as_micros()).unwrap_or(i64::MAX)
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.swept) >= SWEEP_INTERVAL {
            let micros = self.micros(now);
            state.sessions.retain(|_, (_, expires)| *expires > now);
            // A bucket whose arrival time has passed is full, like an absent one.
            state.buckets.retain(|_, arrival| *arrival > micros);
            state.topics.retain(|_, topic| topic.receiver_count() > 0);
            state.swept = now;
        }
        state
    }

    fn set(&self, session: &str, value: SessionState, ttl: Duration, overwrite: bool) {
        let now = Instant::now();
        let mut state = self.lock(now);
        let known = state.sessions.get(session).is_some_and(|(_, expires)| *expires > now);
        if overwrite || !known {
            state.sessions.insert(session.to_owned(), (value, now + ttl));
        }
    }
}

#[async_trait]
impl SessionCache for MemoryState {
    async fn put(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.set(session, SessionState::Alive { user: user.to_owned() }, ttl, true);
        Ok(())
    }

    async fn restore(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.set(session, SessionState::Alive { user: user.to_owned() }, ttl, false);
        Ok(())
    }

    async fn end(&self, session: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.set(session, SessionState::Ended, ttl, true);
        self.publish(SESSION_ENDED, Bytes::copy_from_slice(session.as_bytes())).await
    }

    async fn get(&self, session: &str) -> Result<Option<SessionState>, SharedStateError> {
        let now = Instant::now();
        Ok(self.lock(now).session(session, now))
    }
}

#[async_trait]
impl RateLimiter for MemoryState {
    async fn take(
        &self,
        buckets: &[Bucket<'_>],
        units: u32,
        session: Option<&str>,
    ) -> Result<Taken, SharedStateError> {
        let costs = costs(buckets, units)?;
        let instant = Instant::now();
        let now = self.micros(instant);
        let mut state = self.lock(instant);
        let arrival = |bucket: &Bucket<'_>| state.buckets.get(bucket.key).copied().unwrap_or(0);
        let taken: Vec<(i64, i64)> =
            buckets.iter().zip(&costs).map(|(bucket, cost)| cost.take(arrival(bucket), now)).collect();
        let session = session.and_then(|session| state.session(session, instant));
        let wait = taken.iter().map(|(_, wait)| *wait).max().unwrap_or(0);
        if wait > 0 {
            return Ok(Taken { decision: RateDecision::limited(wait), session });
        }
        for (bucket, (next, _)) in buckets.iter().zip(&taken) {
            match state.buckets.get_mut(bucket.key) {
                Some(arrival) => *arrival = *next,
                None => drop(state.buckets.insert(bucket.key.to_owned(), *next)),
            }
        }
        let first = costs.first().zip(taken.first());
        let units_left = first.map_or(0, |(cost, (next, _))| cost.units_left(*next, now));
        Ok(Taken { decision: RateDecision::Allowed { units_left }, session })
    }
}

#[async_trait]
impl PubSub for MemoryState {
    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), SharedStateError> {
        if let Some(topic) = self.lock(Instant::now()).topics.get(topic) {
            // Fails only if the topic has no subscribers.
            let _ = topic.send(Notification::Payload(payload));
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &str) -> Result<Subscription, SharedStateError> {
        let mut state = self.lock(Instant::now());
        let topic =
            state.topics.entry(topic.to_owned()).or_insert_with(|| broadcast::channel(SUBSCRIBER_BUFFER).0);
        Ok(Subscription::new(topic.subscribe()))
    }
}
