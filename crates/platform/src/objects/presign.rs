//! Signed addresses: leave for one request, to whoever holds it, for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use url::Url;

use super::{Objects, ObjectsError};

/// Origins come from callers: no more of their clients than this are kept.
const ORIGINS_KEPT: usize = 32;

/// A signed PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPut {
    /// Where to.
    pub uri: String,
    /// Headers that are part of the signature: the request must carry them as they are.
    pub headers: Vec<(String, String)>,
}

impl Objects {
    /// A GET address for `key`. Addresses are signed for the configured public endpoint, else for `origin`
    /// (`http://host:port`, the one that the client came by), else for the endpoint.
    pub async fn presign_get(
        &self,
        key: &str,
        ttl: Duration,
        origin: Option<&str>,
    ) -> Result<String, ObjectsError> {
        let request = self
            .signer(origin)?
            .get_object()
            .bucket(self.bucket())
            .key(key)
            .presigned(expiry(ttl)?)
            .await
            .map_err(|error| ObjectsError::from_sdk("GetObject", error))?;
        Ok(request.uri().to_owned())
    }

    /// A PUT address for a whole object. Content type and cache control, when given, are signed headers.
    pub async fn presign_put(
        &self,
        key: &str,
        ttl: Duration,
        origin: Option<&str>,
        content_type: Option<&str>,
        cache_control: Option<&str>,
    ) -> Result<SignedPut, ObjectsError> {
        let request = self
            .signer(origin)?
            .put_object()
            .bucket(self.bucket())
            .key(key)
            .set_content_type(content_type.map(str::to_owned))
            .set_cache_control(cache_control.map(str::to_owned))
            .presigned(expiry(ttl)?)
            .await
            .map_err(|error| ObjectsError::from_sdk("PutObject", error))?;
        Ok(signed_put(&request))
    }

    /// A PUT address for one part of a multipart upload. With `crc32c_base64` (of the four big-endian bytes) it
    /// takes no other bytes than those, where the store checks it.
    pub async fn presign_part(
        &self,
        key: &str,
        upload_id: &str,
        part_number: i32,
        ttl: Duration,
        origin: Option<&str>,
        crc32c_base64: Option<&str>,
    ) -> Result<SignedPut, ObjectsError> {
        let request = self
            .signer(origin)?
            .upload_part()
            .bucket(self.bucket())
            .key(key)
            .upload_id(upload_id)
            .part_number(part_number)
            .set_checksum_crc32_c(crc32c_base64.map(str::to_owned))
            .presigned(expiry(ttl)?)
            .await
            .map_err(|error| ObjectsError::from_sdk("UploadPart", error))?;
        Ok(signed_put(&request))
    }

    fn signer(&self, origin: Option<&str>) -> Result<Client, ObjectsError> {
        self.inner.signers.of(&self.inner.client, origin)
    }
}

/// Clients that differ from the store's own in their endpoint alone.
pub(super) struct Signers {
    public: Option<Client>,
    by_origin: Mutex<HashMap<String, Client>>,
}

impl Signers {
    pub(super) fn new(client: &Client, public_endpoint: Option<&str>) -> Result<Self, ObjectsError> {
        let public = public_endpoint.map(|url| Ok(at(client, endpoint(url)?))).transpose()?;
        Ok(Self { public, by_origin: Mutex::default() })
    }

    fn of(&self, client: &Client, origin: Option<&str>) -> Result<Client, ObjectsError> {
        let origin = match (&self.public, origin) {
            (Some(public), _) => return Ok(public.clone()),
            (None, None) => return Ok(client.clone()),
            (None, Some(origin)) => endpoint(origin)?,
        };
        let mut signers = self.by_origin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = signers.get(&origin) {
            return Ok(signer.clone());
        }
        if signers.len() >= ORIGINS_KEPT {
            signers.clear();
        }
        let signer = at(client, origin.clone());
        signers.insert(origin, signer.clone());
        Ok(signer)
    }
}

fn at(client: &Client, endpoint: String) -> Client {
    Client::from_conf(client.config().to_builder().endpoint_url(endpoint).build())
}

/// Scheme, host and port of an endpoint; whatever else a URL may hold is refused.
pub(super) fn endpoint(text: &str) -> Result<String, ObjectsError> {
    let invalid = || ObjectsError::Config(format!("`{text}` is not of the form http://host:port"));
    let url = Url::parse(text).map_err(|_| invalid())?;
    let plain = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !plain {
        return Err(invalid());
    }
    Ok(url.origin().ascii_serialization())
}

fn expiry(ttl: Duration) -> Result<PresigningConfig, ObjectsError> {
    PresigningConfig::expires_in(ttl).map_err(|error| ObjectsError::Config(error.to_string()))
}

fn signed_put(request: &PresignedRequest) -> SignedPut {
    let headers = request
        .headers()
        // Every client says its length itself, and browsers let nobody else say it.
        .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    SignedPut { uri: request.uri().to_owned(), headers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        assert_eq!(endpoint("http://localhost:8080/").expect("valid"), "http://localhost:8080");
        assert_eq!(endpoint("https://[::1]:8443").expect("valid"), "https://[::1]:8443");
        for text in ["localhost:8080", "ftp://a", "http://a/b", "http://u@a", "http://a?b", ""] {
            assert!(matches!(endpoint(text), Err(ObjectsError::Config(_))), "{text}");
        }
    }
}
