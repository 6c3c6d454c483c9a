//! CPU time, memory and children of a process, from /proc (Linux).

use std::{fs, time::Duration};

use anyhow::{Context as _, bail};

/// Unit of the times in /proc/PID/stat: USER_HZ, 100 on all current Linux systems.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds (user and system) of a process and of its children that it has waited for.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let times = times(&format!("/proc/{pid}/stat"))?;
    Ok(times.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// CPU seconds of the children of this process that it has waited for.
pub fn children_cpu_seconds() -> anyhow::Result<f64> {
    let times = times("/proc/self/stat")?;
    Ok(times[2..].iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// utime, stime, cutime and cstime, in ticks.
fn times(path: &str) -> anyhow::Result<Vec<f64>> {
    let stat = fs::read_to_string(path).with_context(|| format!("{path} (these benchmarks need Linux)"))?;
    let after_name = stat.rsplit_once(") ").context("no process name")?.1;
    let fields = after_name.split(' ').skip(11).take(4);
    fields.map(|field| field.parse().context("not a number")).collect()
}

/// Resident memory of a process, MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    status_mib(pid, "VmRSS:")
}

/// Peak resident memory of a process since its last exec, MiB.
pub fn peak_resident_mib(pid: u32) -> anyhow::Result<f64> {
    status_mib(pid, "VmHWM:")
}

fn status_mib(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024.0)
}

/// Running children of a process with this program name.
pub fn children(pid: u32, name: &str) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The process may have ended since the listing.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let Some((before, after)) = stat.rsplit_once(") ") else { continue };
        let mut fields = after.split(' ');
        let is_alive = fields.next() != Some("Z");
        let is_child = fields.next().and_then(|parent| parent.parse().ok()) == Some(pid);
        if is_alive && is_child && before.ends_with(&format!("({name}")) {
            found.push(child);
        }
    }
    Ok(found)
}

/// Waits until a process has no child with this program name.
pub async fn wait_until_childless(pid: u32, name: &str) -> anyhow::Result<()> {
    wait_until(|| Ok(children(pid, name)?.is_empty())).await.with_context(|| format!("{name} does not end"))
}

/// Waits until a process has at least `count` children with this program name.
pub async fn wait_until_children(pid: u32, name: &str, count: usize) -> anyhow::Result<()> {
    wait_until(|| Ok(children(pid, name)?.len() >= count))
        .await
        .with_context(|| format!("{name} does not start"))
}

async fn wait_until(is_true: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    for _ in 0..600 {
        if is_true()? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("waited for a minute")
}
