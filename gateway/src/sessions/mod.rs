//! Session checks of calls, and the end of open calls when their session ends.

mod open_calls;

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use reelmill_mesh::{Channel, UserSession};
use reelmill_platform::{
    clock::Clock,
    shared_state::{Notification, PubSub, SESSION_ENDED, SessionCache, SessionState, Subscription},
};
use reelmill_proto::auth::{CheckSessionRequest, session_service_client::SessionServiceClient};

pub(crate) use open_calls::OpenCall;

use crate::{error::CallError, throttled_log::ThrottledLog};
use open_calls::OpenCalls;

/// Time that the session cache gets before the auth service is asked instead.
const SESSION_CACHE_TIMEOUT: Duration = Duration::from_millis(500);
/// Delay before the subscription or a failed recheck is retried.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Retry delay for a session that has too many calls open.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

const CACHE_UNAVAILABLE: &str = "the session cache is unavailable; asking the auth service instead";

/// The sessions of signed-in callers.
pub(crate) struct Sessions {
    cache: Arc<dyn SessionCache>,
    pub_sub: Arc<dyn PubSub>,
    auth: SessionServiceClient<Channel>,
    open_calls: Arc<OpenCalls>,
    cache_log: ThrottledLog,
}

impl Sessions {
    pub(crate) fn new(
        cache: Arc<dyn SessionCache>,
        pub_sub: Arc<dyn PubSub>,
        auth: SessionServiceClient<Channel>,
        clock: Clock,
    ) -> Self {
        Self { cache, pub_sub, auth, open_calls: Arc::default(), cache_log: ThrottledLog::new(clock) }
    }

    /// Registers a call of a session, which ends with it.
    pub(crate) fn register_call(&self, user: &UserSession) -> Result<OpenCall, CallError> {
        let busy = CallError::RateLimited { subject: "session", retry_after: BUSY_RETRY_AFTER };
        self.open_calls.register(&user.session).ok_or(busy)
    }

    /// Checks that a session has not ended. `cached`: its state in the cache; without one the auth service is asked.
    pub(crate) async fn confirm(
        &self,
        user: &UserSession,
        cached: Option<SessionState>,
    ) -> Result<(), CallError> {
        let state = match cached {
            Some(state) => state,
            None => self.authoritative_state(&user.session).await?,
        };
        match state {
            SessionState::Alive { user: owner } if owner == user.user => Ok(()),
            _ => Err(CallError::SessionEnded),
        }
    }

    /// State of a session: from the cache, or from the auth service.
    async fn state(&self, session: &str) -> Result<SessionState, CallError> {
        match tokio::time::timeout(SESSION_CACHE_TIMEOUT, self.cache.get(session)).await {
            Ok(Ok(Some(state))) => return Ok(state),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => self.cache_log.warn(CACHE_UNAVAILABLE, &error),
            Err(elapsed) => self.cache_log.warn(CACHE_UNAVAILABLE, &elapsed),
        }
        self.authoritative_state(session).await
    }

    async fn authoritative_state(&self, session: &str) -> Result<SessionState, CallError> {
        let request = CheckSessionRequest { name: format!("sessions/{session}") };
        let response = self.auth.clone().check_session(request).await.map_err(|status| {
            tracing::warn!(cause = status.message(), "session check by the auth service failed");
            CallError::ServiceUnavailable
        })?;
        let response = response.into_inner();
        let user = response.user.strip_prefix("users/").unwrap_or_default().to_owned();
        Ok(if response.alive { SessionState::Alive { user } } else { SessionState::Ended })
    }

    /// Ends open calls when their sessions end. Runs until it is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            match self.pub_sub.subscribe(SESSION_ENDED).await {
                Ok(subscription) => self.watch_subscription(subscription).await,
                Err(error) => self.cache_log.warn(CACHE_UNAVAILABLE, &error),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    async fn watch_subscription(&self, mut subscription: Subscription) {
        // Sessions that ended before the subscription began were missed.
        let mut missed = true;
        loop {
            if missed {
                missed = self.recheck().await.is_err();
            }
            tokio::select! {
                notification = subscription.next() => match notification {
                    Some(Notification::Payload(session)) => {
                        self.open_calls.end(&String::from_utf8_lossy(&session));
                    }
                    Some(Notification::Lagged) => missed = true,
                    None => return,
                },
                () = tokio::time::sleep(RETRY_DELAY), if missed => {}
            }
        }
    }

    /// Checks every session with open calls again.
    async fn recheck(&self) -> Result<(), CallError> {
        for session in self.open_calls.sessions() {
            if self.state(&session).await? == SessionState::Ended {
                self.open_calls.end(&session);
            }
        }
        Ok(())
    }
}
