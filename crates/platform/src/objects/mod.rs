//! The object store interface: the S3 protocol itself. The endpoint may be the embedded object store, AWS, SeaweedFS,
//! MinIO, Garage, R2 or another server.

mod bucket;
mod error;
mod multipart;
mod object;
mod presign;

use std::{sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{RequestChecksumCalculation, ResponseChecksumValidation},
    operation::put_object::builders::PutObjectFluentBuilder,
    primitives::ByteStream,
    types::{Delete, ObjectIdentifier},
};
use bytes::Bytes;
pub use error::ObjectsError;
pub use multipart::{MultipartUpload, Part};
pub use object::{Object, ObjectBody};
pub use presign::{PartToPresign, SignedPut};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the start of the request to the head of the response: enough to send a few megabytes over a slow connection.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// S3's limit for DeleteObjects.
const DELETE_BATCH: usize = 1000;

/// Location and credentials of the object store.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsConfig {
    /// S3 endpoint for services; absent: AWS.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// S3 endpoint for clients, in presigned URLs, if it differs.
    #[serde(default)]
    pub public_endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket of all objects.
    pub bucket: String,
    /// Absent: AWS's default credential chain.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// The access key's secret.
    #[serde(default)]
    pub secret_access_key: Option<String>,
    /// Whether the bucket is the first path segment instead of a part of the host name.
    #[serde(default)]
    pub path_style: bool,
}

impl std::fmt::Debug for ObjectsConfig {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectsConfig")
            .field("endpoint", &self.endpoint)
            .field("public_endpoint", &self.public_endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("path_style", &self.path_style)
            .finish_non_exhaustive()
    }
}

/// Metadata of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Bytes.
    pub size: i64,
    /// As the object store returns it, in quotes.
    pub etag: String,
    /// As it was stored.
    pub content_type: Option<String>,
    /// As it was stored.
    pub cache_control: Option<String>,
}

/// What a conditional write expects to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// No object.
    Nothing,
    /// The object with this ETag.
    ETag(String),
}

/// Client of one bucket. Clones share the connections.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    bucket: String,
    /// Whether it is AWS, which needs the checksum algorithm when a multipart upload is created.
    aws: bool,
    region: String,
    signers: presign::Signers,
}

