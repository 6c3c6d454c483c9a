//! Registry of the open calls of each session.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Calls and streams that one session may have open at once.
const MAX_OPEN_CALLS: usize = 256;

/// The open calls of each session.
#[derive(Default)]
pub(super) struct OpenCalls {
    by_session: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    ended: CancellationToken,
    calls: usize,
}

impl OpenCalls {
    /// Registers a call. `None` if the session has too many open already.
    pub(super) fn register(self: &Arc<Self>, session: &str) -> Option<OpenCall> {
        let mut by_session = self.lock();
        let entry = by_session
            .entry(session.to_owned())
            .or_insert_with(|| Entry { ended: CancellationToken::new(), calls: 0 });
        if entry.calls >= MAX_OPEN_CALLS {
            return None;
        }
        entry.calls += 1;
        Some(OpenCall { ended: entry.ended.clone(), session: session.to_owned(), registry: Arc::clone(self) })
    }

    /// Cancels the open calls of a session.
    pub(super) fn end(&self, session: &str) {
        if let Some(entry) = self.lock().get(session) {
            entry.ended.cancel();
        }
    }

    /// Ids of the sessions with open calls.
    pub(super) fn sessions(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn unregister(&self, session: &str) {
        let mut by_session = self.lock();
        if let Some(entry) = by_session.get_mut(session) {
            entry.calls -= 1;
            if entry.calls == 0 {
                by_session.remove(session);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.by_session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registration of an open call, removed on drop.
pub(crate) struct OpenCall {
    ended: CancellationToken,
    session: String,
    registry: Arc<OpenCalls>,
}

impl OpenCall {
    /// Cancelled when the session has ended.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.registry.unregister(&self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_cancels_only_the_calls_of_the_session() {
        let open_calls = Arc::new(OpenCalls::default());
        let first = open_calls.register("a").unwrap();
        let second = open_calls.register("a").unwrap();
        let other = open_calls.register("b").unwrap();
        open_calls.end("a");
        assert!(first.ended().is_cancelled() && second.ended().is_cancelled());
        assert!(!other.ended().is_cancelled());
    }

    #[test]
    fn drop_of_the_last_call_removes_its_session() {
        let open_calls = Arc::new(OpenCalls::default());
        let first = open_calls.register("a").unwrap();
        let second = open_calls.register("a").unwrap();
        let other = open_calls.register("b").unwrap();
        open_calls.end("a");
        drop(first);
        assert_eq!(open_calls.sessions().len(), 2);
        drop((second, other));
        assert!(open_calls.sessions().is_empty());
    }
}
