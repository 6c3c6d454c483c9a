//! The HTTP client for part uploads and downloads.

use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use crate::{
    error::{ClientError, root_cause},
    reason::ClientReason,
};

/// The program's `user-agent`, for HTTP and gRPC.
pub const USER_AGENT: &str = concat!("reelmill/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client with the common settings and those that `configure` adds.
pub fn client(configure: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client, ClientError> {
    let builder = Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT);
    configure(builder).build().map_err(|error| {
        let message = format!("can't initialize the HTTP client: {}", root_cause(&error));
        ClientError::local(ClientReason::HttpClientFailed, message)
    })
}
