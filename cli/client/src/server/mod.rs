//! gRPC calls to the gateway, with credentials and retries.

mod address;

use std::{cell::Cell, time::Duration};

use reelmill_proto::auth::{
    RefreshSessionRequest, RefreshSessionResponse, auth_service_client::AuthServiceClient,
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use self::address::CONNECT_TIMEOUT;
use crate::{
    args::ClientOptions,
    credentials::Credentials,
    error::{ClientError, root_cause},
    profile_dir::ProfileDir,
    reason::ClientReason,
    retry::CallAttempts,
    saved_credentials::SavedCredentials,
    status::{self, is_connection_failure},
};

/// Time limit for one call, or for opening a stream. Completing the upload of a very large file takes longest.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// A channel that sends the access token with every call.
pub type AuthenticatedChannel = InterceptedService<Channel, BearerToken>;

/// Adds an access token to every call.
#[derive(Clone)]
pub struct BearerToken(MetadataValue<Ascii>);

impl Interceptor for BearerToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// One gateway and the credentials for it.
pub struct Server {
    address: String,
    endpoint: Endpoint,
    channel: Channel,
    credentials: SavedCredentials,
    /// Whether the server has responded to any call of this process.
    has_responded: Cell<bool>,
}

impl Server {
    /// The gateway that the options name. It connects at the first call.
    pub fn from_options(options: &ClientOptions) -> Result<Self, ClientError> {
        let address = address::parse(&options.server)?;
        let profile_dir = ProfileDir::from_options(options)?;
        let endpoint = address::endpoint(&address)?;
        let channel = endpoint.connect_lazy();
        let credentials = SavedCredentials::new(profile_dir, address.clone());
        Ok(Self { address, endpoint, channel, credentials, has_responded: Cell::new(false) })
    }

    /// Its address: scheme, host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The credentials that the profile folder has for this server.
    pub fn credentials(&self) -> &SavedCredentials {
        &self.credentials
    }

    /// Sends a call that needs no credentials. It is not repeated if it may have taken effect.
    pub async fn call_anonymous<T>(
        &self,
        call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        self.call_with_retries(CallAttempts::new(false), call).await
    }

    /// Sends a call as the signed-in user. The call must be idempotent, since it may be repeated.
    pub async fn call<T>(
        &self,
        call: impl AsyncFn(AuthenticatedChannel) -> Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        let mut attempts = CallAttempts::new(true);
        let mut rejected: Option<String> = None;
        loop {
            let credentials = self.usable_credentials(rejected.as_deref()).await?;
            let channel = self.authenticated_channel(&credentials)?;
            match self.send(call(channel)).await {
                Ok(response) => return Ok(response),
                Err(status) if status.code() == Code::Unauthenticated && rejected.is_none() => {
                    rejected = Some(credentials.access_token);
                }
                Err(status) => self.wait_before_retry(&mut attempts, &status).await?,
            }
        }
    }

    /// Credentials with a usable access token other than the `rejected` one, refreshed if needed.
    pub async fn usable_credentials(&self, rejected: Option<&str>) -> Result<Credentials, ClientError> {
        let usable = self.credentials.usable(rejected, async |request| self.refresh(request).await).await;
        if usable.as_ref().is_err_and(ClientError::is_not_signed_in) {
            // Signing in would not help if the server is unreachable, so that is reported first.
            self.check_reachable().await?;
        }
        usable
    }

    /// A channel that sends the given access token.
    pub fn authenticated_channel(
        &self,
        credentials: &Credentials,
    ) -> Result<AuthenticatedChannel, ClientError> {
        let header = format!("Bearer {}", credentials.access_token);
        let token = header.parse().map_err(|_| {
            let message = "the saved access token is invalid: run `reelmill sign-in`";
            ClientError::local(ClientReason::ProfileUnreadable, message)
        })?;
        Ok(InterceptedService::new(self.channel.clone(), BearerToken(token)))
    }

    /// The error that a failed call is reported as.
    pub fn error_of(&self, status: &Status) -> ClientError {
        status::to_error(&self.address, status)
    }

    async fn call_with_retries<T>(
        &self,
        mut attempts: CallAttempts,
        call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        loop {
            match self.send(call(self.channel.clone())).await {
                Ok(response) => return Ok(response),
                Err(status) => self.wait_before_retry(&mut attempts, &status).await?,
            }
        }
    }

    /// Waits until the failed call can be repeated; fails if it must not be.
    async fn wait_before_retry(
        &self,
        attempts: &mut CallAttempts,
        status: &Status,
    ) -> Result<(), ClientError> {
        let delay = attempts.next_delay(status, self.has_responded.get());
        tokio::time::sleep(delay.ok_or_else(|| self.error_of(status))?).await;
        Ok(())
    }

    async fn check_reachable(&self) -> Result<(), ClientError> {
        let cause = match tokio::time::timeout(CONNECT_TIMEOUT, self.endpoint.connect()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => root_cause(&error),
            Err(_) => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        };
        Err(ClientError::Unreachable { server: self.address.clone(), cause })
    }

    async fn refresh(&self, request: RefreshSessionRequest) -> Result<RefreshSessionResponse, ClientError> {
        self.call_with_retries(CallAttempts::new(true), async |channel| {
            AuthServiceClient::new(channel).refresh_session(request.clone()).await
        })
        .await
    }

    async fn send<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        let result = tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
            let message = format!("the server did not respond within {} s", CALL_TIMEOUT.as_secs());
            Err(Status::deadline_exceeded(message))
        });
        if !result.as_ref().is_err_and(is_connection_failure) {
            self.has_responded.set(true);
        }
        result.map(Response::into_inner)
    }
}
