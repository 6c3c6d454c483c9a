//! The source, read by ranged GETs through a small cache of blocks with sequential read-ahead, so
//! that nothing needs the whole file and a demuxer's short reads cost no request each.

use super::activity::Activity;
use crate::patience::Patience;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinSet;

/// Bytes of a block, the unit of a ranged GET.
const BLOCK_BYTES: u64 = 512 * 1024;
/// Blocks that are kept: 6 MiB.
const CACHED_BLOCKS: usize = 12;
/// Blocks that are fetched ahead of a reader that goes forward.
const AHEAD_BLOCKS: u64 = 4;

/// The source could not be read, after every attempt that made sense.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the source could not be read: {0}")]
pub struct SourceError(String);

type Block = Arc<OnceCell<Bytes>>;

/// A file at an address, read in blocks. Cheap to share behind an `Arc`.
pub struct SourceReader {
    inner: Arc<Inner>,
    /// Fetches, also those that nobody waits for yet or any more; they end with the reader.
    fetches: Mutex<JoinSet<()>>,
}

struct Inner {
    http: reqwest::Client,
    uri: String,
    size: u64,
    /// How long a block that cannot be read is tried again.
    patience: Duration,
    /// Knows when somebody waits for a block.
    activity: Activity,
    /// Most recently used last.
    blocks: Mutex<VecDeque<(u64, Block)>>,
    fault: Mutex<Option<SourceError>>,
}

impl SourceReader {
    /// A reader of the `size` bytes at `uri`.
    pub fn new(
        http: reqwest::Client,
        uri: String,
        size: u64,
        patience: Duration,
        activity: Activity,
    ) -> Self {
        let (blocks, fault) = (Mutex::default(), Mutex::default());
        let inner = Inner { http, uri, size, patience, activity, blocks, fault };
        Self { inner: Arc::new(inner), fetches: Mutex::default() }
    }

    /// Size of the file, bytes.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// The first fault that a reader was told. After one, whatever was made of the source is in doubt.
    pub fn fault(&self) -> Option<SourceError> {
        lock(&self.inner.fault).clone()
    }

    /// What to say when the source is waited for in vain.
    pub fn late() -> SourceError {
        SourceError("the store does not answer".into())
    }

    /// Bytes from `offset` on: at least one unless at the end, at most up to the block's end.
    ///
    /// # Errors
    /// When the store answers wrongly or not at all.
    pub async fn read(&self, offset: u64) -> Result<Bytes, SourceError> {
        if offset >= self.inner.size {
            return Ok(Bytes::new());
        }
        let index = offset / BLOCK_BYTES;
        let forward = index > 0 && self.inner.is_cached(index - 1);
        let block = self.block(index).await.inspect_err(|error| {
            lock(&self.inner.fault).get_or_insert_with(|| error.clone());
        })?;
        if forward {
            self.read_ahead(index);
        }
        let within = usize::try_from(offset % BLOCK_BYTES).unwrap_or(usize::MAX);
        Ok(block.slice(within.min(block.len())..))
    }

    /// A demuxer that goes elsewhere hangs up in the middle of a block. It is fetched to its end all the same: it may well
    /// be the one that is wanted next.
    async fn block(&self, index: u64) -> Result<Bytes, SourceError> {
        if let Some(bytes) = self.inner.place(index).get() {
            return Ok(bytes.clone());
        }
        let _waiting = self.inner.activity.waiting();
        let (tell, told) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        self.spawn(async move {
            // Whoever asked may be gone.
            let _gone = tell.send(inner.block(index).await);
        });
        told.await.unwrap_or_else(|_| Err(SourceError("reading was broken off".into())))
    }

    fn spawn(&self, fetch: impl Future<Output = ()> + Send + 'static) {
        let mut fetches = lock(&self.fetches);
        while fetches.try_join_next().is_some() {}
        fetches.spawn(fetch);
    }

