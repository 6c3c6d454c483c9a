//! Puts outputs in the object store at addresses that dispatch signs.

use crate::convert;
use crate::dispatch::{Dispatch, is_passing, is_verdict};
use crate::engine::{Content, Output, OutputSink, SinkError};
use crate::patience::Patience;
use async_trait::async_trait;
use reelmill_proto::transcode::{Lease, RecordOutputsRequest, SignOutputsRequest};
use reelmill_proto::unix_millis;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;
use tokio_util::io::ReaderStream;

/// Addresses of segments that are asked for at once.
const SEGMENTS_AHEAD: u32 = 20;
/// An address that ends sooner than this is not used any more.
const SPARE: Duration = Duration::from_secs(120);
/// The slowest store that is waited for, bytes a second.
const SLOWEST: u64 = 256 * 1024;

/// The store, under one lease.
pub(crate) struct SignedStore {
    http: reqwest::Client,
    dispatch: Dispatch,
    lease: Lease,
    /// How long an output that cannot be put is tried again.
    patience: Duration,
    signed: Mutex<HashMap<String, Signed>>,
}

#[derive(Clone)]
struct Signed {
    uri: String,
    until: SystemTime,
}

/// An attempt that failed; `passing` when another may do better.
struct Fault {
    cause: String,
    passing: bool,
}

impl SignedStore {
    pub(crate) fn new(http: reqwest::Client, dispatch: Dispatch, lease: Lease, patience: Duration) -> Self {
        Self { http, dispatch, lease, patience, signed: Mutex::default() }
    }

    async fn attempt(&self, name: &str, content: &Content, content_type: &'static str) -> Result<(), Fault> {
        let uri = self.address(name).await?;
        let size = content.size();
        let body = match content {
            Content::Bytes(bytes) => reqwest::Body::from(bytes.clone()),
            Content::File(path, _) => {
                let opened = tokio::fs::File::open(path).await;
                let file = opened.map_err(|error| Fault { cause: error.to_string(), passing: false })?;
                reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 256 * 1024))
            }
        };
        let put = self.http.put(uri).header("content-type", content_type).header("content-length", size);
        let sent = put.body(body).timeout(Duration::from_secs(60 + size / SLOWEST)).send().await;
        // Addresses are signed: they must not reach a log.
        let response =
            sent.map_err(|error| Fault { cause: error.without_url().to_string(), passing: true })?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        // A refused address may have ended while it waited: the next attempt gets a new one.
        self.signed.lock().await.remove(name);
        let passing = status.is_server_error() || matches!(status.as_u16(), 403 | 408 | 429);
        Err(Fault { cause: format!("the store answered {status}"), passing })
    }

    /// Where `name` is put; signs the next segments' addresses in the same call.
    async fn address(&self, name: &str) -> Result<String, Fault> {
        let mut signed = self.signed.lock().await;
        let fresh = |signed: &Signed| signed.until > SystemTime::now() + SPARE;
        if let Some(found) = signed.remove(name).filter(fresh) {
            return Ok(found.uri);
        }
        let names = ahead(name);
        let request = SignOutputsRequest { lease: Some(self.lease.clone()), names: names.clone() };
        let answer = self.dispatch.clone().sign_outputs(request).await.map_err(|status| Fault {
            cause: format!("signing: {status}"),
            passing: is_passing(&status) && !is_verdict(&status),
        })?;
        let answer = answer.into_inner();
        let end = answer.expire_time.as_ref().map_or(0, unix_millis);
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(end).unwrap_or(0));
        signed.extend(names.into_iter().zip(answer.uris).map(|(name, uri)| (name, Signed { uri, until })));
        signed
            .remove(name)
            .map(|signed| signed.uri)
            .ok_or_else(|| Fault { cause: "signing: no address came".into(), passing: false })
    }
}

#[async_trait]
impl OutputSink for SignedStore {
    async fn put(&self, name: &str, content: Content, content_type: &'static str) -> Result<(), SinkError> {
        let mut patience = Patience::new(self.patience);
        loop {
            let Err(fault) = self.attempt(name, &content, content_type).await else { return Ok(()) };
            tracing::debug!(name, cause = fault.cause, "an output was not put");
            if !fault.passing || !patience.try_again().await {
                return Err(SinkError { name: name.to_owned(), cause: fault.cause });
            }
        }
    }

    async fn record(&self, outputs: &[Output]) -> Result<(), SinkError> {
        let request = RecordOutputsRequest {
            lease: Some(self.lease.clone()),
            outputs: outputs.iter().map(convert::output).collect(),
        };
        let recorded = self.dispatch.clone().record_outputs(request).await;
        let name = || outputs.first().map(|output| output.name.clone()).unwrap_or_default();
        recorded.map(drop).map_err(|status| SinkError { name: name(), cause: format!("recording: {status}") })
    }
}

/// The name itself, and of a segment those that come after it.
fn ahead(name: &str) -> Vec<String> {
    let parts = name.strip_suffix(".m4s").and_then(|stem| stem.rsplit_once("seg_"));
    let numbered = parts.and_then(|(folder, number)| Some((folder, number.parse::<u32>().ok()?)));
    match numbered {
        Some((folder, first)) => (first..first.saturating_add(SEGMENTS_AHEAD))
            .map(|number| format!("{folder}seg_{number:05}.m4s"))
            .collect(),
        None => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::ahead;

    #[test]
    fn segments_are_signed_ahead() {
        let names = ahead("720p/seg_00007.m4s");
        assert_eq!(names.len(), 20);
        assert_eq!(names[0], "720p/seg_00007.m4s");
        assert_eq!(names[19], "720p/seg_00026.m4s");
        assert_eq!(ahead("720p/init.mp4"), ["720p/init.mp4"]);
    }
}
