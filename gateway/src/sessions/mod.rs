//! Live sessions: whether one is alive, and the calls that are open under each, so that they end with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use reelmill_mesh::UserSession;
use reelmill_platform::{
    clock::Clock,
    shared_state::{Notification, PubSub, SESSION_ENDED, SessionCache, SessionState, Subscription},
};
use reelmill_proto::auth::CheckSessionRequest;
use tokio_util::sync::CancellationToken;

use crate::{error::Refused, sparse_log::SparseLog, upstreams::Upstreams};

/// How long the hub may take before the truth is asked instead.
const SESSION_CACHE_TIMEOUT: Duration = Duration::from_millis(500);
/// Calls and streams that one session may have open at once.
const MAX_OPEN_CALLS: usize = 256;
/// How long to wait before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Knows which sessions are alive.
pub(crate) struct Sessions {
    cache: Arc<dyn SessionCache>,
    pub_sub: Arc<dyn PubSub>,
    upstreams: Arc<Upstreams>,
    open: Arc<OpenCalls>,
    clock: Clock,
    cache_log: SparseLog,
}

impl Sessions {
    pub(crate) fn new(
        cache: Arc<dyn SessionCache>,
        pub_sub: Arc<dyn PubSub>,
        upstreams: Arc<Upstreams>,
        clock: Clock,
    ) -> Self {
        Self { cache, pub_sub, upstreams, open: Arc::default(), clock, cache_log: SparseLog::new() }
    }

    /// Enters a call under its session and makes sure that the session is alive. Entering comes first: a
    /// session that ends in between ends the call too.
    pub(crate) async fn enter(&self, caller: &UserSession) -> Result<OpenCall, Refused> {
        let busy = Refused::RateLimited { subject: "session", retry_after: PAUSE };
        let call = self.open.enter(&caller.session).ok_or(busy)?;
        match self.state(&caller.session).await? {
            SessionState::Alive { user } if user == caller.user => Ok(call),
            _ => Err(Refused::SessionEnded),
        }
    }

    /// What is known of a session: from the hub, or from auth, which is the truth.
    async fn state(&self, session: &str) -> Result<SessionState, Refused> {
        match tokio::time::timeout(SESSION_CACHE_TIMEOUT, self.cache.get(session)).await {
            Ok(Ok(Some(state))) => return Ok(state),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.warn(&error),
            Err(late) => self.warn(&late),
        }
        let request = CheckSessionRequest { name: format!("sessions/{session}") };
        let answer = self.upstreams.sessions().check_session(request).await.map_err(|status| {
            tracing::warn!(cause = status.message(), "auth can't be asked about a session");
            Refused::ServiceUnavailable
        })?;
        let answer = answer.into_inner();
        let user = answer.user.strip_prefix("users/").unwrap_or_default().to_owned();
        Ok(if answer.alive { SessionState::Alive { user } } else { SessionState::Ended })
    }

    fn warn(&self, cause: &dyn std::fmt::Display) {
        self.cache_log.warn(self.clock.now_millis(), "the session store is away; asking auth instead", cause);
    }

    /// Ends calls as their sessions end, until it is dropped.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            match self.pub_sub.subscribe(SESSION_ENDED).await {
                Ok(hints) => self.follow_hints(hints).await,
                Err(error) => self.warn(&error),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_hints(&self, mut hints: Subscription) {
        // Whatever ended before the subscription stood was missed.
        let mut missed = true;
        loop {
            if missed {
                missed = self.recheck().await.is_err();
            }
            tokio::select! {
                hint = hints.next() => match hint {
                    Some(Notification::Payload(session)) => self.open.end(&String::from_utf8_lossy(&session)),
                    Some(Notification::Lagged) => missed = true,
                    None => return,
                },
                () = tokio::time::sleep(PAUSE), if missed => {}
            }
        }
    }

    /// Asks again about every session with open calls.
    async fn recheck(&self) -> Result<(), Refused> {
        for session in self.open.sessions() {
            if self.state(&session).await? == SessionState::Ended {
                self.open.end(&session);
            }
        }
        Ok(())
    }
}

/// The open calls of each session.
#[derive(Default)]
struct OpenCalls {
    by_session: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    ended: CancellationToken,
    calls: usize,
}

impl OpenCalls {
    /// Counts a call in; none where the session has as many as it may.
    fn enter(self: &Arc<Self>, session: &str) -> Option<OpenCall> {
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

    fn end(&self, session: &str) {
        if let Some(entry) = self.lock().get(session) {
            entry.ended.cancel();
        }
    }

    fn leave(&self, session: &str) {
        let mut by_session = self.lock();
        if let Some(entry) = by_session.get_mut(session) {
            entry.calls -= 1;
            if entry.calls == 0 {
                by_session.remove(session);
            }
        }
    }

    fn sessions(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.by_session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call under a session; held as long as the call is open.
pub(crate) struct OpenCall {
    ended: CancellationToken,
    session: String,
    registry: Arc<OpenCalls>,
}

impl OpenCall {
    /// Fires when the session has ended.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.registry.leave(&self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_end_with_their_session_and_leave_nothing_behind() {
        let open = Arc::new(OpenCalls::default());
        let first = open.enter("a").unwrap();
        let second = open.enter("a").unwrap();
        let other = open.enter("b").unwrap();
        open.end("a");
        assert!(first.ended().is_cancelled() && second.ended().is_cancelled());
        assert!(!other.ended().is_cancelled());
        drop(first);
        assert_eq!(open.sessions().len(), 2);
        drop((second, other));
        assert!(open.sessions().is_empty());
    }
}
