//! An in-memory session cache that can be made unavailable, or lose all entries.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reelmill_platform::shared_state::{
    PubSub, SessionCache, SessionState, SharedState, SharedStateError, connect,
};

/// An in-memory session cache that can be made unavailable, or lose all entries.
pub struct TestSessionCache {
    shared: Mutex<SharedState>,
    is_unavailable: AtomicBool,
}

impl TestSessionCache {
    pub async fn open() -> Arc<Self> {
        Arc::new(Self { shared: Mutex::new(empty().await), is_unavailable: AtomicBool::new(false) })
    }

    pub fn set_unavailable(&self, is_unavailable: bool) {
        self.is_unavailable.store(is_unavailable, Ordering::SeqCst);
    }

    /// Loses all entries.
    pub async fn flush(&self) {
        let empty = empty().await;
        *self.shared.lock().unwrap() = empty;
    }

    /// The pub/sub on which the ends of sessions are published.
    pub fn pub_sub(&self) -> Arc<dyn PubSub> {
        self.shared.lock().unwrap().pub_sub.clone()
    }

    /// The entry of a session, also while the cache is unavailable.
    pub async fn stored(&self, session: &str) -> Option<SessionState> {
        let session_cache = self.shared.lock().unwrap().session_cache.clone();
        session_cache.get(session).await.unwrap()
    }

    fn available(&self) -> Result<Arc<dyn SessionCache>, SharedStateError> {
        if self.is_unavailable.load(Ordering::SeqCst) {
            return Err(SharedStateError::Config("unavailable, by the test".to_owned()));
        }
        Ok(self.shared.lock().unwrap().session_cache.clone())
    }
}

async fn empty() -> SharedState {
    connect(&format!("memory:{}", uuid::Uuid::now_v7())).await.unwrap()
}

#[async_trait::async_trait]
impl SessionCache for TestSessionCache {
    async fn put(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.available()?.put(session, user, ttl).await
    }

    async fn restore(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.available()?.restore(session, user, ttl).await
    }

    async fn end(&self, session: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.available()?.end(session, ttl).await
    }

    async fn get(&self, session: &str) -> Result<Option<SessionState>, SharedStateError> {
        self.available()?.get(session).await
    }
}
