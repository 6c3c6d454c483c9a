//! Connections to the replicas of a role. A host name is looked up again and again, and calls are spread over all its
//! addresses: each replica has one. An IP address or a socket has one connection.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::future::join_all;
use tokio::{net::TcpStream, sync::mpsc::Sender};
use tonic::transport::{Channel, Endpoint, Error, channel::Change};

use crate::channel::MAX_HEADER_BYTES;

/// Interval at which the addresses of a host name are looked up.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(5);
/// The same while none was found.
const FIRST_LOOKUP_INTERVAL: Duration = Duration::from_millis(500);
/// How long a replica may take to accept a connection.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Changes of addresses that may be pending.
const MAX_ADDRESS_CHANGES: usize = 64;

/// Connects at the first call to `http://HOST:PORT` or `unix:///PATH`.
pub(crate) fn transport(address: &str) -> Result<Channel, Error> {
    let endpoint = configured(Endpoint::from_shared(address.to_owned())?);
    let uri = endpoint.uri();
    let host_and_port = uri.host().zip(uri.port_u16()).filter(|(host, _)| {
        uri.scheme_str() == Some("http") && host.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
    });
    let Some((host, port)) = host_and_port else { return Ok(endpoint.connect_lazy()) };
    let name = (host.to_owned(), port);
    let lookup = move || {
        let (host, port) = name.clone();
        async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await;
            found
                .inspect_err(|error| tracing::debug!(host, %error, "no address was found"))
                .map(Iterator::collect)
        }
    };
    Ok(balanced(endpoint, lookup))
}

/// Calls are spread over the addresses that `lookup` returns, as they change.
fn balanced<L, F>(endpoint: Endpoint, lookup: L) -> Channel
where
    L: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<BTreeSet<SocketAddr>>> + Send,
{
    let (channel, changes) = Channel::balance_channel(MAX_ADDRESS_CHANGES);
    tokio::spawn(async move {
        let mut known = BTreeSet::new();
        while !changes.is_closed() {
            match lookup().await.map(of_one_family) {
                // A name server that is unavailable does not mean that the replicas are gone.
                Ok(found) if !found.is_empty() => {
                    let found = reachable(found).await;
                    if !announce(&changes, &endpoint, &known, &found).await {
                        return;
                    }
                    known = found;
                }
                _ => {}
            }
            let interval = if known.is_empty() { FIRST_LOOKUP_INTERVAL } else { LOOKUP_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = changes.closed() => return,
            }
        }
    });
    channel
}

/// Announces new addresses and those that are gone; returns whether the channel still exists.
async fn announce(
    changes: &Sender<Change<SocketAddr, Endpoint>>,
    endpoint: &Endpoint,
    known: &BTreeSet<SocketAddr>,
    found: &BTreeSet<SocketAddr>,
) -> bool {
    for new in found.difference(known) {
        let Ok(of_address) = Endpoint::from_shared(format!("http://{new}")) else { continue };
        let of_address = configured(of_address).origin(endpoint.uri().clone());
        if changes.send(Change::Insert(*new, of_address)).await.is_err() {
            return false;
        }
    }
    for gone in known.difference(found) {
        if changes.send(Change::Remove(*gone)).await.is_err() {
            return false;
        }
    }
    true
}

/// The addresses that accept connections; all of them if none does. A name server still names replicas that have ended.
async fn reachable(found: BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
    let probes = found.iter().map(async |address| {
        let connecting = tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await;
        matches!(connecting, Ok(Ok(_))).then_some(*address)
    });
    let reached: BTreeSet<SocketAddr> = join_all(probes).await.into_iter().flatten().collect();
    if reached.is_empty() { found } else { reached }
}

/// The IPv4 addresses if there are any: a replica with addresses of both families may listen on those only.
fn of_one_family(found: BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
    let has_ipv4 = found.iter().any(SocketAddr::is_ipv4);
    found.into_iter().filter(|address| address.is_ipv4() == has_ipv4).collect()
}

fn configured(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20)
        .tcp_nodelay(true)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use http::Request;
    use tokio::net::TcpListener;
    use tonic::body::Body;
    use tower::{Service as _, ServiceExt as _};

    use super::*;

    /// A server that accepts connections and answers no call; counts the connections.
    async fn listen() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                open.push(connection);
            }
        });
        (address, connections)
    }

    async fn call(channel: &Channel) {
        let mut channel = channel.clone();
        let request = Request::builder().uri("/a/b").body(Body::empty()).unwrap();
        let calling = async { channel.ready().await.unwrap().call(request).await.map(drop) };
        let _ = tokio::time::timeout(Duration::from_millis(100), calling).await;
    }

    #[tokio::test]
    async fn calls_go_to_all_addresses_that_are_found() {
        let ((first, to_first), (second, to_second)) = (listen().await, listen().await);
        let found = Arc::new(Mutex::new(BTreeSet::from([first])));
        let looked_up = Arc::clone(&found);
        let lookup = move || std::future::ready(Ok(looked_up.lock().unwrap().clone()));
        let channel = balanced(Endpoint::from_static("http://role:1"), lookup);
        for _ in 0..4 {
            call(&channel).await;
        }
        let counts = || (to_first.load(Ordering::SeqCst) > 0, to_second.load(Ordering::SeqCst) > 0);
        assert_eq!(counts(), (true, false));
        found.lock().unwrap().insert(second);
        tokio::time::sleep(LOOKUP_INTERVAL + Duration::from_millis(500)).await;
        for _ in 0..20 {
            call(&channel).await;
        }
        assert_eq!(counts(), (true, true));
    }

    #[tokio::test]
    async fn name_of_this_host_is_looked_up() {
        let (address, connections) = listen().await;
        let channel = transport(&format!("http://localhost:{}", address.port())).unwrap();
        call(&channel).await;
        call(&channel).await;
        assert!(connections.load(Ordering::SeqCst) > 0);
    }

    #[test]
    fn of_one_family_prefers_ipv4() {
        let [v4, v6]: [SocketAddr; 2] = ["10.0.0.1:1".parse().unwrap(), "[fd00::1]:1".parse().unwrap()];
        assert_eq!(of_one_family(BTreeSet::from([v4, v6])), BTreeSet::from([v4]));
        assert_eq!(of_one_family(BTreeSet::from([v6])), BTreeSet::from([v6]));
    }
}
