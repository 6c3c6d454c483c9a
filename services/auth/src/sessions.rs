//! Sessions from sign-in to their end. The database is written first, then the session cache.

use std::time::Duration;

use reelmill_mesh::UserSession;
use reelmill_platform::clock::{Clock, duration_millis};

use crate::{
    access_token::{AccessClaims, ISSUER, sign},
    db::{Db, SessionRow, UserRow},
    domain::{
        id::{is_id, new_id},
        refresh_rotation::RotationDecision,
    },
    error::AuthError,
    refresh_token::{PresentedToken, RefreshToken},
    session_cache_writer::SessionCacheWriter,
    signing_key::SigningKey,
};

/// Lifetimes of tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenLifetimes {
    pub access_token: Duration,
    pub refresh_token: Duration,
}

/// A session with a new pair of tokens.
pub(crate) struct IssuedTokens {
    pub session: SessionRow,
    pub access_token: String,
    /// Unix milliseconds.
    pub access_token_expire_time: i64,
    pub refresh_token: String,
}

/// Opens, refreshes, checks and ends sessions.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub db: Db,
    pub cache: SessionCacheWriter,
    /// Signs access tokens.
    pub key: SigningKey,
    pub clock: Clock,
    pub lifetimes: TokenLifetimes,
}

impl Sessions {
    /// Lifetime of a refresh token.
    pub fn refresh_token_ttl(&self) -> Duration {
        self.lifetimes.refresh_token
    }

    /// Opens a session for an authenticated user.
    pub async fn open(&self, user: &UserRow, user_agent: String) -> Result<IssuedTokens, AuthError> {
        let now = self.clock.now_millis();
        let session = SessionRow {
            id: new_id(),
            user_id: user.id.clone(),
            create_time: now,
            refresh_time: now,
            expire_time: now.saturating_add(duration_millis(self.lifetimes.refresh_token)),
            end_time: None,
            user_agent,
        };
        let token = RefreshToken::generate()?;
        self.db.insert_session(session.clone(), &token).await?;
        if let Err(error) = self.db.delete_expired_sessions(&user.id, now).await {
            tracing::warn!(%error, "cannot delete expired sessions; the next sign-in retries");
        }
        self.cache.restore(&session).await;
        self.issue(session, &token, now)
    }

    /// Exchanges a refresh token for a new pair of tokens. A repeated call with the same `request_id` returns the same
    /// refresh token; empty: the call cannot be repeated.
    pub async fn refresh(
        &self,
        refresh_token: String,
        request_id: String,
    ) -> Result<IssuedTokens, AuthError> {
        let this = self.clone();
        run_to_completion(async move { this.exchange(&refresh_token, &request_id).await }).await
    }

    async fn exchange(&self, refresh_token: &str, request_id: &str) -> Result<IssuedTokens, AuthError> {
        let presented = PresentedToken::parse(refresh_token).ok_or(AuthError::RefreshTokenInvalid)?;
        let now = self.clock.now_millis();
        let next = match request_id {
            "" => RefreshToken::generate()?,
            _ => RefreshToken::successor(&presented, request_id),
        };
        let expire_time = now.saturating_add(duration_millis(self.lifetimes.refresh_token));
        let rotated = self.db.rotate_refresh_token(&presented, &next, now, expire_time).await?;
        let (decision, session) = rotated.ok_or(AuthError::RefreshTokenInvalid)?;
        match decision {
            RotationDecision::Rotate | RotationDecision::Repeat => {
                self.cache.restore(&session).await;
                self.issue(session, &next, now)
            }
            RotationDecision::RejectSpent => Err(AuthError::RefreshTokenSpent),
            RotationDecision::RejectExpired => Err(AuthError::SessionEnded),
            RotationDecision::EndSession => {
                tracing::warn!(
                    session = session.id,
                    user = session.user_id,
                    "a refresh token was replayed; its session was ended"
                );
                self.cache.end(vec![session.id]).await?;
                Err(AuthError::RefreshTokenReplayed)
            }
            RotationDecision::RejectEnded => {
                // The cache may have been unavailable when the session ended.
                self.cache.end(vec![session.id]).await?;
                Err(AuthError::SessionEnded)
            }
        }
    }

    /// Ends one of the caller's sessions. Ending it again is not an error.
    pub async fn end(&self, caller: &UserSession, session: &str) -> Result<(), AuthError> {
        if !is_id(session) {
            return Err(AuthError::SessionNotFound);
        }
        let (this, user, session) = (self.clone(), caller.user.clone(), session.to_owned());
        run_to_completion(async move {
            if !this.db.end_session(&session, &user, this.clock.now_millis()).await? {
                return Err(AuthError::SessionNotFound);
            }
            this.cache.end(vec![session]).await
        })
        .await
    }

    /// Ends all of a user's sessions. Returns how many.
    pub async fn end_all(&self, user: &str) -> Result<u64, AuthError> {
        let (this, user) = (self.clone(), user.to_owned());
        run_to_completion(async move {
            let now = this.clock.now_millis();
            let count = this.db.end_all_sessions(&user, now).await?;
            // Includes sessions that an earlier call ended in the database but not in the cache.
            let since = now.saturating_sub(duration_millis(this.cache.entry_ttl()));
            let sessions = this.db.sessions_ended_since(&user, since).await?;
            this.cache.end(sessions).await?;
            Ok(count)
        })
        .await
    }

    /// Lists the user's live sessions, newest first.
    pub async fn list(&self, user: &str) -> Result<Vec<SessionRow>, AuthError> {
        self.db.live_sessions(user, self.clock.now_millis()).await
    }

    /// Loads a session and whether it is alive, and restores its cache entry.
    pub async fn check(&self, session: &str) -> Result<Option<(SessionRow, bool)>, AuthError> {
        if !is_id(session) {
            return Ok(None);
        }
        let Some(session) = self.db.session(session).await? else { return Ok(None) };
        let is_alive = session.end_time.is_none() && self.clock.now_millis() < session.expire_time;
        if is_alive {
            self.cache.restore(&session).await;
        } else if let Err(error) = self.cache.end(vec![session.id.clone()]).await {
            tracing::warn!(%error, "cannot write an ended session to the session cache");
        }
        Ok(Some((session, is_alive)))
    }

    fn issue(
        &self,
        session: SessionRow,
        refresh_token: &RefreshToken,
        now: i64,
    ) -> Result<IssuedTokens, AuthError> {
        let issue_seconds = now.div_euclid(1000);
        let lifetime_seconds = i64::try_from(self.lifetimes.access_token.as_secs()).unwrap_or(i64::MAX);
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            sub: session.user_id.clone(),
            sid: session.id.clone(),
            jti: new_id(),
            iat: issue_seconds,
            exp: issue_seconds.saturating_add(lifetime_seconds),
        };
        Ok(IssuedTokens {
            access_token: sign(&self.key, &claims)?,
            access_token_expire_time: claims.exp.saturating_mul(1000),
            refresh_token: refresh_token.expose(),
            session,
        })
    }
}

/// Runs to completion even if the caller disconnects: between database and cache, a session would have ended in one
/// and be alive in the other.
async fn run_to_completion<T: Send + 'static>(
    work: impl Future<Output = Result<T, AuthError>> + Send + 'static,
) -> Result<T, AuthError> {
    tokio::spawn(work).await.map_err(AuthError::internal)?
}
