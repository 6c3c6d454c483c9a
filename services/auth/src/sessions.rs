//! Sessions from sign-in to their end. The database is written first; the hub is told after.

use std::{sync::Arc, time::Duration};

use reelmill_mesh::UserSession;
use reelmill_platform::{clock::Clock, shared_state::SessionCache};

use crate::{
    AuthError, account,
    refresh_token::{RefreshToken, ShownToken},
    rotation::Decision,
    store::{
        Store,
        entity::{session, user},
    },
    token::{AccessClaims, ISSUER, SigningKey},
};

/// How much longer than its access tokens a session is remembered in the session_cache, for clocks that differ.
const SESSION_CACHE_TTL_SLACK: Duration = Duration::from_secs(60);

/// How long tokens are valid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    pub access_token: Duration,
    pub refresh_token: Duration,
}

/// A session's new pair of tokens.
pub(crate) struct Issued {
    pub session: session::Model,
    pub access_token: String,
    /// Unix milliseconds.
    pub access_token_expire: i64,
    pub refresh_token: String,
}

/// Opens, refreshes and ends sessions.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Store,
    session_cache: Arc<dyn SessionCache>,
    key: SigningKey,
    clock: Clock,
    lifetimes: Lifetimes,
}

impl Sessions {
    pub fn new(
        store: Store,
        session_cache: Arc<dyn SessionCache>,
        key: SigningKey,
        clock: Clock,
        lifetimes: Lifetimes,
    ) -> Self {
        Self { store, session_cache, key, clock, lifetimes }
    }

    /// The key that signs access tokens.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// How long a refresh token is valid.
    pub fn refresh_token_ttl(&self) -> Duration {
        self.lifetimes.refresh_token
    }

    /// Opens a session for a user whose password was right.
    pub async fn open(&self, user: &user::Model, user_agent: String) -> Result<Issued, AuthError> {
        let now = self.clock.now_millis();
        let session = session::Model {
            id: account::new_id(),
            user_id: user.id.clone(),
            create_time: now,
            refresh_time: now,
            expire_time: now.saturating_add(millis(self.lifetimes.refresh_token)),
            end_time: None,
            user_agent,
        };
        let token = RefreshToken::generate()?;
        self.store.insert_session(session.clone(), &token).await?;
        if let Err(error) = self.store.purge(&user.id, now).await {
            // Old rows do no harm, and the next sign-in tries again.
            tracing::warn!(%error, "expired sessions were not purged");
        }
        self.restore(&session).await;
        self.issue(session, &token, now)
    }

    /// Exchanges a refresh token for a new pair.
    pub async fn refresh(&self, shown: String) -> Result<Issued, AuthError> {
        let this = self.clone();
        unhurried(async move { this.exchange(&shown).await }).await
    }

    async fn exchange(&self, shown: &str) -> Result<Issued, AuthError> {
        let shown = ShownToken::parse(shown).ok_or(AuthError::RefreshTokenInvalid)?;
        let now = self.clock.now_millis();
        let next = RefreshToken::generate()?;
        let expire_time = now.saturating_add(millis(self.lifetimes.refresh_token));
        let rotation = self.store.rotate(&shown, &next, now, expire_time).await?;
        let (decision, session) = rotation.ok_or(AuthError::RefreshTokenInvalid)?;
        match decision {
            Decision::Rotate => {
                self.restore(&session).await;
                self.issue(session, &next, now)
            }
            Decision::Spent => Err(AuthError::RefreshTokenSpent),
            Decision::Expired => Err(AuthError::SessionEnded),
            Decision::Replayed => {
                tracing::warn!(session = session.id, user = session.user_id, "a refresh token was replayed");
                self.tell_ended(vec![session.id]).await?;
                Err(AuthError::RefreshTokenReplayed)
            }
            Decision::Ended => {
                // The hub may have been away when the session ended.
                self.tell_ended(vec![session.id]).await?;
                Err(AuthError::SessionEnded)
            }
        }
    }

