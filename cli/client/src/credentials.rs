//! Who is signed in where: tokens kept in the profile, refreshed before they end.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use prost_types::Timestamp;
use reelmill_proto::auth::{RefreshSessionResponse, Session, User};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tonic::Code;

use crate::{ClientError, profile::Profile};

const FILE: &str = "credentials.json";
/// An access token that ends sooner than this is refreshed first.
const MARGIN_MILLIS: i64 = 30_000;

/// The credentials of one sign-in. No `Debug`: it holds secrets.
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
    /// When the access token ends by this machine's clock, Unix milliseconds.
    pub access_token_expire_millis: i64,
    /// The refresh token, good for one use.
    pub refresh_token: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    /// By server address.
    servers: BTreeMap<String, Credentials>,
}

/// The credentials for one server.
pub struct CredentialStore {
    profile: Profile,
    server: String,
    cached: Mutex<Option<Credentials>>,
}

impl Credentials {
    /// What a sign-in or a refresh answered, received at `now`.
    pub fn new(session: Option<Session>, user: Option<User>, tokens: Tokens, now: i64) -> Self {
        let (session, user) = (session.unwrap_or_default(), user.unwrap_or_default());
        Self {
            access_token_expire_millis: local_expiry(&tokens, session.refresh_time.as_ref(), now),
            user: user.name,
            email: user.email,
            session: session.name,
            access_token: tokens.access,
            refresh_token: tokens.refresh,
        }
    }

    fn serves(&self, rejected: Option<&str>, now: i64) -> bool {
        rejected != Some(self.access_token.as_str()) && self.access_token_expire_millis > now + MARGIN_MILLIS
    }
}

/// A pair of tokens as the server sent it.
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// When it ends, by the server's clock.
    pub access_expire: Option<Timestamp>,
    /// The refresh token.
    pub refresh: String,
}

