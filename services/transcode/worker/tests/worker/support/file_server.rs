//! An HTTP server of local files by ranged GET: the object store that sources are read from.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use reelmill_worker::engine::SourceAddress;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Serves the files that were added, each under its index.
#[derive(Clone, Default)]
pub struct FileServer {
    files: Arc<Mutex<Vec<PathBuf>>>,
    /// Bytes returned for ranged requests.
    pub bytes_served: Arc<AtomicU64>,
    /// Number of requests from now on that return 503.
    pub failing_requests: Arc<AtomicU64>,
    /// Requests for ranges that begin at or after this byte never complete.
    pub hang_from_byte: Arc<Mutex<Option<usize>>>,
    port: u16,
}

impl FileServer {
    /// Starts a server on the loopback interface.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let server = Self { port, ..Self::default() };
        let router = Router::new().route("/{file}", get(serve)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Adds a file and returns its address.
    pub fn add(&self, file: &Path) -> SourceAddress {
        let size_bytes = std::fs::metadata(file).expect("file").len();
        let mut files = self.files.lock().expect("lock");
        files.push(file.to_owned());
        SourceAddress { uri: format!("http://127.0.0.1:{}/{}", self.port, files.len() - 1), size_bytes }
    }
}

async fn serve(
    State(server): State<FileServer>,
    UrlPath(file): UrlPath<usize>,
    headers: HeaderMap,
) -> Response<Body> {
    let respond = |status, body| Response::builder().status(status).body(body).expect("response");
    let failing =
        server.failing_requests.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if failing.is_ok() {
        return respond(StatusCode::SERVICE_UNAVAILABLE, Body::empty());
    }
    let path = server.files.lock().expect("lock")[file].clone();
    // Sources are read in ranges, segments as a whole.
    let Some(range) = headers.get(header::RANGE) else {
        return respond(StatusCode::OK, std::fs::read(path).expect("file").into());
    };
    let range = range.to_str().expect("range").trim_start_matches("bytes=").to_owned();
    let (first, last) = range.split_once('-').expect("range");
    let (first, last): (usize, usize) = (first.parse().expect("first"), last.parse().expect("last"));
    if server.hang_from_byte.lock().expect("lock").is_some_and(|from| first >= from) {
        std::future::pending::<()>().await;
    }
    let mut part = vec![0; last + 1 - first];
    let file = std::fs::File::open(path).expect("file");
    file.read_exact_at(&mut part, first as u64).expect("range");
    server.bytes_served.fetch_add(part.len() as u64, Ordering::SeqCst);
    respond(StatusCode::PARTIAL_CONTENT, part.into())
}