    fn read_ahead(&self, index: u64) {
        let last = (self.inner.size - 1) / BLOCK_BYTES;
        for next in (index + 1..=(index + AHEAD_BLOCKS).min(last)).filter(|&next| !self.inner.is_cached(next))
        {
            let inner = Arc::clone(&self.inner);
            // One attempt: whoever reads the block itself makes the others, and is told of a failure.
            self.spawn(async move { drop(inner.place(next).get_or_try_init(|| inner.fetch(next)).await) });
        }
    }
}

impl Inner {
    fn is_cached(&self, index: u64) -> bool {
        lock(&self.blocks).iter().any(|(cached, _)| *cached == index)
    }

    /// The block's place in the cache, made when it is not there. The least recently used one goes.
    fn place(&self, index: u64) -> Block {
        let mut blocks = lock(&self.blocks);
        let found = blocks.iter().position(|(cached, _)| *cached == index);
        let entry = found.and_then(|place| blocks.remove(place)).unwrap_or_else(|| (index, Block::default()));
        let block = Arc::clone(&entry.1);
        blocks.push_back(entry);
        if blocks.len() > CACHED_BLOCKS {
            blocks.pop_front();
        }
        block
    }

    async fn block(&self, index: u64) -> Result<Bytes, SourceError> {
        self.place(index).get_or_try_init(|| self.fetch_stubbornly(index)).await.cloned()
    }

    async fn fetch_stubbornly(&self, index: u64) -> Result<Bytes, SourceError> {
        let mut patience = Patience::new(self.patience);
        loop {
            match self.fetch(index).await {
                Ok(bytes) => return Ok(bytes),
                Err((error, transient)) => {
                    tracing::debug!(index, %error, "a block was not read");
                    if !transient || !patience.try_again().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// One ranged GET; an error says whether trying again may help.
    async fn fetch(&self, index: u64) -> Result<Bytes, (SourceError, bool)> {
        let first = index * BLOCK_BYTES;
        let last = (first + BLOCK_BYTES).min(self.size) - 1;
        let range = format!("bytes={first}-{last}");
        let sent =
            self.http.get(&self.uri).header("range", range).timeout(Duration::from_secs(30)).send().await;
        // Addresses are signed: they must not reach a log.
        let response = sent.map_err(|error| (SourceError(error.without_url().to_string()), true))?;
        let status = response.status();
        if !status.is_success() {
            let transient = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
            return Err((SourceError(format!("the store answered {status}")), transient));
        }
        let whole = last - first + 1;
        if status.as_u16() != 206 && whole != self.size {
            return Err((SourceError("the store ignored the range".into()), false));
        }
        let bytes =
            response.bytes().await.map_err(|error| (SourceError(error.without_url().to_string()), true))?;
        if bytes.len() as u64 != whole {
            return Err((SourceError(format!("{} bytes instead of {whole}", bytes.len())), true));
        }
        Ok(bytes)
    }
}

/// Reads a whole object that is small enough to be held.
///
/// # Errors
/// When the store answers wrongly or not at all, for as long as `lasts`.
pub(super) async fn fetch_whole(
    http: &reqwest::Client,
    uri: String,
    size: u64,
    lasts: Duration,
) -> Result<Bytes, SourceError> {
    let mut patience = Patience::new(lasts);
    loop {
        let (error, transient) = match fetch_once(http, &uri, size).await {
            Ok(bytes) => return Ok(bytes),
            Err(failed) => failed,
        };
        if !transient || !patience.try_again().await {
            return Err(error);
        }
    }
}

async fn fetch_once(http: &reqwest::Client, uri: &str, size: u64) -> Result<Bytes, (SourceError, bool)> {
    // Addresses are signed: they must not reach a log.
    let passing = |error: reqwest::Error| (SourceError(error.without_url().to_string()), true);
    let response = http.get(uri).timeout(Duration::from_secs(60)).send().await.map_err(passing)?;
    let status = response.status();
    if !status.is_success() {
        let transient = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        return Err((SourceError(format!("the store answered {status}")), transient));
    }
    let bytes = response.bytes().await.map_err(passing)?;
    if bytes.len() as u64 != size {
        return Err((SourceError(format!("{} bytes instead of {size}", bytes.len())), true));
    }
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
