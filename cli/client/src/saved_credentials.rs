//! Credentials saved in the profile folder, refreshed before they expire.

use std::collections::BTreeMap;

use reelmill_proto::auth::{RefreshSessionRequest, RefreshSessionResponse};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tonic::Code;

use crate::{
    credentials::{Credentials, Tokens, now_millis},
    error::ClientError,
    profile_dir::ProfileDir,
    reason::ClientReason,
};

const FILE_NAME: &str = "credentials.json";

#[derive(Default, Serialize, Deserialize)]
struct Content {
    /// By server address.
    servers: BTreeMap<String, Credentials>,
}

/// The saved credentials for one server.
pub struct SavedCredentials {
    profile_dir: ProfileDir,
    server: String,
    cached: Mutex<Option<Credentials>>,
}

impl SavedCredentials {
    /// The credentials for `server` in a profile folder.
    pub fn new(profile_dir: ProfileDir, server: String) -> Self {
        Self { profile_dir, server, cached: Mutex::new(None) }
    }

    /// The credentials in the file, expired or not.
    pub fn load(&self) -> Result<Option<Credentials>, ClientError> {
        Ok(self.profile_dir.read::<Content>(FILE_NAME)?.servers.remove(&self.server))
    }

    /// Saves the credentials of a new sign-in.
    pub async fn save(&self, credentials: Credentials) -> Result<(), ClientError> {
        let mut cached = self.cached.lock().await;
        let file = self.profile_dir.lock(FILE_NAME).await?;
        let mut content: Content = file.read()?;
        content.servers.insert(self.server.clone(), credentials.clone());
        file.write(&content)?;
        *cached = Some(credentials);
        Ok(())
    }

    /// Removes the credentials.
    pub async fn remove(&self) -> Result<(), ClientError> {
        *self.cached.lock().await = None;
        let file = self.profile_dir.lock(FILE_NAME).await?;
        let mut content: Content = file.read()?;
        if content.servers.remove(&self.server).is_some() {
            file.write(&content)?;
        }
        Ok(())
    }

    /// Credentials with a usable access token other than the `rejected` one; `refresh` exchanges the
    /// refresh token if that is needed. Only one of several processes refreshes, under the file's lock, and
    /// the others use its result: a refresh token that is presented twice ends the session.
    pub async fn usable(
        &self,
        rejected: Option<&str>,
        refresh: impl AsyncFnOnce(RefreshSessionRequest) -> Result<RefreshSessionResponse, ClientError>,
    ) -> Result<Credentials, ClientError> {
        let mut cached = self.cached.lock().await;
        if let Some(credentials) = cached.as_ref().filter(|cached| cached.is_usable(rejected, now_millis())) {
            return Ok(credentials.clone());
        }
        let saved = self.load()?.ok_or_else(|| self.not_signed_in())?;
        if saved.is_usable(rejected, now_millis()) {
            *cached = Some(saved.clone());
            return Ok(saved);
        }
        let file = self.profile_dir.lock(FILE_NAME).await?;
        let mut content: Content = file.read()?;
        let old = content.servers.get(&self.server).cloned().ok_or_else(|| self.not_signed_in())?;
        // Another process may have refreshed them while this one waited for the lock.
        if old.is_usable(rejected, now_millis()) {
            *cached = Some(old.clone());
            return Ok(old);
        }
        let request =
            RefreshSessionRequest { refresh_token: old.refresh_token, request_id: old.refresh_request_id };
        let new = match refresh(request).await {
            Ok(response) => refreshed(response),
            Err(ClientError::Rejected { code: Code::Unauthenticated, reason, .. }) => {
                content.servers.remove(&self.server);
                file.write(&content)?;
                return Err(self.session_ended(reason));
            }
            Err(error) => return Err(error),
        };
        content.servers.insert(self.server.clone(), new.clone());
        file.write(&content)?;
        *cached = Some(new.clone());
        Ok(new)
    }

    fn not_signed_in(&self) -> ClientError {
        let message = format!("not signed in to {}: run `reelmill sign-in`", self.server);
        ClientError::local(ClientReason::NotSignedIn, message)
    }

    fn session_ended(&self, reason: String) -> ClientError {
        let message = format!("the session at {} has ended: run `reelmill sign-in`", self.server);
        ClientError::Rejected { code: Code::Unauthenticated, reason, message }
    }
}

