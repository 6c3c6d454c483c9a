//! Helpers without state.

use std::{path::Path, time::Duration};

/// Time limit for a condition that a test waits for.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls a condition that has no notification; panics after [`WAIT_TIMEOUT`].
pub async fn wait_until(what: &str, is_met: impl Fn() -> bool) {
    let poll = async {
        while !is_met() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, poll).await.unwrap_or_else(|_| panic!("timed out: {what}"));
}

/// Reads a JSON file.
pub fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Deterministic bytes without repetition, so that any two parts differ.
pub fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The URL of a port on which no process listens.
pub fn unused_url() -> String {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}")
}
