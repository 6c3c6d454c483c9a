//! AuthService: validate, call, convert.

use reelmill_mesh::{Caller, Origin};
use reelmill_platform::clock::Clock;
use reelmill_proto::{
    auth::{
        CreateSessionRequest, CreateSessionResponse, CreateUserRequest, CreateUserResponse,
        DeleteAllSessionsRequest, DeleteAllSessionsResponse, DeleteSessionRequest, DeleteSessionResponse,
        GetUserRequest, GetUserResponse, ListSessionsRequest, ListSessionsResponse, ListSigningKeysRequest,
        ListSigningKeysResponse, RefreshSessionRequest, RefreshSessionResponse, RefreshTokenDelivery,
        Session, SigningKey, User, auth_service_server::AuthService,
    },
    timestamp,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    AuthError,
    account::{self, Email},
    cookie,
    password::Hasher,
    sessions::{Issued, Sessions},
    store::{
        Store,
        entity::{session, user},
    },
};

const USER_AGENT_CHARS: usize = 200;

/// Serves AuthService.
#[derive(Clone)]
pub(crate) struct AuthRpc {
    pub store: Store,
    pub sessions: Sessions,
    pub hasher: Hasher,
    pub clock: Clock,
    /// When the signing key began to sign, in Unix milliseconds.
    pub key_since: i64,
}

impl AuthRpc {
    /// The account that an e-mail address and a password open.
    async fn authenticate(&self, email: &str, password: String) -> Result<user::Model, AuthError> {
        let user = match Email::parse(email) {
            Ok(email) => self.store.user_by_email(&email.key).await?,
            Err(_) => None,
        };
        if password.len() > account::PASSWORD_MAX {
            return Err(AuthError::CredentialsWrong);
        }
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let verdict = self.hasher.verify(password.clone(), hash).await?;
        let user = user.filter(|_| verdict.right).ok_or(AuthError::CredentialsWrong)?;
        if verdict.outdated {
            self.rehash(&user, password).await;
        }
        Ok(user)
    }

    /// Hashes a password again at the cost configured now. A failure leaves the old hash, which is right
    /// too.
    async fn rehash(&self, user: &user::Model, password: String) {
        let replaced = async {
            let hash = self.hasher.hash(password).await?;
            self.store.replace_password_hash(user, hash).await
        };
        if let Err(error) = replaced.await {
            tracing::warn!(%error, user = user.id, "a password keeps its outdated hash");
        }
    }

    async fn user_of(&self, session: &session::Model) -> Result<user::Model, AuthError> {
        self.store.user(&session.user_id).await?.ok_or(AuthError::SessionEnded)
    }

    /// Puts the refresh token where it was asked for; answers what goes into the body.
    fn deliver(
        &self,
        issued: &Issued,
        in_cookie: bool,
        origin: Option<&str>,
        metadata: &mut MetadataMap,
    ) -> Result<String, AuthError> {
        if !in_cookie {
            return Ok(issued.refresh_token.clone());
        }
        cookie::set(metadata, &issued.refresh_token, self.sessions.refresh_token_ttl(), origin)?;
        Ok(String::new())
    }
}

