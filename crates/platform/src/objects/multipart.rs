//! Multipart uploads.

use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};

use super::{Objects, ObjectsError};

/// An uploaded part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Part number, 1 to 10,000.
    pub number: i32,
    /// Bytes.
    pub size: i64,
    /// As the object store returns it, in quotes.
    pub etag: String,
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipartUpload {
    /// Key of the object it would create.
    pub key: String,
    /// Its id.
    pub upload_id: String,
}

impl Objects {
    /// Creates a multipart upload and returns its id.
    pub async fn create_multipart(
        &self,
        key: &str,
        content_type: Option<&str>,
    ) -> Result<String, ObjectsError> {
        let mut create = self
            .client()
            .create_multipart_upload()
            .bucket(self.bucket())
            .key(key)
            .set_content_type(content_type.map(str::to_owned));
        // AWS accepts the CRC-32C of a part only if the upload was created with that algorithm. With "full object" it
        // is optional for each part and on completion. Other object stores accept or ignore it without this.
        if self.inner.aws {
            create =
                create.checksum_algorithm(ChecksumAlgorithm::Crc32C).checksum_type(ChecksumType::FullObject);
        }
        let response =
            create.send().await.map_err(|error| ObjectsError::from_sdk("CreateMultipartUpload", error))?;
        response.upload_id.filter(|id| !id.is_empty()).ok_or_else(|| ObjectsError::Unavailable {
            operation: "CreateMultipartUpload",
            message: "the response has no upload id".to_owned(),
        })
    }

    /// Open multipart uploads of keys that begin with `prefix`: the first 1,000.
    pub async fn list_multipart_uploads(&self, prefix: &str) -> Result<Vec<MultipartUpload>, ObjectsError> {
        let list = self.client().list_multipart_uploads().bucket(self.bucket()).prefix(prefix);
        let response =
            list.send().await.map_err(|error| ObjectsError::from_sdk("ListMultipartUploads", error))?;
        let uploads = response.uploads.unwrap_or_default().into_iter();
        let open = uploads
            .filter_map(|upload| Some(MultipartUpload { key: upload.key?, upload_id: upload.upload_id? }));
        Ok(open.collect())
    }

    /// All uploaded parts, sorted by number.
    ///
    /// # Errors
    /// [`ObjectsError::UploadNotFound`] if the upload was completed or aborted, or never existed.
    pub async fn list_parts(&self, key: &str, upload_id: &str) -> Result<Vec<Part>, ObjectsError> {
        let mut pages = self
            .client()
            .list_parts()
            .bucket(self.bucket())
            .key(key)
            .upload_id(upload_id)
            .into_paginator()
            .send();
        let mut parts = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| upload_error("ListParts", error))?;
            parts.extend(page.parts.unwrap_or_default().into_iter().map(|part| Part {
                number: part.part_number.unwrap_or_default(),
                size: part.size.unwrap_or_default(),
                etag: part.e_tag.unwrap_or_default(),
            }));
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Completes an upload from its parts (number and ETag, in any order) and returns the ETag of the object.
    /// Idempotent: a repeated call, after a lost response, succeeds too.
    ///
    /// # Errors
    /// [`ObjectsError::InvalidParts`] if the parts differ from the uploaded ones; [`ObjectsError::UploadNotFound`] if
    /// neither the upload nor the object exists.
    pub async fn complete_multipart(
        &self,
        key: &str,
        upload_id: &str,
        parts: &[(i32, String)],
    ) -> Result<String, ObjectsError> {
        let mut parts: Vec<_> = parts
            .iter()
            .map(|(number, etag)| CompletedPart::builder().part_number(*number).e_tag(etag).build())
            .collect();
        parts.sort_unstable_by_key(CompletedPart::part_number);
        let response = self
            .client()
            .complete_multipart_upload()
            .bucket(self.bucket())
            .key(key)
            .upload_id(upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await;
        match response.map_err(|error| upload_error("CompleteMultipartUpload", error)) {
            Ok(done) => Ok(done.e_tag.unwrap_or_default()),
            Err(ObjectsError::UploadNotFound) => match self.head(key).await? {
                Some(object) => Ok(object.etag),
                None => Err(ObjectsError::UploadNotFound),
            },
            Err(error) => Err(error),
        }
    }

    /// Aborts a multipart upload and deletes its parts. No error if it does not exist.
    pub async fn abort_multipart(&self, key: &str, upload_id: &str) -> Result<(), ObjectsError> {
        let abort = self.client().abort_multipart_upload().bucket(self.bucket()).key(key);
        let response = abort.upload_id(upload_id).send().await;
        match response.map_err(|error| upload_error("AbortMultipartUpload", error)) {
            Ok(_) | Err(ObjectsError::UploadNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Some object stores return a plain 404 for an upload that does not exist.
fn upload_error<E>(
    operation: &'static str,
    error: aws_sdk_s3::error::SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
) -> ObjectsError
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    match ObjectsError::from_sdk(operation, error) {
        ObjectsError::NotFound => ObjectsError::UploadNotFound,
        error => error,
    }
}
