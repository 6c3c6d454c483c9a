//! Time and size limits of the engine.

use std::time::Duration;

/// Time and size limits of the engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    /// Limit for a probe, of wall time and of CPU time.
    pub probe_timeout: Duration,
    /// An encoder without any activity for this long is killed.
    pub stall_timeout: Duration,
    /// How long an unavailable object store is retried, for a block of the source or an output.
    pub retry_window: Duration,
    /// Largest progressive MP4, bytes: the most an object store accepts in one request. Copies in the scratch
    /// folder are never larger.
    pub max_progressive_bytes: u64,
    /// Longest packet list that is read from ffprobe, bytes.
    pub max_packet_list_bytes: u64,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            probe_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(60),
            retry_window: Duration::from_secs(100),
            max_progressive_bytes: 5 << 30,
            max_packet_list_bytes: 16 << 20,
        }
    }
}
