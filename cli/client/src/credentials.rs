//! The credentials of one sign-in.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;
use reelmill_proto::auth::{Session, User};
use serde::{Deserialize, Serialize};

/// An access token that expires sooner than this is refreshed before it is used.
const REFRESH_MARGIN_MILLIS: i64 = 30_000;

/// The credentials of one sign-in. Not `Debug`: they contain secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The account, `users/{user}`.
    pub user: String,
    /// Its e-mail address, for people.
    pub email: String,
    /// The session, `sessions/{session}`.
    pub session: String,
    /// The access token.
    pub access_token: String,
    /// Expiry of the access token by this machine's clock, Unix milliseconds.
    pub access_token_expire_millis: i64,
    /// The refresh token, valid for one use.
    pub refresh_token: String,
    /// Idempotency key of its exchange: saved with it, so that a command repeats a call whose response was lost, also
    /// if that ended the earlier command.
    pub refresh_request_id: String,
}

/// A pair of tokens as the server sent it.
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// Expiry of the access token, by the server's clock.
    pub access_expire: Option<Timestamp>,
    /// The refresh token.
    pub refresh: String,
}

impl Credentials {
    /// The result of a sign-in or a refresh that was received at `now`, Unix milliseconds.
    pub fn new(session: Option<Session>, user: Option<User>, tokens: Tokens, now: i64) -> Self {
        let (session, user) = (session.unwrap_or_default(), user.unwrap_or_default());
        Self {
            access_token_expire_millis: local_expiry(&tokens, session.refresh_time.as_ref(), now),
            user: user.name,
            email: user.email,
            session: session.name,
            access_token: tokens.access,
            refresh_token: tokens.refresh,
            refresh_request_id: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// Whether the access token can be used at `now`: it does not expire soon and is not the `rejected` one.
    pub fn is_usable(&self, rejected: Option<&str>, now: i64) -> bool {
        rejected != Some(self.access_token.as_str())
            && self.access_token_expire_millis > now + REFRESH_MARGIN_MILLIS
    }
}

/// Expiry of the access token by this machine's clock, which may differ from the server's: the token's
/// lifetime is counted from its arrival.
fn local_expiry(tokens: &Tokens, issued: Option<&Timestamp>, now: i64) -> i64 {
    let Some(expire) = tokens.access_expire.as_ref().map(reelmill_proto::unix_millis) else { return now };
    match issued.map(reelmill_proto::unix_millis) {
        Some(issued) if issued < expire => now.saturating_add(expire.saturating_sub(issued)),
        _ => expire,
    }
}

/// The current time, Unix milliseconds.
pub fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_expiry_counts_the_lifetime_from_arrival() {
        let at = reelmill_proto::timestamp;
        let tokens =
            Tokens { access: String::new(), access_expire: Some(at(5_900_000)), refresh: String::new() };
        assert_eq!(local_expiry(&tokens, Some(&at(5_000_000)), 100), 900_100);
        assert_eq!(local_expiry(&tokens, None, 100), 5_900_000);
    }

    #[test]
    fn is_usable_token_that_expires_within_the_margin_is_refreshed_first() {
        let expiring = |expire: i64| Credentials {
            user: String::new(),
            email: String::new(),
            session: String::new(),
            access_token: "access".to_owned(),
            access_token_expire_millis: expire,
            refresh_token: String::new(),
            refresh_request_id: String::new(),
        };
        assert!(!expiring(REFRESH_MARGIN_MILLIS).is_usable(None, 0));
        assert!(expiring(REFRESH_MARGIN_MILLIS + 1).is_usable(None, 0));
        assert!(!expiring(i64::MAX).is_usable(Some("access"), 0));
    }
}