impl Objects {
    /// Creates a client. Nothing is sent yet: the object store may start later.
    ///
    /// # Errors
    /// [`ObjectsError::Config`] if an endpoint is not an `http` or `https` URL.
    pub async fn connect(config: &ObjectsConfig) -> Result<Self, ObjectsError> {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .retry_config(RetryConfig::standard())
            .timeout_config(timeouts);
        if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
            loader = loader.credentials_provider(Credentials::from_keys(id, secret, None));
        }
        let mut builder = aws_sdk_s3::config::Builder::from(&loader.load().await)
            .force_path_style(config.path_style)
            // Checksums in trailers break presigned URLs and object stores that do not support them.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(presign::endpoint(endpoint)?);
        }
        let client = Client::from_conf(builder.build());
        let signers = presign::Signers::new(&client, config.public_endpoint.as_deref())?;
        let inner = Inner {
            client,
            bucket: config.bucket.clone(),
            aws: config.endpoint.is_none(),
            region: config.region.clone(),
            signers,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The SDK's client, for what this type does not offer.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Name of the bucket.
    pub fn bucket(&self) -> &str {
        &self.inner.bucket
    }

    /// Metadata of an object; `None` if it does not exist.
    pub async fn head(&self, key: &str) -> Result<Option<ObjectHead>, ObjectsError> {
        let response = self.client().head_object().bucket(self.bucket()).key(key).send().await;
        match response.map_err(|error| ObjectsError::from_sdk("HeadObject", error)) {
            Ok(head) => Ok(Some(ObjectHead {
                size: head.content_length.unwrap_or_default(),
                etag: head.e_tag.unwrap_or_default(),
                content_type: head.content_type,
                cache_control: head.cache_control,
            })),
            Err(ObjectsError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object, or the part of it that `range` (a `Range` header's value) names; the body is a stream.
    ///
    /// # Errors
    /// [`ObjectsError::NotFound`], [`ObjectsError::RangeNotSatisfiable`], [`ObjectsError::NotModified`] when its
    /// ETag is `if_none_match`.
    pub async fn get(
        &self,
        key: &str,
        range: Option<&str>,
        if_none_match: Option<&str>,
    ) -> Result<Object, ObjectsError> {
        self.client()
            .get_object()
            .bucket(self.bucket())
            .key(key)
            .set_range(range.map(str::to_owned))
            .set_if_none_match(if_none_match.map(str::to_owned))
            .send()
            .await
            .map(Object::from)
            .map_err(|error| ObjectsError::from_sdk("GetObject", error))
    }

    /// Writes an object, replacing an existing one.
    pub async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<(), ObjectsError> {
        self.put_cached(key, bytes, content_type, None).await
    }

    /// Writes an object with a Cache-Control header, which is stored and returned with it.
    pub async fn put_cached(
        &self,
        key: &str,
        bytes: Bytes,
        content_type: &str,
        cache_control: Option<&str>,
    ) -> Result<(), ObjectsError> {
        let put = self.put_request(key, bytes, content_type, cache_control);
        put.send().await.map_err(|error| ObjectsError::from_sdk("PutObject", error))?;
        Ok(())
    }

    /// Writes an object if the present one is as expected; returns its ETag, none if it is not. An object store that does
    /// not implement conditional writes writes it in any case.
    pub async fn put_if(
        &self,
        key: &str,
        bytes: Bytes,
        content_type: &str,
        cache_control: Option<&str>,
        present: &Present,
    ) -> Result<Option<String>, ObjectsError> {
        let put = || self.put_request(key, bytes.clone(), content_type, cache_control);
        let conditional = match present {
            Present::Nothing => put().if_none_match("*"),
            Present::ETag(etag) => put().if_match(etag),
        };
        let mut written = conditional.send().await;
        if let Err(error) = &written {
            match error.raw_response().map(|response| response.status().as_u16()) {
                // Another object, none, or one that is being written at the same time.
                Some(404 | 409 | 412) => return Ok(None),
                Some(501) => written = put().send().await,
                _ => {}
            }
        }
        let written = written.map_err(|error| ObjectsError::from_sdk("PutObject", error))?;
        Ok(Some(written.e_tag.unwrap_or_default()))
    }

    fn put_request(
        &self,
        key: &str,
        bytes: Bytes,
        content_type: &str,
        cache_control: Option<&str>,
    ) -> PutObjectFluentBuilder {
        self.client()
            .put_object()
            .bucket(self.bucket())
            .key(key)
            .content_type(content_type)
            .set_cache_control(cache_control.map(str::to_owned))
            .body(ByteStream::from(bytes))
    }

    /// Deletes an object. No error if it does not exist.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        let response = self.client().delete_object().bucket(self.bucket()).key(key).send().await;
        match response.map_err(|error| ObjectsError::from_sdk("DeleteObject", error)) {
            Ok(_) | Err(ObjectsError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes all objects whose keys start with `prefix` and returns their number.
    ///
    /// # Errors
    /// [`ObjectsError::Config`] for an empty prefix, which would be the whole bucket.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<u64, ObjectsError> {
        self.delete_unless(prefix, |_| false).await
    }

    /// Deletes the objects under `prefix` for whose keys `is_kept` is false, and returns their number. Lists and deletes a
    /// page at a time.
    ///
    /// # Errors
    /// [`ObjectsError::Config`] for an empty prefix, which would be the whole bucket.
    pub async fn delete_unless(
        &self,
        prefix: &str,
        is_kept: impl Fn(&str) -> bool,
    ) -> Result<u64, ObjectsError> {
        if prefix.is_empty() {
            return Err(ObjectsError::Config("an empty prefix would delete everything".to_owned()));
        }
        let mut pages =
            self.client().list_objects_v2().bucket(self.bucket()).prefix(prefix).into_paginator().send();
        let mut deleted = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ObjectsError::from_sdk("ListObjectsV2", error))?;
            let keys = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
            let keys: Vec<String> = keys.filter(|key| !is_kept(key)).collect();
            for batch in keys.chunks(DELETE_BATCH) {
                self.delete_batch(batch).await?;
            }
            deleted += keys.len() as u64;
        }
        Ok(deleted)
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<(), ObjectsError> {
        let config =
            |error: aws_smithy_types::error::operation::BuildError| ObjectsError::Config(error.to_string());
        let objects = keys
            .iter()
            .map(|key| ObjectIdentifier::builder().key(key).build().map_err(config))
            .collect::<Result<Vec<_>, _>>()?;
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(config)?;
        let response = self
            .client()
            .delete_objects()
            .bucket(self.bucket())
            .delete(delete)
            .send()
            .await
            .map_err(|error| ObjectsError::from_sdk("DeleteObjects", error))?;
        match response.errors().first() {
            None => Ok(()),
            Some(first) => Err(ObjectsError::Rejected {
                operation: "DeleteObjects",
                code: first.code().unwrap_or_default().to_owned(),
                message: first.message().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// Keys and sizes in bytes of all objects whose keys start with `prefix`, sorted by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, i64)>, ObjectsError> {
        let mut pages =
            self.client().list_objects_v2().bucket(self.bucket()).prefix(prefix).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ObjectsError::from_sdk("ListObjectsV2", error))?;
            let objects = page.contents.unwrap_or_default();
            found.extend(objects.into_iter().filter_map(|o| Some((o.key?, o.size.unwrap_or_default()))));
        }
        Ok(found)
    }

    /// Names of folders directly under `prefix`, which ends with `/`: at most `limit`, the first ones after `after`, sorted.
    ///
    /// A folder is what has objects with keys `PREFIX NAME/…`. The names must be of equal length: object stores differ in the
    /// order of names of which one begins with another.
    pub async fn folders(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, ObjectsError> {
        // After all keys in that folder: `0` follows `/`.
        let start_after = (!after.is_empty()).then(|| format!("{prefix}{after}0"));
        let mut pages = self
            .client()
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(prefix)
            .delimiter("/")
            .set_start_after(start_after)
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ObjectsError::from_sdk("ListObjectsV2", error))?;
            let prefixes =
                page.common_prefixes.unwrap_or_default().into_iter().filter_map(|found| found.prefix);
            let name =
                |found: String| found.strip_prefix(prefix).map(|name| name.trim_end_matches('/').to_owned());
            // Some object stores return the folder of `after` again.
            found.extend(prefixes.filter_map(name).filter(|name| name.as_str() > after));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    /// Key of an object under `prefix`; none if there is no such object.
    pub async fn find_under(&self, prefix: &str) -> Result<Option<String>, ObjectsError> {
        let request = self.client().list_objects_v2().bucket(self.bucket()).prefix(prefix).max_keys(1);
        let page = request.send().await.map_err(|error| ObjectsError::from_sdk("ListObjectsV2", error))?;
        Ok(page.contents.unwrap_or_default().into_iter().find_map(|object| object.key))
    }
}
