//! The gateway, as the client commands call it: native gRPC.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use reelmill_proto::auth::{
    RefreshSessionRequest, RefreshSessionResponse, auth_service_client::AuthServiceClient,
};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    ClientError, ClientOptions,
    credentials::{CredentialStore, Credentials},
    error::broke_on_its_way,
    error::root_cause,
    profile::Profile,
    retry::{self, Failed},
};

/// What one call, or the opening of a stream, may take. Joining the parts of a very large file is the
/// longest of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How the program calls itself, in `user-agent`.
pub const USER_AGENT: &str = concat!("reelmill/", env!("CARGO_PKG_VERSION"));

/// A channel that shows the access token.
pub type SignedChannel = InterceptedService<Channel, Bearer>;

/// Shows an access token with every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// One gateway and who is signed in there.
pub struct Server {
    address: String,
    endpoint: Endpoint,
    channel: Channel,
    credentials: CredentialStore,
    reached: Cell<bool>,
}

impl Server {
    /// The gateway that the options name. Nothing is connected before the first call.
    pub fn of(options: &ClientOptions) -> Result<Self, ClientError> {
        let address = address(&options.server)?;
        let profile = Profile::of(options)?;
        let endpoint = endpoint(&address).map_err(|error| bad_address(&options.server, &error))?;
        let channel = endpoint.connect_lazy();
        let credentials = CredentialStore::new(profile, address.clone());
        Ok(Self { address, endpoint, channel, credentials, reached: Cell::new(false) })
    }

    /// Its address, without a path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What the profile keeps of the sign-in there.
    pub fn credentials(&self) -> &CredentialStore {
        &self.credentials
    }

    /// Sends a call that asks for no sign-in. It is not sent again where it may have had its effect.
    pub async fn public<T>(
        &self,
        call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        self.unsigned(Attempts::new(false), call).await
    }

    async fn unsigned<T>(
        &self,
        mut attempts: Attempts,
        call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        loop {
            match self.answer(call(self.channel.clone())).await {
                Ok(answer) => return Ok(answer),
                Err(status) => attempts.pause(self, &status).await?,
            }
        }
    }

    /// Sends a call as the signed-in user. The call must do no harm when it is sent twice.
    pub async fn signed_in<T>(
        &self,
        call: impl AsyncFn(SignedChannel) -> Result<Response<T>, Status>,
    ) -> Result<T, ClientError> {
        let mut attempts = Attempts::new(true);
        let mut rejected: Option<String> = None;
        loop {
            let credentials = self.current_credentials(rejected.as_deref()).await?;
            let channel = self.signed(&credentials)?;
            match self.answer(call(channel)).await {
                Ok(answer) => return Ok(answer),
                Err(status) if status.code() == tonic::Code::Unauthenticated && rejected.is_none() => {
                    rejected = Some(credentials.access_token);
                }
                Err(status) => attempts.pause(self, &status).await?,
            }
        }
    }

    /// The credentials that calls are made with now.
    pub async fn current_credentials(&self, rejected: Option<&str>) -> Result<Credentials, ClientError> {
        let current = self.credentials.current(rejected, async |token| self.refresh(token).await).await;
        if current.as_ref().is_err_and(ClientError::is_not_signed_in) {
            // Where nobody answers, signing in would not help.
            self.connect().await?;
        }
        current
    }

    /// Fails where nobody answers at the address.
    async fn connect(&self) -> Result<(), ClientError> {
        let cause = match tokio::time::timeout(CONNECT_TIMEOUT, self.endpoint.connect()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => root_cause(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(ClientError::Unreachable { server: self.address.clone(), cause })
    }

    /// A channel that shows the access token of the given credentials.
    pub fn signed(&self, credentials: &Credentials) -> Result<SignedChannel, ClientError> {
        let header = format!("Bearer {}", credentials.access_token);
        let bearer = header.parse().map_err(|_| {
            ClientError::usage(
                "PROFILE_UNREADABLE",
                "the access token in the profile is garbled: sign in again",
            )
        })?;
        Ok(InterceptedService::new(self.channel.clone(), Bearer(bearer)))
    }

    /// What a failed call means to the person at the terminal.
    pub fn explain(&self, status: &Status) -> ClientError {
        ClientError::of_status(&self.address, status)
    }

    async fn refresh(&self, refresh_token: String) -> Result<RefreshSessionResponse, ClientError> {
        let request = RefreshSessionRequest { refresh_token };
        // Sent again even where the first one may have arrived: without an answer the session is lost
        // anyhow, since the token that is kept would then be spent.
        self.unsigned(Attempts::new(true), async |channel| {
            AuthServiceClient::new(channel).refresh_session(request.clone()).await
        })
        .await
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        let answer = match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("the server did not answer in time")),
        };
        if !answer.as_ref().is_err_and(broke_on_its_way) {
            self.reached.set(true);
        }
        answer.map(Response::into_inner)
    }
}

struct Attempts {
    started: Instant,
    repeats: u32,
    repeatable: bool,
}

impl Attempts {
    fn new(repeatable: bool) -> Self {
        Self { started: Instant::now(), repeats: 0, repeatable }
    }

    async fn pause(&mut self, server: &Server, status: &Status) -> Result<(), ClientError> {
        let failed = Failed {
            repeats: self.repeats,
            elapsed: self.started.elapsed(),
            reached: server.reached.get(),
            repeatable: self.repeatable,
        };
        let pause = retry::pause(status, failed).ok_or_else(|| server.explain(status))?;
        self.repeats += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Scheme, host and port of what a person typed: the key of the credentials, too.
fn address(typed: &str) -> Result<String, ClientError> {
    let url = url::Url::parse(typed).map_err(|error| bad_address(typed, &error))?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.username().is_empty();
    if plain {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(bad_address(typed, &"it has parts that don't belong"))
    }
}

fn bad_address(typed: &str, cause: &dyn std::fmt::Display) -> ClientError {
    let message = format!("{typed}: not a server's address (http://HOST:PORT or https://HOST): {cause}");
    ClientError::usage("SERVER_ADDRESS_INVALID", message)
}

fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?
        .user_agent(USER_AGENT)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    if address.starts_with("https:") {
        return endpoint.tls_config(ClientTlsConfig::new().with_native_roots());
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_scheme_host_and_port_alone() {
        assert_eq!(address("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(address("HTTPS://Video.Example:443").unwrap(), "https://video.example");
        for typed in
            ["localhost:8080", "127.0.0.1:8080", "ftp://h", "http://h/path", "http://u:p@h", "http://h?x", ""]
        {
            assert_eq!(address(typed).unwrap_err().exit_code(), 2, "{typed}");
        }
    }

    #[tokio::test]
    async fn both_schemes_make_a_channel() {
        for typed in ["http://h:1", "https://h"] {
            endpoint(&address(typed).unwrap()).unwrap().connect_lazy();
        }
    }
}
