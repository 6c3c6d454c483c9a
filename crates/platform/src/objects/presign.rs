//! Presigned URLs: each authorises one request until it expires.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    presigning::{PresignedRequest, PresigningConfig},
};
use url::Url;

use super::{Objects, ObjectsError};

/// Size limit of the cache of signers by origin, because origins come from callers.
const MAX_CACHED_ORIGINS: usize = 32;

/// A part of a multipart upload.
#[derive(Clone, Copy, Debug)]
pub struct PartToPresign<'a> {
    /// The multipart upload.
    pub upload_id: &'a str,
    /// Number, from 1.
    pub number: i32,
    /// Size, bytes.
    pub size_bytes: i64,
    /// CRC-32C, base64 of the four big-endian bytes: binds the URL to that content, if the object store checks it.
    pub crc32c_base64: Option<&'a str>,
}

/// A presigned PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPut {
    /// The URL.
    pub uri: String,
    /// Signed headers: the request must have them unchanged.
    pub headers: Vec<(String, String)>,
}

impl Objects {
    /// A presigned GET URL of `key`. URLs are for the configured public endpoint, else for `origin`
    /// (`http://host:port` that the client used), else for the endpoint.
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

    /// A presigned PUT URL of a whole object. Content type and cache control, if given, are signed headers.
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

    /// A presigned PUT URL of one part of a multipart upload, for a body of exactly its size: `Content-Length` is a signed
    /// header.
    pub async fn presign_part(
        &self,
        key: &str,
        part: &PartToPresign<'_>,
        ttl: Duration,
        origin: Option<&str>,
    ) -> Result<SignedPut, ObjectsError> {
        let request = self
            .signer(origin)?
            .upload_part()
            .bucket(self.bucket())
            .key(key)
            .upload_id(part.upload_id)
            .part_number(part.number)
            .content_length(part.size_bytes)
            .set_checksum_crc32_c(part.crc32c_base64.map(str::to_owned))
            .presigned(expiry(ttl)?)
            .await
            .map_err(|error| ObjectsError::from_sdk("UploadPart", error))?;
        Ok(signed_put(&request))
    }

    fn signer(&self, origin: Option<&str>) -> Result<Client, ObjectsError> {
        self.inner.signers.of(&self.inner.client, origin)
    }
}

/// Clients that differ only in their endpoint.
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
        if signers.len() >= MAX_CACHED_ORIGINS {
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

/// Scheme, host and port of an endpoint. A URL with anything else is an error.
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
        // Clients set it themselves, and browsers do not allow setting it.
        .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    SignedPut { uri: request.uri().to_owned(), headers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_accepts_scheme_host_and_port_only() {
        assert_eq!(endpoint("http://localhost:8080/").expect("valid"), "http://localhost:8080");
        assert_eq!(endpoint("https://[::1]:8443").expect("valid"), "https://[::1]:8443");
        for text in ["localhost:8080", "ftp://a", "http://a/b", "http://u@a", "http://a?b", ""] {
            assert!(matches!(endpoint(text), Err(ObjectsError::Config(_))), "{text}");
        }
    }
}