fn refreshed(response: RefreshSessionResponse) -> Credentials {
    let tokens = Tokens {
        access: response.access_token,
        access_expire: response.access_token_expire_time,
        refresh: response.refresh_token,
    };
    Credentials::new(response.session, response.user, tokens, now_millis())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::args::ClientOptions;

    fn saved_credentials(dir: &Path, server: &str) -> SavedCredentials {
        let options =
            ClientOptions { server: server.to_owned(), profile_dir: Some(dir.to_owned()), json: false };
        SavedCredentials::new(ProfileDir::from_options(&options).unwrap(), server.to_owned())
    }

    fn credentials(access: &str, expire: i64) -> Credentials {
        Credentials {
            user: "users/u".into(),
            email: "a@b.c".into(),
            session: "sessions/s".into(),
            access_token: access.into(),
            access_token_expire_millis: expire,
            refresh_token: format!("refresh-of-{access}"),
            refresh_request_id: format!("request-of-{access}"),
        }
    }

    fn response(access: &str) -> RefreshSessionResponse {
        RefreshSessionResponse {
            access_token: access.to_owned(),
            access_token_expire_time: Some(reelmill_proto::timestamp(now_millis() + 900_000)),
            refresh_token: format!("refresh-of-{access}"),
            ..Default::default()
        }
    }

    async fn unexpected_refresh(_: RefreshSessionRequest) -> Result<RefreshSessionResponse, ClientError> {
        panic!("refreshed again")
    }

    #[tokio::test]
    async fn remove_one_server_keeps_the_credentials_of_others() {
        let temp = tempfile::tempdir().unwrap();
        let one = saved_credentials(temp.path(), "http://one");
        let two = saved_credentials(temp.path(), "http://two");
        one.save(credentials("a", i64::MAX)).await.unwrap();
        two.save(credentials("b", i64::MAX)).await.unwrap();
        one.remove().await.unwrap();
        assert!(one.load().unwrap().is_none());
        assert_eq!(two.load().unwrap().unwrap().access_token, "b");
    }

    #[tokio::test]
    async fn usable_expiring_token_is_refreshed_once() {
        let temp = tempfile::tempdir().unwrap();
        let saved = saved_credentials(temp.path(), "http://one");
        saved.save(credentials("old", now_millis() + 15_000)).await.unwrap();
        let usable = saved.usable(None, async |request| {
            assert_eq!(request.refresh_token, "refresh-of-old");
            assert_eq!(request.request_id, "request-of-old");
            Ok(response("new"))
        });
        assert_eq!(usable.await.unwrap().access_token, "new");
        assert_eq!(saved.usable(None, unexpected_refresh).await.unwrap().access_token, "new");
    }

    #[tokio::test]
    async fn usable_rejected_token_is_refreshed_and_saved() {
        let temp = tempfile::tempdir().unwrap();
        let saved = saved_credentials(temp.path(), "http://one");
        saved.save(credentials("new", i64::MAX)).await.unwrap();
        let usable = saved.usable(Some("new"), async |_| Ok(response("newer"))).await.unwrap();
        assert_eq!(usable.access_token, "newer");
        let saved = saved.load().unwrap().unwrap();
        assert_eq!(saved.refresh_token, "refresh-of-newer");
        assert!(!saved.refresh_request_id.is_empty() && saved.refresh_request_id != "request-of-new");
    }

    #[tokio::test]
    async fn usable_token_that_another_process_refreshed_is_not_refreshed_again() {
        let temp = tempfile::tempdir().unwrap();
        let one = saved_credentials(temp.path(), "http://one");
        let two = saved_credentials(temp.path(), "http://one");
        one.save(credentials("old", i64::MAX)).await.unwrap();
        two.usable(Some("old"), async |_| Ok(response("new"))).await.unwrap();
        assert_eq!(one.usable(Some("old"), unexpected_refresh).await.unwrap().access_token, "new");
    }

    #[tokio::test]
    async fn usable_unreachable_server_keeps_the_credentials() {
        let temp = tempfile::tempdir().unwrap();
        let saved = saved_credentials(temp.path(), "http://one");
        saved.save(credentials("old", 0)).await.unwrap();
        let unreachable = ClientError::Unreachable { server: String::new(), cause: String::new() };
        assert_eq!(saved.usable(None, async |_| Err(unreachable)).await.err().unwrap().exit_code(), 3);
        assert!(saved.load().unwrap().is_some());
    }

    #[tokio::test]
    async fn usable_ended_session_removes_the_credentials() {
        let temp = tempfile::tempdir().unwrap();
        let saved = saved_credentials(temp.path(), "http://one");
        saved.save(credentials("old", 0)).await.unwrap();
        let ended = ClientError::Rejected {
            code: Code::Unauthenticated,
            reason: "SESSION_ENDED".to_owned(),
            message: "no".to_owned(),
        };
        let error = saved.usable(None, async |_| Err(ended)).await.err().unwrap();
        assert!(error.to_string().ends_with("(SESSION_ENDED)"), "{error}");
        assert!(saved.load().unwrap().is_none());
    }
}
