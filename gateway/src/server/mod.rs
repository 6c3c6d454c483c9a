//! Server for HTTP/1.1 and HTTP/2 with prior knowledge on one port.

mod bodies;
mod connections;
mod linger;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::{HeaderMap, HeaderValue, Version, header};
use http_body::Body as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use bodies::{MAX_DRAINED_BYTES, RequestBody, ResponseBody};
use connections::Connection;
use linger::LingeringStream;

pub(crate) use connections::{Activity, Connections, Trusted};

/// Time that open calls get to finish at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a connection gets to send the headers of its first and each further request. Also the idle time of an
/// HTTP/1.1 connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle time of an HTTP/2 connection without open requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Age from which a connection takes no more requests; those that are open go on. Clients then use other replicas, too.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// A body that moves less than [`MIN_TRANSFER_BYTES`] in this time ends with its connection: uploads and downloads, not
/// gRPC calls.
const TRANSFER_WINDOW: Duration = Duration::from_secs(60);
const MIN_TRANSFER_BYTES: u64 = 64 << 10;
/// Interval at which a connection is checked for these.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// Size limit of one request's headers.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// Concurrent streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Requests that a client may cancel before they are answered, beyond as many as were answered.
const MAX_CANCELLED_REQUESTS: usize = 512;
/// Delay after accepting failed, mostly for lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Accepts connections until `shutdown`, then cancels `draining`, waits for open calls, and returns.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    registry: &Arc<Connections>,
    shutdown: CancellationToken,
    draining: CancellationToken,
) {
    let builder = builder();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = registry.register(peer.ip());
                connections.spawn(serve_connection(
                    stream,
                    peer,
                    connection,
                    router.clone(),
                    builder.clone(),
                    draining.clone(),
                ));
            }
            Err(error) => {
                tracing::warn!(cause = %error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    draining.cancel();
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("some connections did not finish in time and are closed");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

/// Serves one connection until it closes.
async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    connection: Connection,
    router: Router,
    builder: Builder<TokioExecutor>,
    draining: CancellationToken,
) {
    // Fails only for sockets that are already closed.
    let _ = stream.set_nodelay(true);
    let (activity, close) = (connection.activity(), connection.close());
    let is_of_proxy = connection.is_of_proxy();
    let requests = Arc::new(Requests {
        peer,
        is_of_proxy,
        activity: Arc::clone(&activity),
        have_begun: AtomicBool::new(false),
        close: close.clone(),
    });
    let service = service_fn(|request| {
        let (requests, router) = (Arc::clone(&requests), router.clone());
        async move { Ok::<_, Infallible>(requests.respond(router, request).await) }
    });
    let stream = TokioIo::new(LingeringStream::new(stream));
    let mut serving = pin!(builder.serve_connection(stream, service));
    // hyper's own timeouts start only when the first bytes have shown the protocol.
    let mut first_request_timeout = pin!(tokio::time::sleep(HEADER_TIMEOUT));
    let mut check = tokio::time::interval(CHECK_INTERVAL);
    let mut transfers = TransferCheck::default();
    let accepted = Instant::now();
    let (mut waiting, mut closing) = (true, false);
    loop {
        tokio::select! {
            closed = serving.as_mut() => {
                if let Err(error) = closed {
                    tracing::debug!(cause = %error, "a connection broke");
                }
                return;
            }
            () = close.cancelled() => return,
            () = first_request_timeout.as_mut(), if waiting => {
                waiting = false;
                if !requests.have_begun.load(Ordering::Relaxed) {
                    return;
                }
            }
            _ = check.tick() => {
                if !is_of_proxy && transfers.are_too_slow(activity.transferred(), Instant::now()) {
                    tracing::debug!(%peer, "a client sends or reads too slowly");
                    return;
                }
                let is_idle = !activity.has_open_requests() && activity.idle() > IDLE_TIMEOUT;
                if (is_idle || accepted.elapsed() > MAX_AGE) && !closing {
                    closing = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
            () = draining.cancelled(), if !closing => {
                closing = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The requests of a connection.
struct Requests {
    peer: SocketAddr,
    /// What one of its clients does is no reason to close it.
    is_of_proxy: bool,
    activity: Arc<Activity>,
    have_begun: AtomicBool,
    close: CancellationToken,
}

impl Requests {
    /// Passes a request on with the peer's address as [`ConnectInfo`], and the connection's [`Activity`].
    async fn respond(
        &self,
        router: Router,
        request: http::Request<Incoming>,
    ) -> http::Response<ResponseBody> {
        self.have_begun.store(true, Ordering::Relaxed);
        self.activity.touch();
        if !self.is_of_proxy && self.activity.cancelled() > MAX_CANCELLED_REQUESTS {
            tracing::debug!(peer = %self.peer, "a client cancels too many requests");
            self.close.cancel();
        }
        let mut open_request = self.activity.request();
        let is_http1 = request.version() <= Version::HTTP_11;
        let is_small = request.body().size_hint().upper().is_some_and(|size| size <= MAX_DRAINED_BYTES);
        let transfer = |is_transferred: bool| is_transferred.then(|| self.activity.transfer());
        let has_transfer = !is_grpc(request.headers()) && !request.body().is_end_stream();
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(ConnectInfo(self.peer));
        parts.extensions.insert(Arc::clone(&self.activity));
        let body = RequestBody::new(body, is_http1, transfer(has_transfer));
        let is_read = body.is_read();
        let request = http::Request::from_parts(parts, Body::new(body));
        let mut response = router.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
        open_request.answered();
        if is_http1 && !is_small && !is_read.load(Ordering::Relaxed) {
            // The rest of the body would have to be read before the next request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let transfer = transfer(!is_grpc(response.headers()));
        let trusted = response.extensions_mut().remove::<Arc<Trusted>>();
        response.map(|body| ResponseBody::new(body, transfer, (open_request, trusted)))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Finds connections whose bodies move too slowly.
#[derive(Default)]
struct TransferCheck {
    /// Begin of the present window, and what had been transferred by then.
    window: Option<(Instant, u64)>,
}

impl TransferCheck {
    /// `transferred`: bytes so far, if a body is being transferred.
    fn are_too_slow(&mut self, transferred: Option<u64>, now: Instant) -> bool {
        let Some(transferred) = transferred else {
            self.window = None;
            return false;
        };
        let (begin, before) = *self.window.get_or_insert((now, transferred));
        if now.duration_since(begin) < TRANSFER_WINDOW {
            return false;
        }
        self.window = Some((now, transferred));
        transferred - before < MIN_TRANSFER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_too_slow_is_true_for_less_than_the_least_in_a_window() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut check = TransferCheck::default();
        assert!(!check.are_too_slow(Some(1000), begin));
        assert!(!check.are_too_slow(Some(1000), after(59)));
        assert!(check.are_too_slow(Some(1000 + MIN_TRANSFER_BYTES - 1), after(60)));
        let mut check = TransferCheck::default();
        assert!(!check.are_too_slow(Some(1000), begin));
        assert!(!check.are_too_slow(Some(1000 + MIN_TRANSFER_BYTES), after(60)));
        assert!(check.are_too_slow(Some(1000 + MIN_TRANSFER_BYTES), after(120)), "the next window");
        assert!(!check.are_too_slow(None, after(300)), "nothing is being transferred");
        assert!(!check.are_too_slow(Some(0), after(301)));
    }
}
