//! The system under test: five roles apart, on real servers.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};

use crate::{
    gate::Gate,
    roles::{RoleProcess, config_file},
    servers::Servers,
    small_disk::SmallDisk,
};

/// The shipped configuration of five processes.
const CONFIG: &str = include_str!("../../../deploy/production.toml");
/// Each role, the command that starts it, and its replicas.
pub const ROLES: [(&str, &str, usize); 5] = [
    ("auth", "auth", 2),
    ("transcode", "transcode", 2),
    ("upload", "upload-service", 2),
    ("gateway", "gateway", 2),
    ("worker", "worker", 3),
];
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// The system under test. Dropped, it kills its processes, unmounts the small disk and stops the servers.
pub struct Cluster {
    processes: Vec<Mutex<RoleProcess>>,
    /// The scratch folder of the first worker, if it has a file system of its own.
    small_disk: Option<SmallDisk>,
    /// In front of the replicas of auth, transcode, upload and gateway.
    pub gates: Vec<(&'static str, Gate)>,
    pub servers: Servers,
    folder: PathBuf,
}

impl Cluster {
    /// Prepares everything in a folder, but starts no role.
    pub async fn prepare(folder: &Path, servers: Servers) -> Result<Self> {
        std::fs::write(config_file(folder), CONFIG)?;
        let mut variables = servers.variables();
        variables.extend(secrets(folder)?);
        let small_disk = SmallDisk::mount(folder.join("small-disk"));
        let mut gates = Vec::new();
        let mut replicas = Vec::new();
        for (role, command, count) in ROLES {
            let ports = free_ports(count)?;
            let addresses: Vec<SocketAddr> =
                ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect();
            if role != "worker" {
                let gate = Gate::start(addresses.clone()).await?;
                variables.push((format!("REELMILL_{}__ADDRESS", role.to_uppercase()), gate.url()));
                gates.push((role, gate));
            }
            replicas.push((role, command, addresses));
        }
        // The gateway has no address: other roles do not call it.
        variables.retain(|(key, _)| key != "REELMILL_GATEWAY__ADDRESS");
        let mut processes = Vec::new();
        for (role, command, addresses) in replicas {
            for (index, address) in addresses.iter().enumerate() {
                let name = format!("{role}-{}", index + 1);
                let mut own = variables.clone();
                let mut set = |key: &str, value: String| own.push((format!("REELMILL_{key}"), value));
                set("DATA__DIR", folder.join(&name).display().to_string());
                if role == "worker" {
                    set("WORKER__NAME", name.clone());
                    set("WORKER__SLOTS", "1".to_owned());
                    set("WORKER__EXPRESS_SLOTS", "1".to_owned());
                    let scratch =
                        small_disk.as_ref().filter(|_| index == 0).map(|disk| disk.path().to_owned());
                    let scratch = scratch.unwrap_or_else(|| folder.join(format!("{name}-scratch")));
                    set("WORKER__SCRATCH_DIR", scratch.display().to_string());
                    let ffmpeg = folder.join(format!("{name}-ffmpeg"));
                    std::os::unix::fs::symlink(ffmpeg_path()?, &ffmpeg)?;
                    set("WORKER__FFMPEG", ffmpeg.display().to_string());
                } else {
                    set(&format!("{}__LISTEN", role.to_uppercase()), address.to_string());
                }
                processes.push(Mutex::new(RoleProcess::new(name, command, folder, own)));
            }
        }
        Ok(Self { processes, small_disk, gates, servers, folder: folder.to_owned() })
    }

    /// Starts all roles, and waits until they are ready.
    pub async fn start(&self) -> Result<()> {
        for process in &self.processes {
            process.lock().await.start(&[])?;
        }
        self.wait_until_ready().await
    }

    /// URL of the gateway.
    pub fn url(&self) -> String {
        self.gate("gateway").map(Gate::url).unwrap_or_default()
    }

    /// The proxy in front of a role.
    pub fn gate(&self, role: &str) -> Option<&Gate> {
        self.gates.iter().find(|(name, _)| *name == role).map(|(_, gate)| gate)
    }

    /// A replica of a role, from 1.
    pub async fn replica(&self, role: &str, replica: usize) -> Result<MutexGuard<'_, RoleProcess>> {
        let name = format!("{role}-{replica}");
        for process in &self.processes {
            let process = process.lock().await;
            if process.name == name {
                return Ok(process);
            }
        }
        bail!("there is no {name}")
    }

    /// The scratch folder that can be filled.
    pub fn small_disk(&self) -> Option<&Path> {
        self.small_disk.as_ref().map(SmallDisk::path)
    }

    /// The symbolic link to a worker's ffmpeg.
    pub fn ffmpeg_link(&self, replica: usize) -> PathBuf {
        self.folder.join(format!("worker-{replica}-ffmpeg"))
    }

    /// Waits until the gateway says that everything that it needs is there.
    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let url = format!("{}/readyz", self.url());
        loop {
            if reqwest::get(&url).await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the system was not ready in time");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Names and ids of the processes.
    pub async fn pids(&self) -> Vec<(String, u32)> {
        let mut pids = Vec::new();
        for process in &self.processes {
            let process = process.lock().await;
            pids.extend(process.pid().map(|pid| (process.name.clone(), pid)));
        }
        pids
    }

    /// Processes that ended by themselves, and how.
    pub async fn ended(&self) -> Vec<String> {
        let mut ended = Vec::new();
        for process in &self.processes {
            let mut process = process.lock().await;
            if let Some(status) = process.ended() {
                ended.push(format!("{} {status}", process.name));
            }
        }
        ended
    }

    /// Kills all processes, and waits until they have ended.
    pub async fn stop(&self) -> Result<()> {
        for process in &self.processes {
            process.lock().await.kill().await?;
        }
        Ok(())
    }
}

/// Path of ffmpeg.
pub fn ffmpeg_path() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("PATH is not set")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join("ffmpeg")).find(|path| path.is_file());
    found.context("ffmpeg is not installed")
}

/// Distinct ports that were free at the time of the call.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<_>> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// New secrets, as configuration.
fn secrets(folder: &Path) -> Result<Vec<(String, String)>> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let key = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&random)?;
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(key.as_ref())
    );
    let path = folder.join("signing-key.pem");
    std::fs::write(&path, pem)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let variables = [
        ("SECRETS__SIGNING_KEY_FILE", path.display().to_string()),
        ("SECRETS__MESH_KEY", "a-mesh-key-for-the-suite-that-injects-faults".to_owned()),
        ("SECRETS__MESH_KEY_FILE", String::new()),
        ("SECRETS__PLAYBACK_KEY", "a-playback-key-for-the-suite-that-injects-faults".to_owned()),
        ("SECRETS__PLAYBACK_KEY_FILE", String::new()),
        ("GATEWAY__PUBLIC_URL", String::new()),
    ];
    Ok(variables.map(|(key, value)| (format!("REELMILL_{key}"), value)).into())
}
