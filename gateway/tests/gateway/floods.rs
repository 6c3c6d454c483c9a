//! Floods of HTTP/2 frames on one connection: they cost bounded memory and CPU, and other clients are served.

use std::time::{Duration, Instant};

use reelmill_proto::upload::GetVideoRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{BINARY, GET_VIDEO, TestGateway, framed};

/// Growth that a flood may cause, bytes. The process is the client, too.
const MAX_GROWTH: u64 = 32 << 20;
/// CPU of the whole process for a flood, seconds.
const MAX_CPU_SECONDS: f64 = 10.0;
const FRAMES: usize = 200_000;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Headers of a call, without Huffman codes or indices of the dynamic table (RFC 7541).
fn call_headers() -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // POST, http
    for (name, value) in [
        (":path", format!("/{GET_VIDEO}")),
        (":authority", "a".to_owned()),
        ("content-type", "application/grpc".to_owned()),
        ("te", "trailers".to_owned()),
    ] {
        block.push(0);
        for text in [name, &value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// User and system time of this process, seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// Sends the frames on a new connection; returns whether the gateway closed it.
async fn flood(gateway: &TestGateway, reads: bool, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let write = async {
        let mut batch = Vec::new();
        for frame in frames {
            batch.extend(frame);
            if batch.len() > 64 << 10 {
                let written = tokio::time::timeout(Duration::from_secs(2), writing.write_all(&batch)).await;
                match written {
                    Ok(Ok(())) => batch.clear(),
                    // Broken, or the gateway takes no more.
                    Ok(Err(_)) => return true,
                    Err(_) => return false,
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        false
    };
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        if !reads {
            return std::future::pending().await;
        }
        while matches!(reading.read(&mut buffer).await, Ok(1..)) {}
        true
    };
    let both = async {
        tokio::select! { is_closed = write => is_closed, is_closed = read => is_closed }
    };
    tokio::time::timeout(Duration::from_secs(20), both).await.unwrap_or(false)
}

/// Sends the frames to a gateway; checks the memory and CPU that they cost, and that calls of another client succeed in the
/// meantime. Returns whether the gateway closed the connection.
async fn measure(name: &str, reads: bool, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let gateway = TestGateway::start().await;
    let token = gateway.sign_in("ada", "s1").await;
    let call = async || {
        let body = framed(&GetVideoRequest::default());
        let response = gateway.web_call(GET_VIDEO, BINARY, body, Some(&token)).await;
        assert_eq!(response.status.code(), tonic::Code::Ok);
    };
    call().await;
    let (memory_before, cpu_before) = (memory(), cpu());
    let honest = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begin = Instant::now();
            call().await;
            slowest = slowest.max(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    };
    let (is_closed, slowest) = tokio::join!(flood(&gateway, reads, frames), honest);
    let growth = memory().saturating_sub(memory_before);
    let seconds = cpu() - cpu_before;
    assert!(growth < MAX_GROWTH, "{name}: {growth} bytes");
    assert!(seconds < MAX_CPU_SECONDS, "{name}: {seconds} s");
    assert!(slowest < Duration::from_secs(2), "{name}: an honest call took {slowest:?}");
    is_closed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuations_without_end_close_the_connection() {
    let first = frame(HEADERS, END_STREAM, 1, &call_headers());
    let more = (0..FRAMES).map(|_| frame(CONTINUATION, 0, 1, b"\0\x01a\x01b"));
    assert!(measure("CONTINUATION", true, std::iter::once(first).chain(more)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_cost_bounded_memory_with_and_without_reading_the_answers() {
    for reads in [true, false] {
        measure("PING", reads, (0..FRAMES).map(|_| frame(PING, 0, 0, &[7; 8]))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_cost_bounded_memory_with_and_without_reading_the_answers() {
    for reads in [true, false] {
        measure("SETTINGS", reads, (0..FRAMES).map(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn window_updates_cost_bounded_memory() {
    measure("WINDOW_UPDATE", true, (0..FRAMES).map(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_close_the_connection() {
    let headers = call_headers();
    let requests = (0..FRAMES as u32).map(move |index| {
        let stream = 2 * index + 1;
        let mut both = frame(HEADERS, END_HEADERS, stream, &headers);
        both.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        both
    });
    assert!(measure("RST_STREAM", true, requests).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_of_accepted_requests_close_the_connection() {
    let headers = call_headers();
    // The request is being handled when it is reset: its body is missing.
    let requests = (0..FRAMES as u32).map(move |index| {
        let mut frames = frame(HEADERS, END_HEADERS, 2 * index + 1, &headers);
        if index >= 100 {
            frames.extend(frame(RST_STREAM, 0, 2 * (index - 100) + 1, &[0, 0, 0, 8]));
        }
        frames
    });
    assert!(measure("RST_STREAM of accepted requests", true, requests).await);
}
