//! The server's address and the connection settings for it.

use std::time::Duration;

use tonic::transport::{ClientTlsConfig, Endpoint};

use crate::{error::ClientError, http::USER_AGENT, reason::ClientReason};

/// Time limit for establishing a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Normalizes a typed address to scheme, host and port, which is also the key of the saved credentials.
pub fn parse(typed: &str) -> Result<String, ClientError> {
    let url = url::Url::parse(typed).map_err(|error| invalid(typed, &error))?;
    let is_origin = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.username().is_empty();
    if is_origin {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(invalid(typed, &"only scheme, host and port are allowed"))
    }
}

/// The gRPC endpoint at a parsed address; `https` uses the system's root certificates.
pub fn endpoint(address: &str) -> Result<Endpoint, ClientError> {
    configured_endpoint(address).map_err(|error| invalid(address, &error))
}

fn configured_endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?
        .user_agent(USER_AGENT)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    if address.starts_with("https:") {
        return endpoint.tls_config(ClientTlsConfig::new().with_native_roots());
    }
    Ok(endpoint)
}

fn invalid(typed: &str, cause: &dyn std::fmt::Display) -> ClientError {
    let message = format!("{typed}: not a server address (http://HOST:PORT or https://HOST): {cause}");
    ClientError::local(ClientReason::ServerAddressInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_returns_scheme_host_and_port() {
        assert_eq!(parse("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(parse("HTTPS://Video.Example:443").unwrap(), "https://video.example");
    }

    #[test]
    fn parse_anything_but_an_origin_is_usage_error() {
        for typed in
            ["localhost:8080", "127.0.0.1:8080", "ftp://h", "http://h/path", "http://u:p@h", "http://h?x", ""]
        {
            assert_eq!(parse(typed).unwrap_err().exit_code(), 2, "{typed}");
        }
    }

    #[tokio::test]
    async fn endpoint_supports_http_and_https() {
        for typed in ["http://h:1", "https://h"] {
            endpoint(&parse(typed).unwrap()).unwrap().connect_lazy();
        }
    }
}
