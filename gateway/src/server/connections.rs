//! Registry of open connections. When an address, or all of them, have too many, the connection that would be missed least
//! is closed: a stranger who opens thousands closes his own.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::client::{Proxies, network};

/// All open connections.
pub(crate) struct Connections {
    per_network: usize,
    total: usize,
    /// Their addresses are those of all clients: the limit of an address does not apply.
    proxies: Proxies,
    start: Instant,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next_id: u64,
    by_id: HashMap<u64, Entry>,
    by_network: HashMap<String, usize>,
}

struct Entry {
    network: String,
    activity: Arc<Activity>,
    close: CancellationToken,
}

/// What happens on a connection.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    /// When a request began or data of one moved, milliseconds after the server's start.
    last_millis: AtomicU64,
    /// Requests without a complete response.
    open_requests: AtomicUsize,
    /// Calls and downloads in progress whose caller has shown a valid credential.
    trusted: AtomicUsize,
    /// Bytes of bodies, except those of gRPC calls.
    transferred: AtomicU64,
    /// Bodies being transferred, except those of gRPC calls.
    transfers: AtomicUsize,
    /// Requests that the client cancelled before their response, less those that were answered.
    cancelled: AtomicUsize,
}

impl Connections {
    pub(crate) fn new(per_network: usize, total: usize, proxies: Proxies) -> Arc<Self> {
        Arc::new(Self { per_network, total, proxies, start: Instant::now(), open: Mutex::default() })
    }

    /// Registers a connection; closes another one if its network, or all, have too many.
    pub(crate) fn register(self: &Arc<Self>, address: IpAddr) -> Connection {
        let network = network(address);
        let activity = Arc::new(Activity::new(self.start));
        activity.touch();
        let close = CancellationToken::new();
        let mut open = self.open();
        let of_network = open.by_network.get(&network).copied().unwrap_or_default();
        let is_of_proxy = self.proxies.contains(address);
        if of_network >= self.per_network && !is_of_proxy {
            open.close_least_active(|entry| entry.network == network);
        } else if open.by_id.len() >= self.total {
            open.close_least_active(|_| true);
        }
        let id = open.next_id;
        open.next_id += 1;
        *open.by_network.entry(network.clone()).or_default() += 1;
        open.by_id.insert(id, Entry { network, activity: Arc::clone(&activity), close: close.clone() });
        Connection { connections: Arc::clone(self), id, is_of_proxy, activity, close }
    }

    /// Number of open connections.
    pub(crate) fn count(&self) -> usize {
        self.open().by_id.len()
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes the connection with no trusted request that was active least recently; with trusted ones if all have some.
    fn close_least_active(&mut self, is_candidate: impl Fn(&Entry) -> bool) {
        let least = self
            .by_id
            .iter()
            .filter(|(_, entry)| is_candidate(entry))
            .min_by_key(|(_, entry)| entry.activity.rank())
            .map(|(id, _)| *id);
        if let Some(id) = least {
            // It no longer counts from now on.
            if let Some(entry) = self.remove(id) {
                entry.close.cancel();
            }
        }
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.by_id.remove(&id)?;
        if let Some(count) = self.by_network.get_mut(&entry.network) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&entry.network);
            }
        }
        Some(entry)
    }
}

/// A registered connection. Unregistered on drop.
pub(crate) struct Connection {
    connections: Arc<Connections>,
    id: u64,
    is_of_proxy: bool,
    activity: Arc<Activity>,
    close: CancellationToken,
}

impl Connection {
    pub(crate) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Cancelled when the connection is to be closed in favour of another one.
    pub(crate) fn close(&self) -> CancellationToken {
        self.close.clone()
    }

    /// Whether the other end is a proxy with the requests of many clients.
    pub(crate) fn is_of_proxy(&self) -> bool {
        self.is_of_proxy
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.open().remove(self.id);
    }
}

impl Activity {
    /// `start`: that of the server.
    fn new(start: Instant) -> Self {
        Self {
            start,
            last_millis: AtomicU64::default(),
            open_requests: AtomicUsize::default(),
            trusted: AtomicUsize::default(),
            transferred: AtomicU64::default(),
            transfers: AtomicUsize::default(),
            cancelled: AtomicUsize::default(),
        }
    }

