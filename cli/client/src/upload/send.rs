//! Sends parts to the addresses that the server signed for them.

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

use super::{plan::Layout, source::Source};
use crate::{ClientError, bars::ByteBar, error::root_cause, retry, server::Server, text};

/// How often one part is sent before the upload is given up: with the pauses between, about a minute
/// of an absent store.
const TRIES: u32 = 12;
/// How often the store may refuse a part that should be good.
const REFUSALS: u32 = 3;
/// A part of which nothing moves for so long is sent again.
const STALL: Duration = Duration::from_secs(60);

/// Sends the parts of one upload.
pub struct Sender<'a> {
    /// Signs addresses.
    pub server: &'a Server,
    /// Sends bytes.
    pub http: &'a reqwest::Client,
    /// The file.
    pub source: &'a Source,
    /// The upload, `uploads/{upload}`.
    pub upload: &'a str,
    /// How the file is cut.
    pub layout: Layout,
    /// What shows how far it is.
    pub bar: ByteBar,
}

/// A part that is ready to be sent.
struct Signed {
    address: SignedPart,
    crc32c: String,
}

enum Attempt {
    Sent(String),
    /// The store or the network failed: worth another try.
    Broken(String),
    /// The store said no.
    Refused(String),
}

impl Sender<'_> {
    /// Sends the given parts, `parallel` at a time, in the order that the server asks for.
    pub async fn send(&self, numbers: &[i32], parallel: usize) -> Result<Vec<CompletedPart>, ClientError> {
        // Small batches: addresses are fresh when they are used, and a part that was just read for
        // its checksum is still in the page cache when it is sent.
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
            let range = self.layout.range(part_number).ok_or_else(wrong_parts)?;
            let crc = self.source.crc32c(range).await?;
            parts.push(PartToSign { part_number, crc32c: BASE64_STANDARD.encode(crc.to_be_bytes()) });
        }
        self.sign(parts).await
    }

    async fn sign(&self, mut parts: Vec<PartToSign>) -> Result<Vec<Signed>, ClientError> {
        let request = SignUploadPartsRequest { name: self.upload.to_owned(), parts: parts.clone() };
        let answer = self
            .server
            .signed_in(async |channel| {
                UploadServiceClient::new(channel).sign_upload_parts(request.clone()).await
            })
            .await?;
        let mut signed = Vec::with_capacity(parts.len());
        for address in answer.signed_parts {
            let at = parts
                .iter()
                .position(|part| part.part_number == address.part_number)
                .ok_or_else(wrong_parts)?;
            signed.push(Signed { address, crc32c: parts.swap_remove(at).crc32c });
        }
        if parts.is_empty() { Ok(signed) } else { Err(wrong_parts()) }
    }

    /// Sends one part until the store has it.
    async fn send_part(&self, mut signed: Signed) -> Result<CompletedPart, ClientError> {
        let part_number = signed.address.part_number;
        let (mut breaks, mut refusals) = (0, 0);
        loop {
            let (cause, pause) = match self.attempt(&signed.address).await? {
                Attempt::Sent(etag) => return Ok(CompletedPart { part_number, etag }),
                Attempt::Broken(cause) => {
                    breaks += 1;
                    (cause, retry::backoff(breaks - 1))
                }
                Attempt::Refused(cause) => {
                    refusals += 1;
                    (cause, retry::backoff(refusals - 1))
                }
            };
            // Another's bytes under the same name would not match the checksum that was signed.
            self.source.unchanged()?;
            if breaks >= TRIES || refusals >= REFUSALS {
                return Err(store_failed(part_number, &cause, refusals >= REFUSALS));
            }
            tokio::time::sleep(pause).await;
            // The address may have ended meanwhile; a fresh one also tells when the upload is gone.
            let part = PartToSign { part_number, crc32c: signed.crc32c };
            signed = self.sign(vec![part]).await?.pop().ok_or_else(wrong_parts)?;
        }
    }

    async fn attempt(&self, address: &SignedPart) -> Result<Attempt, ClientError> {
        let range = self.layout.range(address.part_number).ok_or_else(wrong_parts)?;
        let sent = Arc::new(AtomicU64::new(0));
        let (bar, counter) = (self.bar.clone(), Arc::clone(&sent));
        let body = self.source.stream(range)?.inspect_ok(move |piece| {
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
            bar.add(piece.len() as u64);
        });
        // With its length told the body is not sent chunked, which S3 refuses.
        let request = self
            .http
            .put(&address.uri)
            .headers(headers_of(address)?)
            .header(CONTENT_LENGTH, range.length)
            .body(reqwest::Body::wrap_stream(body));
        let attempt = tokio::select! {
            answer = request.send() => judge(answer).await,
            () = stalled(&sent) => Attempt::Broken("nothing moved for a minute".to_owned()),
        };
        if !matches!(attempt, Attempt::Sent(_)) {
            self.bar.take_back(sent.load(Ordering::Relaxed));
        }
        Ok(attempt)
    }
}

/// Ends when the count has not grown for [`STALL`].
async fn stalled(sent: &AtomicU64) {
    loop {
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(STALL).await;
        if sent.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

fn headers_of(address: &SignedPart) -> Result<HeaderMap, ClientError> {
    let wrong = || ClientError::failed("ANSWER_INVALID", "the server asks for a header that can't be sent");
    let mut headers = HeaderMap::new();
    for (name, value) in &address.headers {
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

async fn judge(answer: reqwest::Result<reqwest::Response>) -> Attempt {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Attempt::Broken(root_cause(&error.without_url())),
    };
    let status = answer.status();
    if status.is_success() {
        return match answer.headers().get(ETAG).and_then(|etag| etag.to_str().ok()) {
            Some(etag) => Attempt::Sent(etag.to_owned()),
            None => Attempt::Refused("the store sent no ETag".to_owned()),
        };
    }
    let told = answer.text().await.map(|body| error_code(&body)).unwrap_or_default();
    let cause = format!("HTTP {} {told}", status.as_u16()).trim_end().to_owned();
    if may_pass(status) { Attempt::Broken(cause) } else { Attempt::Refused(cause) }
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// The `<Code>` of an S3 error document.
fn error_code(body: &str) -> String {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    text::cut(&text::harmless(code.map_or("", |(code, _)| code)), 60)
}

fn wrong_parts() -> ClientError {
    ClientError::failed("ANSWER_INVALID", "the server signed other parts than it was asked for")
}

fn store_failed(part_number: i32, cause: &str, refused: bool) -> ClientError {
    let message =
        format!("part {part_number} can't be stored: {cause}; run the same command again to resume");
    if refused {
        return ClientError::refused(tonic::Code::PermissionDenied, "PART_REFUSED", message);
    }
    ClientError::Unreachable { server: "the object store".to_owned(), cause: message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stores_error_is_told_by_its_code() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>x</Message></Error>";
        assert_eq!(error_code(body), "AccessDenied");
        assert_eq!(error_code("<html>"), "");
    }

    #[test]
    fn what_may_pass_is_tried_longer_than_a_refusal() {
        assert!(may_pass(StatusCode::SERVICE_UNAVAILABLE) && may_pass(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(!may_pass(StatusCode::FORBIDDEN) && !may_pass(StatusCode::BAD_REQUEST));
    }
}
