//! Free memory of this host.

use std::fs;

/// Available memory below which a failed allocation counts as the host's, bytes.
const LOW_BYTES: u64 = 256 << 20;

/// Files of the memory controller of this process's control group (version 2): its limit and its use.
const GROUP_LIMIT: &str = "/sys/fs/cgroup/memory.max";
const GROUP_USE: &str = "/sys/fs/cgroup/memory.current";
const GROUP_STATISTICS: &str = "/sys/fs/cgroup/memory.stat";

/// Whether the host has little memory left. Unknown counts as enough.
pub(crate) fn is_low() -> bool {
    available_bytes().is_some_and(|available| available < LOW_BYTES)
}

/// Memory that can be allocated: of the host, or less if a control group limits this process. None if it is unknown.
pub(crate) fn available_bytes() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let of_host = available_bytes_of_host(&read("/proc/meminfo"));
    let of_group = available_bytes_of_group(&read(GROUP_LIMIT), &read(GROUP_USE), &read(GROUP_STATISTICS));
    of_host.into_iter().chain(of_group).min()
}

/// The limit without what is used, apart from files that the kernel can drop from its cache.
fn available_bytes_of_group(limit: &str, used: &str, statistics: &str) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let used: u64 = used.trim().parse().ok()?;
    let inactive = statistics.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let inactive: u64 = inactive.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(inactive)))
}

/// `MemAvailable` in the format of `/proc/meminfo`.
fn available_bytes_of_host(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{available_bytes_of_group, available_bytes_of_host};

    #[test]
    fn available_bytes_of_host_is_mem_available() {
        let meminfo = "MemTotal:       24689604 kB\nMemAvailable:      1024 kB\nBuffers: 1 kB\n";
        assert_eq!(available_bytes_of_host(meminfo), Some(1 << 20));
        assert_eq!(available_bytes_of_host("MemTotal: 5 kB\n"), None);
        assert_eq!(available_bytes_of_host(""), None);
    }

    #[test]
    fn available_bytes_of_group_counts_files_that_can_be_dropped() {
        let statistics = "anon 300\nfile 250\ninactive_file 200\n";
        assert_eq!(available_bytes_of_group("1000\n", "500\n", statistics), Some(700));
        assert_eq!(available_bytes_of_group("max\n", "500\n", statistics), None);
        assert_eq!(available_bytes_of_group("", "", ""), None);
    }
}
