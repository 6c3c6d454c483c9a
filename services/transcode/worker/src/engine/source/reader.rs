//! Reads the source by ranged GETs through a small cache of blocks with sequential read-ahead, so that nothing
//! needs the whole file and a demuxer's short reads cost no request each.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use reqwest::Client;
use tokio::{
    sync::{OnceCell, oneshot},
    task::JoinSet,
};

use crate::engine::{
    activity::Activity,
    source::{
        address::SourceAddress,
        fetch::{FetchError, SourceError, fetch_range, retry},
    },
};

/// Bytes of a block, the unit of a ranged GET.
const BLOCK_BYTES: u64 = 512 * 1024;
/// Blocks in the cache: 6 MiB.
const CACHED_BLOCKS: usize = 12;
/// Blocks fetched ahead of a sequential reader.
const READ_AHEAD_BLOCKS: u64 = 4;

type Block = Arc<OnceCell<Bytes>>;

/// Reads a file in the object store. Shared behind an `Arc`.
pub(crate) struct SourceReader {
    blocks: Arc<BlockCache>,
    /// Running fetches, including those of blocks that no reader waits for. Aborted on drop.
    fetches: Mutex<JoinSet<()>>,
    /// Pauses while a reader waits for a block.
    activity: Activity,
    first_error: Mutex<Option<SourceError>>,
}

struct BlockCache {
    http: Client,
    source: SourceAddress,
    retry_window: Duration,
    /// By index of the block, most recently used last.
    blocks: Mutex<VecDeque<(u64, Block)>>,
}

impl SourceReader {
    /// A reader that retries a block for `retry_window`.
    pub(crate) fn new(
        http: Client,
        source: SourceAddress,
        retry_window: Duration,
        activity: Activity,
    ) -> Self {
        let blocks = Arc::new(BlockCache { http, source, retry_window, blocks: Mutex::default() });
        Self { blocks, fetches: Mutex::default(), activity, first_error: Mutex::default() }
    }

    /// Size of the file, bytes.
    pub(crate) fn size(&self) -> u64 {
        self.blocks.source.size_bytes
    }

    /// The first error that a read returned. After one, any output of ffmpeg may be incomplete.
    pub(crate) fn first_error(&self) -> Option<SourceError> {
        lock(&self.first_error).clone()
    }

    /// Bytes from `offset` to the end of its block. Empty at the end of the file.
    ///
    /// # Errors
    /// After a permanent error of the object store, or when the retry window has passed.
    pub(crate) async fn read(&self, offset: u64) -> Result<Bytes, SourceError> {
        if offset >= self.size() {
            return Ok(Bytes::new());
        }
        let index = offset / BLOCK_BYTES;
        let is_sequential = index > 0 && self.blocks.contains(index - 1);
        let block = self.block(index).await.inspect_err(|error| {
            lock(&self.first_error).get_or_insert_with(|| error.clone());
        })?;
        if is_sequential {
            self.read_ahead(index);
        }
        let within = usize::try_from(offset % BLOCK_BYTES).unwrap_or(usize::MAX);
        Ok(block.slice(within.min(block.len())..))
    }

    /// Fetches in a tokio task: a demuxer that seeks closes its connection in the middle of a block, which is
    /// fetched completely all the same, because it is often needed next.
    async fn block(&self, index: u64) -> Result<Bytes, SourceError> {
        if let Some(bytes) = self.blocks.entry(index).get() {
            return Ok(bytes.clone());
        }
        let _request = self.activity.begin_request();
        let (sender, receiver) = oneshot::channel();
        let blocks = Arc::clone(&self.blocks);
        self.spawn(async move {
            // The receiver is gone if the connection was closed.
            let _closed = sender.send(blocks.get(index).await);
        });
        receiver.await.unwrap_or_else(|_| Err(SourceError("the read was aborted".into())))
    }

    fn spawn(&self, fetch: impl Future<Output = ()> + Send + 'static) {
        let mut fetches = lock(&self.fetches);
        while fetches.try_join_next().is_some() {}
        fetches.spawn(fetch);
    }

    fn read_ahead(&self, index: u64) {
        let last = (self.size() - 1) / BLOCK_BYTES;
        let following = index + 1..=(index + READ_AHEAD_BLOCKS).min(last);
        for next in following.filter(|&next| !self.blocks.contains(next)) {
            let blocks = Arc::clone(&self.blocks);
            // One attempt: a read of the block itself retries and reports the error.
            self.spawn(async move { drop(blocks.entry(next).get_or_try_init(|| blocks.fetch(next)).await) });
        }
    }
}

impl BlockCache {
    fn contains(&self, index: u64) -> bool {
        lock(&self.blocks).iter().any(|(cached, _)| *cached == index)
    }

    /// The block's entry in the cache. A missing one is inserted and the least recently used one evicted.
    fn entry(&self, index: u64) -> Block {
        let mut blocks = lock(&self.blocks);
        let found = blocks.iter().position(|(cached, _)| *cached == index);
        let entry = found.and_then(|found| blocks.remove(found)).unwrap_or_else(|| (index, Block::default()));
        let block = Arc::clone(&entry.1);
        blocks.push_back(entry);
        if blocks.len() > CACHED_BLOCKS {
            blocks.pop_front();
        }
        block
    }

    async fn get(&self, index: u64) -> Result<Bytes, SourceError> {
        let fetch = || retry(self.retry_window, || self.fetch(index));
        self.entry(index).get_or_try_init(fetch).await.cloned()
    }

    async fn fetch(&self, index: u64) -> Result<Bytes, FetchError> {
        let start = index * BLOCK_BYTES;
        let end = (start + BLOCK_BYTES).min(self.source.size_bytes);
        fetch_range(&self.http, &self.source.uri, start..end, self.source.size_bytes).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
