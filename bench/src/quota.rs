//! A share of a core, by a control group's CPU quota: version 1 or 2, whichever the kernel has mounted.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

/// The time over which a quota is counted, microseconds.
const PERIOD: u32 = 100_000;
/// Where version 1's CPU controller is mounted, by distribution.
const V1: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];
const V2: &str = "/sys/fs/cgroup";

/// A control group of its own. What is started by a process in it is in it too.
pub struct Quota {
    folder: PathBuf,
}

impl Quota {
    /// Makes a group that may use that much of one core.
    pub fn new(name: &str, cores: f64) -> anyhow::Result<Self> {
        let name = format!("reelmill-bench-{}-{name}", std::process::id());
        let micros = (f64::from(PERIOD) * cores) as u32;
        if let Some(root) = V1.iter().map(Path::new).find(|root| root.join("cpu.cfs_quota_us").is_file()) {
            let quota = Self { folder: root.join(name) };
            fs::create_dir(&quota.folder).with_context(|| quota.folder.display().to_string())?;
            fs::write(quota.folder.join("cpu.cfs_period_us"), PERIOD.to_string())?;
            fs::write(quota.folder.join("cpu.cfs_quota_us"), micros.to_string())?;
            return Ok(quota);
        }
        let root = Path::new(V2);
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|controller| controller == "cpu") {
            bail!("no CPU controller in {V2}");
        }
        fs::write(root.join("cgroup.subtree_control"), "+cpu")?;
        let quota = Self { folder: root.join(name) };
        fs::create_dir(&quota.folder).with_context(|| quota.folder.display().to_string())?;
        fs::write(quota.folder.join("cpu.max"), format!("{micros} {PERIOD}"))?;
        Ok(quota)
    }

    /// Puts a process into the group.
    pub fn hold(&self, pid: u32) -> anyhow::Result<()> {
        Ok(fs::write(self.folder.join("cgroup.procs"), pid.to_string())?)
    }

    /// Whether anything in the group ever had to wait for the next period.
    pub fn was_felt(&self) -> anyhow::Result<bool> {
        let stat = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
        Ok(throttled.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0))
    }

    /// Removes the group, once the last process in it is gone.
    pub async fn remove(self) -> anyhow::Result<()> {
        for _ in 0..100 {
            match fs::remove_dir(&self.folder) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                done => return Ok(done?),
            }
        }
        bail!("{} is still in use", self.folder.display())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // After a failure; an error means that it is gone, or that a process in it lives on.
        let _gone = fs::remove_dir(&self.folder);
    }
}
