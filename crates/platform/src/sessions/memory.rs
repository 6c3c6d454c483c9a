//! The hub of a single process: maps behind a lock that is never held across an await.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use super::rate::Cost;
use super::{
    Decision, HINTS_KEPT, Hint, Hub, HubError, RateLimit, SESSION_ENDED, SessionState, Subscription,
};

/// How often what has expired is thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

static HUBS: LazyLock<Mutex<HashMap<String, Weak<MemoryHub>>>> = LazyLock::new(Mutex::default);

/// The process's hub of this URL, a new one when nobody holds it.
pub(super) fn open(url: &str) -> Arc<MemoryHub> {
    let mut hubs = HUBS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hub) = hubs.get(url).and_then(Weak::upgrade) {
        return hub;
    }
    hubs.retain(|_, hub| hub.strong_count() > 0);
    let hub = Arc::new(MemoryHub::new());
    hubs.insert(url.to_owned(), Arc::downgrade(&hub));
    hub
}

pub(super) struct MemoryHub {
    epoch: Instant,
    state: Mutex<State>,
}

struct State {
    sessions: HashMap<String, (SessionState, Instant)>,
    /// Theoretical arrival times, in microseconds since the hub's epoch.
    buckets: HashMap<String, i64>,
    topics: HashMap<String, broadcast::Sender<Hint>>,
    swept: Instant,
}

impl MemoryHub {
    fn new() -> Self {
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
        if now.saturating_duration_since(state.swept) >= SWEEP_EVERY {
            let micros = self.micros(now);
            state.sessions.retain(|_, (_, expires)| *expires > now);
            // A bucket whose arrival time has passed is full, which is what an absent one is too.
            state.buckets.retain(|_, arrival| *arrival > micros);
            state.topics.retain(|_, topic| topic.receiver_count() > 0);
            state.swept = now;
        }
        state
    }

    fn set(&self, session: &str, value: SessionState, ttl: Duration, over: bool) {
        let now = Instant::now();
        let mut state = self.lock(now);
        let known = state.sessions.get(session).is_some_and(|(_, expires)| *expires > now);
        if over || !known {
            state.sessions.insert(session.to_owned(), (value, now + ttl));
        }
    }
}

#[async_trait]
impl Hub for MemoryHub {
    async fn put_session(&self, session: &str, user: &str, ttl: Duration) -> Result<(), HubError> {
        self.set(session, SessionState::Alive { user: user.to_owned() }, ttl, true);
        Ok(())
    }

    async fn restore_session(&self, session: &str, user: &str, ttl: Duration) -> Result<(), HubError> {
        self.set(session, SessionState::Alive { user: user.to_owned() }, ttl, false);
        Ok(())
    }

    async fn end_session(&self, session: &str, ttl: Duration) -> Result<(), HubError> {
        self.set(session, SessionState::Ended, ttl, true);
        self.publish(SESSION_ENDED, Bytes::copy_from_slice(session.as_bytes())).await
    }

    async fn session(&self, session: &str) -> Result<Option<SessionState>, HubError> {
        let now = Instant::now();
        let state = self.lock(now);
        let known = state.sessions.get(session).filter(|(_, expires)| *expires > now);
        Ok(known.map(|(value, _)| value.clone()))
    }

    async fn take(&self, key: &str, units: u32, limit: RateLimit) -> Result<Decision, HubError> {
        let cost = Cost::of(units, limit)?;
        let now = Instant::now();
        let mut state = self.lock(now);
        let arrival = state.buckets.get(key).copied().unwrap_or(0);
        let (next, decision) = cost.take(arrival, self.micros(now));
        if decision == Decision::Allowed {
            state.buckets.insert(key.to_owned(), next);
        }
        Ok(decision)
    }

    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), HubError> {
        if let Some(topic) = self.lock(Instant::now()).topics.get(topic) {
            // An error only says that nobody listens.
            let _ = topic.send(Hint::Payload(payload));
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &str) -> Result<Subscription, HubError> {
        let mut state = self.lock(Instant::now());
        let topic = state.topics.entry(topic.to_owned()).or_insert_with(|| broadcast::channel(HINTS_KEPT).0);
        Ok(Subscription::new(topic.subscribe()))
    }
}
