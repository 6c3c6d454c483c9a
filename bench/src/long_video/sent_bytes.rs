//! A proxy that counts the bytes sent to an object store.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use reelmill_testkit::SeaweedFs;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Starts a proxy to an object store that counts the bytes sent to it; returns its endpoint and the counter.
pub(super) async fn count_sent_bytes(object_store: &SeaweedFs) -> anyhow::Result<(String, Arc<AtomicU64>)> {
    let server = object_store.endpoint().trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, server.clone(), Arc::clone(&counter)));
        }
    });
    Ok((endpoint, sent))
}

async fn forward(client: TcpStream, server: String, counter: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            counter.fetch_add(read as u64, Ordering::Relaxed);
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    tokio::try_join!(requests, tokio::io::copy(&mut from_server, &mut to_client)).map(drop)
}
