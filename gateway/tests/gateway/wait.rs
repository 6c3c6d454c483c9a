//! Waiting for what happens elsewhere, with a bound.

use std::time::Duration;

/// Looks until `condition` holds, for ten seconds at most.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), looking).await.is_ok(), "not in time: {what}");
}
