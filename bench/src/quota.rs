//! CPU limits by control groups, version 1 or 2, whichever is mounted.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

/// Enforcement period of a quota.
const PERIOD_MICROS: u32 = 100_000;
/// Mount points of version 1's CPU controller; they differ between distributions.
const V1_MOUNTS: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];
const V2_MOUNT: &str = "/sys/fs/cgroup";

/// A control group with a CPU limit. Children of its processes belong to it too.
pub struct Quota {
    folder: PathBuf,
}

impl Quota {
    /// Creates a group that can use `cores` cores, such as 0.25.
    pub fn new(name: &str, cores: f64) -> anyhow::Result<Self> {
        let name = format!("reelmill-bench-{}-{name}", std::process::id());
        let quota_micros = (f64::from(PERIOD_MICROS) * cores) as u32;
        if let Some(root) =
            V1_MOUNTS.iter().map(Path::new).find(|root| root.join("cpu.cfs_quota_us").is_file())
        {
            let quota = Self { folder: root.join(name) };
            fs::create_dir(&quota.folder).with_context(|| quota.folder.display().to_string())?;
            fs::write(quota.folder.join("cpu.cfs_period_us"), PERIOD_MICROS.to_string())?;
            fs::write(quota.folder.join("cpu.cfs_quota_us"), quota_micros.to_string())?;
            return Ok(quota);
        }
        let root = Path::new(V2_MOUNT);
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|controller| controller == "cpu") {
            bail!("no CPU controller in {V2_MOUNT}");
        }
        fs::write(root.join("cgroup.subtree_control"), "+cpu")?;
        let quota = Self { folder: root.join(name) };
        fs::create_dir(&quota.folder).with_context(|| quota.folder.display().to_string())?;
        fs::write(quota.folder.join("cpu.max"), format!("{quota_micros} {PERIOD_MICROS}"))?;
        Ok(quota)
    }

    /// Adds a process to the group.
    pub fn add(&self, pid: u32) -> anyhow::Result<()> {
        Ok(fs::write(self.folder.join("cgroup.procs"), pid.to_string())?)
    }

    /// Whether the group has ever been throttled.
    pub fn was_throttled(&self) -> anyhow::Result<bool> {
        let stat = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(throttled.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0))
    }

    /// Removes the group. Waits for the end of its last process.
    pub async fn remove(self) -> anyhow::Result<()> {
        for _ in 0..100 {
            match fs::remove_dir(&self.folder) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                result => return Ok(result?),
            }
        }
        bail!("{} is still in use", self.folder.display())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Cleans up after an error. Fails if the group was already removed or still has a process.
        let _ = fs::remove_dir(&self.folder);
    }
}
