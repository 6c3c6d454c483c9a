//! RPC methods of AuthService: validate, act, convert.

use reelmill_mesh::{Caller, Origin};
use reelmill_platform::clock::Clock;
use reelmill_proto::{
    auth::{
        CreateSessionRequest, CreateSessionResponse, CreateUserRequest, CreateUserResponse,
        DeleteAllSessionsRequest, DeleteAllSessionsResponse, DeleteSessionRequest, DeleteSessionResponse,
        GetUserRequest, GetUserResponse, ListSessionsRequest, ListSessionsResponse, ListSigningKeysRequest,
        ListSigningKeysResponse, RefreshSessionRequest, RefreshSessionResponse, RefreshTokenDelivery,
        SigningKey, auth_service_server::AuthService,
    },
    timestamp,
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    db::{Db, SessionRow, UserRow},
    domain::{display_name, email::Email, id::new_id, password_policy},
    error::AuthError,
    messages,
    password_hasher::PasswordHasher,
    password_sign_in::PasswordSignIn,
    refresh_cookie,
    sessions::{IssuedTokens, Sessions},
};

const MAX_USER_AGENT_CHARS: usize = 200;
const MAX_REQUEST_ID_CHARS: usize = 64;

/// Serves AuthService.
#[derive(Clone)]
pub(crate) struct AuthRpc {
    pub db: Db,
    pub sessions: Sessions,
    pub sign_in: PasswordSignIn,
    pub hasher: PasswordHasher,
    pub clock: Clock,
    /// When the signing key was first used, Unix milliseconds.
    pub key_create_time: i64,
}

impl AuthRpc {
    async fn user_of(&self, session: &SessionRow) -> Result<UserRow, AuthError> {
        self.db.user(&session.user_id).await?.ok_or(AuthError::SessionEnded)
    }

    /// Sets the refresh token as a cookie, if requested. Returns the token for the response message: empty for a cookie.
    fn deliver_refresh_token(
        &self,
        issued: &IssuedTokens,
        in_cookie: bool,
        origin: Option<&str>,
        metadata: &mut MetadataMap,
    ) -> Result<String, AuthError> {
        if !in_cookie {
            return Ok(issued.refresh_token.clone());
        }
        refresh_cookie::set(metadata, &issued.refresh_token, self.sessions.refresh_token_ttl(), origin)?;
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
        password_policy::check(&request.password, &email)?;
        let display_name = display_name::parse(&request.display_name)?;
        // Avoids hashing in the common case; the unique index decides.
        if self.db.user_by_email(&email.key).await?.is_some() {
            return Err(AuthError::EmailTaken.into());
        }
        let user = UserRow {
            id: new_id(),
            email: email.typed,
            email_key: email.key,
            display_name,
            password_hash: self.hasher.hash(request.password).await?,
            create_time: self.clock.now_millis(),
        };
        self.db.insert_user(user.clone()).await?;
        Ok(Response::new(CreateUserResponse { user: Some(messages::user(user)) }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let caller = Caller::of(&request);
        let caller = caller.user()?;
        let name = request.into_inner().name;
        let is_own = name.strip_prefix("users/").is_some_and(|id| id == "me" || id == caller.user);
        if !is_own {
            return Err(AuthError::UserNotFound.into());
        }
        let user = self.db.user(&caller.user).await?.ok_or(AuthError::UserNotFound)?;
        Ok(Response::new(GetUserResponse { user: Some(messages::user(user)) }))
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let origin = Origin::of(&request);
        let user_agent = user_agent(request.metadata());
        let request = request.into_inner();
        let in_cookie = request.refresh_token_delivery() == RefreshTokenDelivery::Cookie;
        let user = self.sign_in.authenticate(&request.email, request.password).await?;
        let issued = self.sessions.open(&user, user_agent).await?;
        let mut response = Response::new(CreateSessionResponse::default());
        let refresh_token =
            self.deliver_refresh_token(&issued, in_cookie, origin.as_deref(), response.metadata_mut())?;
        *response.get_mut() = CreateSessionResponse {
            session: Some(messages::session(&issued.session, &issued.session.id)),
            user: Some(messages::user(user)),
            access_token: issued.access_token,
            access_token_expire_time: Some(timestamp(issued.access_token_expire_time)),
            refresh_token,
        };
        Ok(response)
    }

    async fn refresh_session(
        &self,
        request: Request<RefreshSessionRequest>,
    ) -> Result<Response<RefreshSessionResponse>, Status> {
        let origin = Origin::of(&request);
        let from_cookie = refresh_cookie::read(request.metadata(), origin.as_deref());
        let RefreshSessionRequest { refresh_token: in_body, request_id } = request.into_inner();
        check_request_id(&request_id)?;
        let in_cookie = in_body.is_empty();
        let refresh_token = if in_cookie { from_cookie.unwrap_or_default() } else { in_body };
        let issued = self.sessions.refresh(refresh_token, request_id).await?;
        let user = self.user_of(&issued.session).await?;
        let mut response = Response::new(RefreshSessionResponse::default());
        let refresh_token =
            self.deliver_refresh_token(&issued, in_cookie, origin.as_deref(), response.metadata_mut())?;
        *response.get_mut() = RefreshSessionResponse {
            session: Some(messages::session(&issued.session, &issued.session.id)),
            user: Some(messages::user(user)),
            access_token: issued.access_token,
            access_token_expire_time: Some(timestamp(issued.access_token_expire_time)),
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
            refresh_cookie::clear(response.metadata_mut(), origin.as_deref())?;
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
        let sessions = sessions.iter().map(|session| messages::session(session, &caller.session)).collect();
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
        refresh_cookie::clear(response.metadata_mut(), origin.as_deref())?;
        Ok(response)
    }

    async fn list_signing_keys(
        &self,
        _request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let key = &self.sessions.key;
        let key = SigningKey {
            kid: key.kid().to_owned(),
            algorithm: "EdDSA".to_owned(),
            public_key: key.public_key().to_vec(),
            create_time: Some(timestamp(self.key_create_time)),
        };
        Ok(Response::new(ListSigningKeysResponse { signing_keys: vec![key] }))
    }
}

fn check_request_id(request_id: &str) -> Result<(), AuthError> {
    if request_id.chars().count() > MAX_REQUEST_ID_CHARS || request_id.chars().any(char::is_control) {
        let message = "must be at most 64 printable characters";
        return Err(AuthError::Field { field: "request_id", message });
    }
    Ok(())
}

/// The client's User-Agent, without the suffix that the mesh's transport appends.
fn user_agent(metadata: &MetadataMap) -> String {
    let text = metadata.get("user-agent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let client = text.rfind(" tonic/").map_or(text, |end| &text[..end]);
    client.chars().take(MAX_USER_AGENT_CHARS).collect()
}
