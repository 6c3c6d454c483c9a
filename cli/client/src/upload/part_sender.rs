//! Sends parts to the signed addresses of the object store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_proto::upload::{
    CompletedPart, PartToSign, SignUploadPartsRequest, SignedPart, upload_service_client::UploadServiceClient,
};
use reqwest::{
    StatusCode,
    header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue},
};

use super::{part_layout::PartLayout, source::Source};
use crate::{
    error::{ClientError, root_cause},
    progress_bars::ByteBar,
    reason::ClientReason,
    retry::Backoff,
    server::Server,
    text,
};

/// Failed attempts before a part is given up: with backoff about a minute of an unavailable object store.
const MAX_ATTEMPTS: u32 = 12;
/// Rejections by the object store before a part is given up; an expired address is one.
const MAX_REJECTIONS: u32 = 3;
/// A part that makes no progress for this time is sent again.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest error code of the object store that is shown, columns.
const MAX_ERROR_CODE_COLUMNS: usize = 60;

/// Sends the parts of one upload.
pub struct PartSender<'a> {
    /// Signs addresses.
    pub server: &'a Server,
    /// Sends bytes.
    pub http: &'a reqwest::Client,
    /// The file.
    pub source: &'a Source,
    /// The upload, `uploads/{upload}`.
    pub upload: &'a str,
    /// How the file is divided.
    pub layout: PartLayout,
    /// Shows the progress.
    pub bar: ByteBar,
}

/// A part with the address to send it to.
struct Signed {
    address: SignedPart,
    crc32c: String,
}

/// How one attempt to send a part ended.
enum Attempt {
    /// Stored, with this entity tag.
    Stored(String),
    /// The object store or the network failed.
    Broken(String),
    /// The object store rejected the part.
    Rejected(String),
}

impl PartSender<'_> {
    /// Sends the given parts in this order, `parallel` at a time.
    pub async fn send(&self, numbers: &[i32], parallel: usize) -> Result<Vec<CompletedPart>, ClientError> {
        // Addresses are signed in small batches: they don't expire before they are used, and a part that was
        // read for its checksum is still in the page cache when it is sent.
        let batches: Vec<&[i32]> = numbers.chunks(parallel * 2).collect();
        stream::iter(batches)
            .then(|batch| self.sign_batch(batch))
            .map_ok(|signed| stream::iter(signed.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(|signed| self.send_part(signed))
            .try_buffer_unordered(parallel)
            .try_collect()
            .await
    }

    async fn sign_batch(&self, numbers: &[i32]) -> Result<Vec<Signed>, ClientError> {
        let mut parts = Vec::with_capacity(numbers.len());
        for &part_number in numbers {
            let range = self.layout.range(part_number).ok_or_else(unexpected_parts)?;
            let crc = self.source.crc32c(range).await?;
            parts.push(PartToSign { part_number, crc32c: BASE64_STANDARD.encode(crc.to_be_bytes()) });
        }
        self.sign(parts).await
    }

    async fn sign(&self, mut parts: Vec<PartToSign>) -> Result<Vec<Signed>, ClientError> {
        let request = SignUploadPartsRequest { name: self.upload.to_owned(), parts: parts.clone() };
        let response = self
            .server
            .call(async |channel| UploadServiceClient::new(channel).sign_upload_parts(request.clone()).await)
            .await?;
        let mut signed = Vec::with_capacity(parts.len());
        for address in response.signed_parts {
            let index = parts
                .iter()
                .position(|part| part.part_number == address.part_number)
                .ok_or_else(unexpected_parts)?;
            signed.push(Signed { address, crc32c: parts.swap_remove(index).crc32c });
        }
        if parts.is_empty() { Ok(signed) } else { Err(unexpected_parts()) }
    }

    /// Sends one part until it is stored.
    async fn send_part(&self, mut signed: Signed) -> Result<CompletedPart, ClientError> {
        let part_number = signed.address.part_number;
        let (mut failures, mut rejections) = (0, 0);
        let (mut failure_backoff, mut rejection_backoff) = (Backoff::new(), Backoff::new());
        loop {
            let (cause, delay) = match self.attempt(&signed.address).await? {
                Attempt::Stored(etag) => return Ok(CompletedPart { part_number, etag }),
                Attempt::Broken(cause) => {
                    failures += 1;
                    (cause, failure_backoff.next_delay())
                }
                Attempt::Rejected(cause) => {
                    rejections += 1;
                    (cause, rejection_backoff.next_delay())
                }
            };
            // A changed file no longer matches the checksum that was signed.
            self.source.check_unchanged()?;
            if rejections >= MAX_REJECTIONS {
                return Err(part_rejected(part_number, &cause));
            }
            if failures >= MAX_ATTEMPTS {
                return Err(object_store_unreachable(part_number, &cause));
            }
            tokio::time::sleep(delay).await;
            // The address may have expired. Signing also fails if the upload no longer exists.
            let part = PartToSign { part_number, crc32c: signed.crc32c };
            signed = self.sign(vec![part]).await?.pop().ok_or_else(unexpected_parts)?;
        }
    }

    async fn attempt(&self, address: &SignedPart) -> Result<Attempt, ClientError> {
        let range = self.layout.range(address.part_number).ok_or_else(unexpected_parts)?;
        let sent = Arc::new(AtomicU64::new(0));
        let (bar, counter) = (self.bar.clone(), Arc::clone(&sent));
        let body = self.source.stream(range)?.inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            bar.add(chunk.len() as u64);
        });
        // Without a Content-Length the body would be sent chunked, which S3 rejects.
        let request = self
            .http
            .put(&address.uri)
            .headers(headers_of(address)?)
            .header(CONTENT_LENGTH, range.length)
            .body(reqwest::Body::wrap_stream(body));
        let attempt = tokio::select! {
            response = request.send() => classify(response).await,
            () = stalled(&sent) => {
                Attempt::Broken(format!("no progress for {} s", STALL_TIMEOUT.as_secs()))
            }
        };
        if !matches!(attempt, Attempt::Stored(_)) {
            self.bar.subtract(sent.load(Ordering::Relaxed));
        }
        Ok(attempt)
    }
}