#[tonic::async_trait]
impl AuthService for AuthRpc {
    async fn create_user(
        &self,
        request: Request<CreateUserRequest>,
    ) -> Result<Response<CreateUserResponse>, Status> {
        let request = request.into_inner();
        let email = Email::parse(&request.email)?;
        account::check_password(&request.password, &email)?;
        let display_name = account::display_name(&request.display_name)?;
        // Spares the hash where the answer is known; the unique index has the last word.
        if self.store.user_by_email(&email.key).await?.is_some() {
            return Err(AuthError::EmailTaken.into());
        }
        let user = user::Model {
            id: account::new_id(),
            email: email.typed,
            email_key: email.key,
            display_name,
            password_hash: self.hasher.hash(request.password).await?,
            create_time: self.clock.now_millis(),
        };
        self.store.insert_user(user.clone()).await?;
        Ok(Response::new(CreateUserResponse { user: Some(to_user(user)) }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let caller = Caller::of(&request);
        let caller = caller.user()?;
        let name = request.into_inner().name;
        let own = name.strip_prefix("users/").is_some_and(|id| id == "me" || id == caller.user);
        if !own {
            return Err(AuthError::UserNotFound.into());
        }
        let user = self.store.user(&caller.user).await?.ok_or(AuthError::UserNotFound)?;
        Ok(Response::new(GetUserResponse { user: Some(to_user(user)) }))
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let origin = Origin::of(&request);
        let user_agent = user_agent(request.metadata());
        let request = request.into_inner();
        let in_cookie = request.refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let user = self.authenticate(&request.email, request.password).await?;
        let issued = self.sessions.open(&user, user_agent).await?;
        let mut response = Response::new(CreateSessionResponse::default());
        let refresh_token = self.deliver(&issued, in_cookie, origin.as_deref(), response.metadata_mut())?;
        *response.get_mut() = CreateSessionResponse {
            session: Some(to_session(&issued.session, &issued.session.id)),
            user: Some(to_user(user)),
            access_token: issued.access_token,
            access_token_expire_time: Some(timestamp(issued.access_token_expire)),
            refresh_token,
        };
        Ok(response)
    }

    async fn refresh_session(
        &self,
        request: Request<RefreshSessionRequest>,
    ) -> Result<Response<RefreshSessionResponse>, Status> {
        let origin = Origin::of(&request);
        let from_cookie = cookie::read(request.metadata());
        let in_body = request.into_inner().refresh_token;
        let in_cookie = in_body.is_empty();
        let shown = if in_cookie { from_cookie.unwrap_or_default() } else { in_body };
        let issued = self.sessions.refresh(shown).await?;
        let user = self.user_of(&issued.session).await?;
        let mut response = Response::new(RefreshSessionResponse::default());
        let refresh_token = self.deliver(&issued, in_cookie, origin.as_deref(), response.metadata_mut())?;
        *response.get_mut() = RefreshSessionResponse {
            session: Some(to_session(&issued.session, &issued.session.id)),
            user: Some(to_user(user)),
            access_token: issued.access_token,
            access_token_expire_time: Some(timestamp(issued.access_token_expire)),
            refresh_token,
        };
        Ok(response)
    }

    async fn delete_session(
        &self,
        request: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionResponse>, Status> {
        let origin = Origin::of(&request);
        let caller = Caller::of(&request);
        let caller = caller.user()?;
        let name = request.into_inner().name;
        let id = match name.strip_prefix("sessions/").ok_or(AuthError::SessionNotFound)? {
            "current" => &caller.session,
            id => id,
        };
        self.sessions.end(caller, id).await?;
        let mut response = Response::new(DeleteSessionResponse {});
        if *id == caller.session {
            cookie::clear(response.metadata_mut(), origin.as_deref())?;
        }
        Ok(response)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let caller = Caller::of(&request);
        let caller = caller.user()?;
        let sessions = self.sessions.list(&caller.user).await?;
        let sessions = sessions.iter().map(|session| to_session(session, &caller.session)).collect();
        Ok(Response::new(ListSessionsResponse { sessions }))
    }

    async fn delete_all_sessions(
        &self,
        request: Request<DeleteAllSessionsRequest>,
    ) -> Result<Response<DeleteAllSessionsResponse>, Status> {
        let origin = Origin::of(&request);
        let caller = Caller::of(&request);
        let ended = self.sessions.end_all(&caller.user()?.user).await?;
        let session_count = i32::try_from(ended).unwrap_or(i32::MAX);
        let mut response = Response::new(DeleteAllSessionsResponse { session_count });
        cookie::clear(response.metadata_mut(), origin.as_deref())?;
        Ok(response)
    }

    async fn list_signing_keys(
        &self,
        _request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let key = self.sessions.key();
        let key = SigningKey {
            kid: key.kid().to_owned(),
            algorithm: "EdDSA".to_owned(),
            public_key: key.public_key().to_vec(),
            create_time: Some(timestamp(self.key_since)),
        };
        Ok(Response::new(ListSigningKeysResponse { signing_keys: vec![key] }))
    }
}

fn to_user(user: user::Model) -> User {
    User {
        name: format!("users/{}", user.id),
        email: user.email,
        display_name: user.display_name,
        create_time: Some(timestamp(user.create_time)),
    }
}

fn to_session(session: &session::Model, current: &str) -> Session {
    Session {
        name: format!("sessions/{}", session.id),
        user: format!("users/{}", session.user_id),
        create_time: Some(timestamp(session.create_time)),
        refresh_time: Some(timestamp(session.refresh_time)),
        expire_time: Some(timestamp(session.expire_time)),
        user_agent: session.user_agent.clone(),
        current: session.id == current,
    }
}

/// What the client calls itself. The mesh's own transport appends its name to it.
fn user_agent(metadata: &MetadataMap) -> String {
    let text = metadata.get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let own = text.rfind(" tonic/").map_or(text, |end| &text[..end]);
    own.chars().take(USER_AGENT_CHARS).collect()
}