    /// Ends one of the caller's sessions; once more is no error.
    pub async fn end(&self, caller: &UserSession, session: &str) -> Result<(), AuthError> {
        if !account::is_id(session) {
            return Err(AuthError::SessionNotFound);
        }
        let (this, user, session) = (self.clone(), caller.user.clone(), session.to_owned());
        unhurried(async move {
            if !this.store.end_session(&session, &user, this.clock.now_millis()).await? {
                return Err(AuthError::SessionNotFound);
            }
            this.tell_ended(vec![session]).await
        })
        .await
    }

    /// Ends all of a user's sessions; says how many.
    pub async fn end_all(&self, user: &str) -> Result<u64, AuthError> {
        let (this, user) = (self.clone(), user.to_owned());
        unhurried(async move {
            let now = this.clock.now_millis();
            let ended = this.store.end_all_sessions(&user, now).await?;
            // All whose access tokens may be valid still: an earlier call may have failed to tell.
            let since = now.saturating_sub(millis(this.session_cache_ttl()));
            let ids = this.store.sessions_ended_since(&user, since).await?;
            this.tell_ended(ids).await?;
            Ok(ended)
        })
        .await
    }

    /// The user's live sessions, newest first.
    pub async fn list(&self, user: &str) -> Result<Vec<session::Model>, AuthError> {
        self.store.live_sessions(user, self.clock.now_millis()).await
    }

    /// The session and whether it is alive; the hub gets what it has lost.
    pub async fn check(&self, session: &str) -> Result<Option<(session::Model, bool)>, AuthError> {
        if !account::is_id(session) {
            return Ok(None);
        }
        let Some(session) = self.store.session(session).await? else { return Ok(None) };
        let alive = session.end_time.is_none() && self.clock.now_millis() < session.expire_time;
        if alive {
            self.restore(&session).await;
        } else if let Err(error) = self.tell_ended(vec![session.id.clone()]).await {
            tracing::warn!(%error, "an ended session is not in the hub");
        }
        Ok(Some((session, alive)))
    }

    /// Tells the hub of a live session. Unlike `put_session` this never takes back an end that came in
    /// between. What the hub does not hear now it gets when the gateway, finding nothing, asks CheckSession.
    async fn restore(&self, session: &session::Model) {
        if let Err(error) =
            self.session_cache.restore(&session.id, &session.user_id, self.session_cache_ttl()).await
        {
            tracing::warn!(%error, "a live session is not in the hub");
        }
    }

    /// Tells the hub of ended sessions. When the hub is away the caller hears of it, and the hub is told again
    /// and again behind the caller's back for as long as it may believe otherwise.
    async fn tell_ended(&self, sessions: Vec<String>) -> Result<(), AuthError> {
        for (place, session) in sessions.iter().enumerate() {
            if let Err(error) = self.session_cache.end(session, self.session_cache_ttl()).await {
                tokio::spawn(self.clone().keep_telling(sessions[place..].to_vec()));
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn keep_telling(self, sessions: Vec<String>) {
        let until = tokio::time::Instant::now() + self.session_cache_ttl();
        for session in sessions {
            while self.session_cache.end(&session, self.session_cache_ttl()).await.is_err() {
                if tokio::time::Instant::now() > until {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    fn issue(&self, session: session::Model, next: &RefreshToken, now: i64) -> Result<Issued, AuthError> {
        let issued = now.div_euclid(1000);
        let lifetime = i64::try_from(self.lifetimes.access_token.as_secs()).unwrap_or(i64::MAX);
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            sub: session.user_id.clone(),
            sid: session.id.clone(),
            jti: account::new_id(),
            iat: issued,
            exp: issued.saturating_add(lifetime),
        };
        Ok(Issued {
            access_token: self.key.sign(&claims)?,
            access_token_expire: claims.exp.saturating_mul(1000),
            refresh_token: next.expose(),
            session,
        })
    }

    fn session_cache_ttl(&self) -> Duration {
        self.lifetimes.access_token + SESSION_CACHE_TTL_SLACK
    }
}

/// Runs to its end even when the caller hangs up: between the database and the hub a session would be
/// ended in one and alive in the other.
async fn unhurried<T: Send + 'static>(
    work: impl Future<Output = Result<T, AuthError>> + Send + 'static,
) -> Result<T, AuthError> {
    tokio::spawn(work).await.map_err(AuthError::internal)?
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
