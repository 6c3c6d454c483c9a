//! A TCP proxy that spreads connections over replicas, and that can refuse, answer, slow down or cut them.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};

/// What a gate does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Forwards them.
    Open,
    /// Closes them at once.
    Closed,
    /// Answers each HTTP request with this status, and closes the connection.
    Status(u16),
    /// Forwards them, with a pause before each block.
    Slow,
    /// Forwards them, and resets each after this many bytes of its responses.
    Cut(usize),
}

/// Bytes that are forwarded at a time.
const BLOCK: usize = 64 * 1024;
/// Pause before each block of a slow connection.
const SLOW_PAUSE: Duration = Duration::from_millis(400);
/// How long a request is read whose answer is an error.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A proxy on a loopback port.
pub struct Gate {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Gate {
    /// Listens in front of replicas.
    pub async fn start(replicas: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (mode, current) = watch::channel(Mode::Open);
        let next = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            loop {
                // An error is a lack of file handles: the next connection may succeed.
                let Ok((client, _)) = listener.accept().await else { continue };
                let (replicas, next, current) = (replicas.clone(), next.clone(), current.clone());
                tokio::spawn(async move { serve(client, &replicas, &next, current).await });
            }
        });
        Ok(Self { address, mode })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the mode; connections of the mode before end.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(
    client: TcpStream,
    replicas: &[SocketAddr],
    next: &AtomicUsize,
    mut mode: watch::Receiver<Mode>,
) {
    let current = *mode.borrow_and_update();
    let served = async {
        match current {
            Mode::Closed => {}
            Mode::Status(status) => answer(client, status).await,
            _ => {
                if let Some(server) = connect(replicas, next).await {
                    forward(client, server, current).await;
                }
            }
        }
    };
    tokio::select! {
        () = served => {}
        _ = mode.changed() => {}
    }
}

/// A connection to the next replica that accepts one.
async fn connect(replicas: &[SocketAddr], next: &AtomicUsize) -> Option<TcpStream> {
    let first = next.fetch_add(1, Ordering::Relaxed);
    for index in 0..replicas.len() {
        let replica = replicas[(first + index) % replicas.len()];
        if let Ok(stream) = TcpStream::connect(replica).await {
            return Some(stream);
        }
    }
    None
}

async fn forward(client: TcpStream, server: TcpStream, mode: Mode) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let pause = if mode == Mode::Slow { SLOW_PAUSE } else { Duration::ZERO };
    let limit = if let Mode::Cut(bytes) = mode { bytes } else { usize::MAX };
    let requests = async {
        copy(&mut from_client, &mut to_server, pause, usize::MAX).await;
        let _ = to_server.shutdown().await;
        // The response may still come.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = requests => {}
        () = copy(&mut from_server, &mut to_client, pause, limit) => {}
    }
}

/// Copies until one side ends, or `limit` bytes were copied.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    pause: Duration,
    mut limit: usize,
) {
    let mut block = vec![0; BLOCK];
    while limit > 0 {
        let wanted = block.len().min(limit);
        let Ok(read) = from.read(&mut block[..wanted]).await else { return };
        if read == 0 {
            return;
        }
        if !pause.is_zero() {
            sleep(pause).await;
        }
        if to.write_all(&block[..read]).await.is_err() {
            return;
        }
        limit -= read;
    }
}

/// Answers an S3 request with an error. What the client still sends is read, so that it reads the answer.
async fn answer(mut client: TcpStream, status: u16) {
    let mut block = vec![0; BLOCK];
    let Ok(Ok(1..)) = timeout(READ_TIMEOUT, client.read(&mut block)).await else { return };
    let (line, code) = match status {
        403 => ("403 Forbidden", "InvalidAccessKeyId"),
        _ => ("500 Internal Server Error", "InternalError"),
    };
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>chaos</Message></Error>");
    let response = format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    if client.write_all(response.as_bytes()).await.is_ok() {
        let _ = client.shutdown().await;
        let rest = async { while let Ok(1..) = client.read(&mut block).await {} };
        let _ = timeout(READ_TIMEOUT, rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection with 1,000 bytes.
    async fn server() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(&[7; 1000]).await.unwrap();
            }
        });
        address
    }

    /// What a client receives.
    async fn received(gate: &Gate, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        let _ = stream.write_all(request).await;
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
        all
    }

    #[tokio::test]
    async fn gate_forwards_refuses_answers_and_cuts() {
        let unused = SocketAddr::from(([127, 0, 0, 1], 1));
        let gate = Gate::start(vec![unused, server().await]).await.unwrap();
        assert_eq!(received(&gate, b"").await.len(), 1000);
        gate.set(Mode::Closed);
        assert!(received(&gate, b"").await.is_empty());
        gate.set(Mode::Cut(10));
        assert_eq!(received(&gate, b"").await.len(), 10);
        gate.set(Mode::Status(403));
        assert!(received(&gate, b"GET / HTTP/1.1\r\n\r\n").await.starts_with(b"HTTP/1.1 403 "));
    }
}