/// When the access token ends by this machine's clock, which may differ from the server's: its
/// lifetime is counted from its arrival.
fn local_expiry(tokens: &Tokens, issued: Option<&Timestamp>, now: i64) -> i64 {
    let Some(expire) = tokens.access_expire.as_ref().map(reelmill_proto::unix_millis) else { return now };
    match issued.map(reelmill_proto::unix_millis) {
        Some(issued) if issued < expire => now.saturating_add(expire.saturating_sub(issued)),
        _ => expire,
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl CredentialStore {
    /// The credentials that the profile keeps for a server.
    pub fn new(profile: Profile, server: String) -> Self {
        Self { profile, server, cached: Mutex::new(None) }
    }

    /// What the profile holds now.
    pub fn stored(&self) -> Result<Option<Credentials>, ClientError> {
        Ok(self.profile.read::<Content>(FILE)?.servers.remove(&self.server))
    }

    /// Keeps the credentials of a new sign-in.
    pub async fn keep(&self, credentials: Credentials) -> Result<(), ClientError> {
        let mut cached = self.cached.lock().await;
        let file = self.profile.lock(FILE).await?;
        let mut content: Content = file.read()?;
        content.servers.insert(self.server.clone(), credentials.clone());
        file.write(&content)?;
        *cached = Some(credentials);
        Ok(())
    }

    /// Forgets the credentials.
    pub async fn forget(&self) -> Result<(), ClientError> {
        *self.cached.lock().await = None;
        let file = self.profile.lock(FILE).await?;
        let mut content: Content = file.read()?;
        if content.servers.remove(&self.server).is_some() {
            file.write(&content)?;
        }
        Ok(())
    }

    /// Credentials whose access token is good for a while and is not the `rejected` one; `refresh`
    /// exchanges the refresh token where that is needed. Of several processes one refreshes, and the
    /// others use what it got: a refresh token that is shown twice ends the session.
    pub async fn current(
        &self,
        rejected: Option<&str>,
        refresh: impl AsyncFnOnce(String) -> Result<RefreshSessionResponse, ClientError>,
    ) -> Result<Credentials, ClientError> {
        let mut cached = self.cached.lock().await;
        if let Some(credentials) = cached.as_ref().filter(|cached| cached.serves(rejected, now_millis())) {
            return Ok(credentials.clone());
        }
        let stored = self.stored()?.ok_or_else(|| self.not_signed_in())?;
        if stored.serves(rejected, now_millis()) {
            *cached = Some(stored.clone());
            return Ok(stored);
        }
        let file = self.profile.lock(FILE).await?;
        let mut content: Content = file.read()?;
        let old = content.servers.get(&self.server).cloned().ok_or_else(|| self.not_signed_in())?;
        if old.serves(rejected, now_millis()) {
            *cached = Some(old.clone());
            return Ok(old);
        }
        let new = match refresh(old.refresh_token).await {
            Ok(answer) => of_refresh(answer),
            Err(error) => {
                if error.is_unauthenticated() {
                    content.servers.remove(&self.server);
                    file.write(&content)?;
                    return Err(self.session_over(&error));
                }
                return Err(error);
            }
        };
        content.servers.insert(self.server.clone(), new.clone());
        file.write(&content)?;
        *cached = Some(new.clone());
        Ok(new)
    }

    fn not_signed_in(&self) -> ClientError {
        let message = format!("not signed in to {}: run `reelmill sign-in`", self.server);
        ClientError::refused(Code::Unauthenticated, "NOT_SIGNED_IN", message)
    }

    fn session_over(&self, error: &ClientError) -> ClientError {
        let reason = match error {
            ClientError::Refused { reason, .. } => reason.as_str(),
            _ => "SESSION_ENDED",
        };
        let message = format!("the session at {} is over: run `reelmill sign-in`", self.server);
        ClientError::refused(Code::Unauthenticated, reason, message)
    }
}

fn of_refresh(answer: RefreshSessionResponse) -> Credentials {
    let tokens = Tokens {
        access: answer.access_token,
        access_expire: answer.access_token_expire_time,
        refresh: answer.refresh_token,
    };
    Credentials::new(answer.session, answer.user, tokens, now_millis())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::ClientOptions;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        options: ClientOptions,
    }

    fn store(dir: &std::path::Path, server: &str) -> CredentialStore {
        let line = ["x", "--profile-dir", dir.to_str().unwrap()];
        CredentialStore::new(Profile::of(&Cli::parse_from(line).options).unwrap(), server.to_owned())
    }

    fn credentials(access: &str, expire: i64) -> Credentials {
        Credentials {
            user: "users/u".into(),
            email: "a@b.c".into(),
            session: "sessions/s".into(),
            access_token: access.into(),
            access_token_expire_millis: expire,
            refresh_token: format!("refresh-of-{access}"),
        }
    }

    fn answer(access: &str) -> RefreshSessionResponse {
        RefreshSessionResponse {
            access_token: access.to_owned(),
            access_token_expire_time: Some(reelmill_proto::timestamp(now_millis() + 900_000)),
            refresh_token: format!("refresh-of-{access}"),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn each_server_has_its_own_credentials() {
        let temp = tempfile::tempdir().unwrap();
        let (one, two) = (store(temp.path(), "http://one"), store(temp.path(), "http://two"));
        one.keep(credentials("a", i64::MAX)).await.unwrap();
        two.keep(credentials("b", i64::MAX)).await.unwrap();
        one.forget().await.unwrap();
        assert!(one.stored().unwrap().is_none());
        assert_eq!(two.stored().unwrap().unwrap().access_token, "b");
    }

    #[tokio::test]
    async fn an_ending_or_rejected_token_is_refreshed_once_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let store = store(temp.path(), "http://one");
        store.keep(credentials("old", now_millis() + MARGIN_MILLIS / 2)).await.unwrap();
        let got = store.current(None, async |token| {
            assert_eq!(token, "refresh-of-old");
            Ok(answer("new"))
        });
        assert_eq!(got.await.unwrap().access_token, "new");
        let never = async |_| -> Result<RefreshSessionResponse, ClientError> { panic!("refreshed again") };
        assert_eq!(store.current(None, never).await.unwrap().access_token, "new");
        let got = store.current(Some("new"), async |_| Ok(answer("newer"))).await.unwrap();
        assert_eq!(got.access_token, "newer");
        assert_eq!(store.stored().unwrap().unwrap().refresh_token, "refresh-of-newer");
    }

    #[tokio::test]
    async fn a_token_that_another_process_refreshed_is_used_as_it_is() {
        let temp = tempfile::tempdir().unwrap();
        let (one, two) = (store(temp.path(), "http://one"), store(temp.path(), "http://one"));
        one.keep(credentials("old", i64::MAX)).await.unwrap();
        two.current(Some("old"), async |_| Ok(answer("new"))).await.unwrap();
        let never = async |_| -> Result<RefreshSessionResponse, ClientError> { panic!("refreshed again") };
        assert_eq!(one.current(Some("old"), never).await.unwrap().access_token, "new");
    }

    #[tokio::test]
    async fn a_session_that_is_over_is_forgotten_and_one_that_can_not_be_asked_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let store = store(temp.path(), "http://one");
        store.keep(credentials("old", 0)).await.unwrap();
        let away = ClientError::Unreachable { server: String::new(), cause: String::new() };
        assert_eq!(store.current(None, async |_| Err(away)).await.err().unwrap().exit_code(), 3);
        assert!(store.stored().unwrap().is_some());
        let over = ClientError::refused(Code::Unauthenticated, "SESSION_ENDED", "no");
        let error = store.current(None, async |_| Err(over)).await.err().unwrap();
        assert!(error.to_string().ends_with("(SESSION_ENDED)"), "{error}");
        assert!(store.stored().unwrap().is_none());
    }

    #[test]
    fn a_lifetime_counts_by_this_machines_clock() {
        let at = reelmill_proto::timestamp;
        let tokens =
            Tokens { access: String::new(), access_expire: Some(at(5_900_000)), refresh: String::new() };
        assert_eq!(local_expiry(&tokens, Some(&at(5_000_000)), 100), 900_100);
        assert_eq!(local_expiry(&tokens, None, 100), 5_900_000);
    }
}