/// Returns when the count has not grown for [`STALL_TIMEOUT`].
async fn stalled(sent: &AtomicU64) {
    loop {
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(STALL_TIMEOUT).await;
        if sent.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

fn headers_of(address: &SignedPart) -> Result<HeaderMap, ClientError> {
    let invalid = || {
        let message = "the server requires a header that is not valid HTTP";
        ClientError::local(ClientReason::AnswerInvalid, message)
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &address.headers {
        let name: HeaderName = name.parse().map_err(|_| invalid())?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| invalid())?);
    }
    Ok(headers)
}

async fn classify(response: reqwest::Result<reqwest::Response>) -> Attempt {
    let response = match response {
        Ok(response) => response,
        Err(error) => return Attempt::Broken(root_cause(&error.without_url())),
    };
    let status = response.status();
    if status.is_success() {
        return match response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()) {
            Some(etag) => Attempt::Stored(etag.to_owned()),
            None => Attempt::Rejected("the object store returned no ETag".to_owned()),
        };
    }
    let code = response.text().await.map(|body| error_code(&body)).unwrap_or_default();
    let cause = format!("HTTP {} {code}", status.as_u16()).trim_end().to_owned();
    if is_temporary(status) { Attempt::Broken(cause) } else { Attempt::Rejected(cause) }
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// The `<Code>` of an S3 error document.
fn error_code(body: &str) -> String {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    text::truncate(&text::sanitize(code.map_or("", |(code, _)| code)), MAX_ERROR_CODE_COLUMNS)
}

fn unexpected_parts() -> ClientError {
    let message = "the server signed other parts than requested";
    ClientError::local(ClientReason::AnswerInvalid, message)
}

fn part_rejected(part_number: i32, cause: &str) -> ClientError {
    let message =
        format!("the object store refused part {part_number}: {cause}; run the same command again to resume");
    ClientError::local(ClientReason::PartRefused, message)
}

fn object_store_unreachable(part_number: i32, cause: &str) -> ClientError {
    let cause = format!("part {part_number} was not stored: {cause}; run the same command again to resume");
    ClientError::Unreachable { server: "the object store".to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_code_s3_error_document_returns_its_code() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>x</Message></Error>";
        assert_eq!(error_code(body), "AccessDenied");
    }

    #[test]
    fn error_code_other_document_returns_empty_string() {
        assert_eq!(error_code("<html>"), "");
    }

    #[test]
    fn is_temporary_server_errors_are_and_rejections_are_not() {
        let temporary = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INTERNAL_SERVER_ERROR];
        assert!(temporary.into_iter().all(is_temporary));
        let rejections = [StatusCode::FORBIDDEN, StatusCode::BAD_REQUEST];
        assert!(!rejections.into_iter().any(is_temporary));
    }
}