    pub(crate) fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    /// Time since a request began or ended, or data of one moved.
    pub(crate) fn idle(&self) -> Duration {
        let last = Duration::from_millis(self.last_millis.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }

    /// Counts a request as open until the guard is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> OpenRequest {
        self.open_requests.fetch_add(1, Ordering::Relaxed);
        OpenRequest { activity: Arc::clone(self), is_answered: false }
    }

    /// Counts a request as one of a trusted caller until the guard is dropped.
    pub(crate) fn trust(self: &Arc<Self>) -> Trusted {
        self.trusted.fetch_add(1, Ordering::Relaxed);
        Trusted(Arc::clone(self))
    }

    /// Counts a body as being transferred until the guard is dropped.
    pub(crate) fn transfer(self: &Arc<Self>) -> Transfer {
        self.transfers.fetch_add(1, Ordering::Relaxed);
        Transfer(Arc::clone(self))
    }

    pub(crate) fn has_open_requests(&self) -> bool {
        self.open_requests.load(Ordering::Relaxed) > 0
    }

    /// Bytes transferred so far; none unless all open requests are transfers.
    pub(crate) fn transferred(&self) -> Option<u64> {
        let transfers = self.transfers.load(Ordering::Relaxed);
        let is_all = transfers > 0 && self.open_requests.load(Ordering::Relaxed) <= transfers;
        is_all.then(|| self.transferred.load(Ordering::Relaxed))
    }

    /// Requests that were cancelled, less those that were answered.
    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Order in which connections are closed: the least first.
    fn rank(&self) -> (bool, u64) {
        (self.trusted.load(Ordering::Relaxed) > 0, self.last_millis.load(Ordering::Relaxed))
    }
}

/// A request without a complete response.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl OpenRequest {
    /// Its response has begun.
    pub(crate) fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.activity.open_requests.fetch_sub(1, Ordering::Relaxed);
        self.activity.touch();
        let cancelled = &self.activity.cancelled;
        if self.is_answered {
            let _ = cancelled
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| Some(count.saturating_sub(1)));
        } else {
            cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request of a caller who has shown a valid credential.
#[derive(Debug)]
pub(crate) struct Trusted(Arc<Activity>);

impl Drop for Trusted {
    fn drop(&mut self) {
        self.0.trusted.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body being transferred.
#[derive(Debug)]
pub(crate) struct Transfer(Arc<Activity>);

impl Transfer {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.transferred.fetch_add(bytes as u64, Ordering::Relaxed);
        self.0.touch();
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn register_closes_the_least_active_connection_of_the_same_address() {
        let connections = Connections::new(2, 100, Proxies::default());
        let [first, second, other] = [A, A, B].map(|address| connections.register(address));
        first.activity.last_millis.store(2, Ordering::Relaxed);
        second.activity.last_millis.store(1, Ordering::Relaxed);
        let third = connections.register(A);
        assert!(second.close().is_cancelled());
        assert!(!first.close().is_cancelled() && !other.close().is_cancelled());
        drop(second);
        assert_eq!(connections.count(), 3);
        drop((first, other, third));
        assert!(connections.open().by_network.is_empty());
    }

    #[test]
    fn register_closes_a_trusted_connection_last() {
        let connections = Connections::new(100, 2, Proxies::default());
        let [first, second] = [A, B].map(|address| connections.register(address));
        first.activity.last_millis.store(1, Ordering::Relaxed);
        second.activity.last_millis.store(2, Ordering::Relaxed);
        let call = first.activity().trust();
        let third = connections.register(B);
        third.activity.last_millis.store(3, Ordering::Relaxed);
        assert!(second.close().is_cancelled() && !first.close().is_cancelled());
        drop(call);
        let _fourth = connections.register(B);
        assert!(first.close().is_cancelled());
    }

    #[test]
    fn cancelled_counts_requests_without_a_response() {
        let activity = Arc::new(Activity::new(Instant::now()));
        for _ in 0..3 {
            drop(activity.request());
        }
        let mut answered = activity.request();
        assert!(activity.has_open_requests());
        answered.answered();
        drop(answered);
        assert_eq!((activity.cancelled(), activity.has_open_requests()), (2, false));
    }
}
