//! What the kernel says of a process, from /proc (Linux).

use std::fs;

use anyhow::Context as _;

/// Clock ticks a second in /proc/PID/stat: 100 on every Linux there is.
const TICKS: f64 = 100.0;

/// CPU seconds, user and system, of a process and of its children that it has waited for.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let times = times(&format!("/proc/{pid}/stat"))?;
    Ok(times.iter().sum::<f64>() / TICKS)
}

/// CPU seconds of this process's own children that it has waited for.
pub fn children_cpu_seconds() -> anyhow::Result<f64> {
    let times = times("/proc/self/stat")?;
    Ok(times[2..].iter().sum::<f64>() / TICKS)
}

/// utime, stime, cutime, cstime.
fn times(path: &str) -> anyhow::Result<Vec<f64>> {
    let stat = fs::read_to_string(path).with_context(|| format!("{path} (these figures need Linux)"))?;
    let after_name = stat.rsplit_once(") ").context("no process name")?.1;
    let fields = after_name.split(' ').skip(11).take(4);
    fields.map(|field| field.parse().context("not a number")).collect()
}

/// Resident memory of a process, MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024.0)
}
