//! Free memory of this host.

use std::fs;

/// Available memory below which a failed allocation counts as the host's, bytes.
const LOW_BYTES: u64 = 256 << 20;

/// Whether the host has little memory left. Unknown counts as enough.
pub(crate) fn is_low() -> bool {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    available_bytes(&meminfo).is_some_and(|available| available < LOW_BYTES)
}

/// `MemAvailable` in the format of `/proc/meminfo`.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::available_bytes;

    #[test]
    fn available_bytes_of_meminfo() {
        let meminfo = "MemTotal:       24689604 kB\nMemAvailable:      1024 kB\nBuffers: 1 kB\n";
        assert_eq!(available_bytes(meminfo), Some(1 << 20));
        assert_eq!(available_bytes("MemTotal: 5 kB\n"), None);
        assert_eq!(available_bytes(""), None);
    }
}
