//! The faults: what each is called, what it hits, how it begins and ends.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, ROLES, ffmpeg_path},
    gate::Mode,
    servers::QUEUE,
    sqs_proxy::Delivery,
};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a start after the time of the fault.
    Kill(Role),
    /// SIGSTOP, then SIGCONT.
    Pause(Role),
    /// All connections to all replicas of a role are cut and refused.
    Partition(Role),
    /// A replica is restarted with a clock that is off by an hour, and again with the right one.
    Clock(Role, Skew),
    /// A server is killed and started at once.
    Restart(Server),
    /// A server is killed, and started after the time of the fault.
    Absent(Server),
    /// All messages are gone.
    QueuePurged,
    QueueTwice,
    QueueLate,
    /// The object store answers every request with 403 or 500.
    ObjectsStatus(u16),
    ObjectsSlow,
    /// The object store resets connections in the middle of its answers.
    ObjectsCut,
    /// A worker's disk is full.
    ScratchFull,
    /// A worker's ffmpeg fails from now on.
    FfmpegBroken,
}

/// A role, by its index in [`ROLES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role(usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Postgres,
    Redis,
    Queue,
    Objects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    Ahead,
    Behind,
}

/// Bytes that a cut connection forwards before.
const CUT_AFTER: usize = 40_000;
/// Longest delay of a late message, seconds.
const LATE_SECONDS: u64 = 15;

impl Role {
    fn name(self) -> &'static str {
        ROLES[self.0].0
    }
}

impl Fault {
    /// All faults.
    pub fn all() -> Vec<Self> {
        let roles = || (0..ROLES.len()).map(Role);
        let servers = [Server::Postgres, Server::Redis, Server::Queue, Server::Objects];
        let mut all: Vec<Self> = roles().flat_map(|role| [Self::Kill(role), Self::Pause(role)]).collect();
        all.extend(roles().filter(|role| role.name() != "worker").map(Self::Partition));
        all.extend(roles().flat_map(|role| [Skew::Ahead, Skew::Behind].map(|skew| Self::Clock(role, skew))));
        all.extend(servers.into_iter().flat_map(|server| [Self::Restart(server), Self::Absent(server)]));
        all.extend([Self::QueuePurged, Self::QueueTwice, Self::QueueLate]);
        all.extend([Self::ObjectsStatus(403), Self::ObjectsStatus(500), Self::ObjectsSlow, Self::ObjectsCut]);
        all.extend([Self::ScratchFull, Self::FfmpegBroken]);
        all
    }

    /// Its name, in `only=` and `without=`.
    pub fn name(self) -> String {
        match self {
            Self::Kill(role) => format!("kill-{}", role.name()),
            Self::Pause(role) => format!("pause-{}", role.name()),
            Self::Partition(role) => format!("partition-{}", role.name()),
            Self::Clock(role, Skew::Ahead) => format!("clock-ahead-{}", role.name()),
            Self::Clock(role, Skew::Behind) => format!("clock-behind-{}", role.name()),
            Self::Restart(server) => format!("restart-{}", server.name()),
            Self::Absent(server) => format!("absent-{}", server.name()),
            Self::QueuePurged => "queue-purged".to_owned(),
            Self::QueueTwice => "queue-twice".to_owned(),
            Self::QueueLate => "queue-late".to_owned(),
            Self::ObjectsStatus(status) => format!("objects-{status}"),
            Self::ObjectsSlow => "objects-slow".to_owned(),
            Self::ObjectsCut => "objects-cut".to_owned(),
            Self::ScratchFull => "scratch-full".to_owned(),
            Self::FfmpegBroken => "ffmpeg-broken".to_owned(),
        }
    }

    /// Whether it ends at once, so that it has no duration.
    pub fn is_instant(self) -> bool {
        matches!(self, Self::Restart(_) | Self::QueuePurged)
    }

    /// Number of replicas that it may hit; 1 if it hits something else.
    pub fn replicas(self) -> usize {
        match self {
            Self::Kill(role) | Self::Pause(role) | Self::Clock(role, _) => ROLES[role.0].2,
            Self::FfmpegBroken => ROLES[ROLES.len() - 1].2,
            _ => 1,
        }
    }

    /// What it hits: no two faults hit the same at the same time.
    pub fn target(self, replica: usize) -> String {
        match self {
            Self::Kill(role) | Self::Pause(role) | Self::Clock(role, _) => {
                format!("{}-{replica}", role.name())
            }
            Self::FfmpegBroken => format!("worker-{replica}"),
            Self::ScratchFull => "worker-1".to_owned(),
            Self::Partition(role) => format!("{} connections", role.name()),
            Self::Restart(server) | Self::Absent(server) => server.name().to_owned(),
            Self::QueuePurged | Self::QueueTwice | Self::QueueLate => Server::Queue.name().to_owned(),
            Self::ObjectsStatus(_) | Self::ObjectsSlow | Self::ObjectsCut => {
                Server::Objects.name().to_owned()
            }
        }
    }

    /// Why it cannot be injected on this machine, if so.
    pub fn unavailable(self, cluster: &Cluster) -> Option<&'static str> {
        match self {
            Self::Clock(..) if faketime_library().is_none() => Some("libfaketime is not installed"),
            Self::ScratchFull if cluster.small_disk().is_none() => Some("mounting a small disk needs root"),
            _ => None,
        }
    }

    /// Injects it, waits, and ends it.
    pub async fn inject(self, cluster: &Cluster, replica: usize, duration: Duration) -> Result<()> {
        match self {
            Self::Kill(role) => {
                let mut process = cluster.replica(role.name(), replica).await?;
                process.kill().await?;
                sleep(duration).await;
                process.start(&[])
            }
            Self::Pause(role) => {
                let process = cluster.replica(role.name(), replica).await?;
                process.signal(Signal::STOP)?;
                sleep(duration).await;
                process.signal(Signal::CONT)
            }
            Self::Partition(role) => {
                let gate = cluster.gate(role.name()).context("a role with a gate")?;
                during(|mode| gate.set(mode), Mode::Closed, Mode::Open, duration).await
            }
            Self::Clock(role, skew) => {
                let variables = skewed(skew).context("libfaketime")?;
                let mut process = cluster.replica(role.name(), replica).await?;
                process.kill().await?;
                process.start(&variables)?;
                sleep(duration).await;
                process.kill().await?;
                process.start(&[])
            }
            Self::Restart(server) => server.start(cluster).await,
            Self::Absent(server) => {
                server.stop(cluster).await?;
                sleep(duration).await;
                server.start(cluster).await
            }
            Self::QueuePurged => cluster.servers.sqs_proxy.purge(QUEUE).await,
            Self::QueueTwice | Self::QueueLate => {
                let proxy = &cluster.servers.sqs_proxy;
                let delivery =
                    if self == Self::QueueTwice { Delivery::Twice } else { Delivery::Late(LATE_SECONDS) };
                during(|delivery| proxy.set(delivery), delivery, Delivery::Normal, duration).await
            }
            Self::ObjectsStatus(status) => objects(cluster, Mode::Status(status), duration).await,
            Self::ObjectsSlow => objects(cluster, Mode::Slow, duration).await,
            Self::ObjectsCut => objects(cluster, Mode::Cut(CUT_AFTER), duration).await,
            Self::ScratchFull => {
                let filler = cluster.small_disk().context("a small disk")?.join("filler");
                fill(&filler)?;
                sleep(duration).await;
                Ok(std::fs::remove_file(filler)?)
            }
            Self::FfmpegBroken => {
                let link = cluster.ffmpeg_link(replica);
                replace_link(&link, Path::new("/bin/false"))?;
                sleep(duration).await;
                replace_link(&link, &ffmpeg_path()?)
            }
        }
    }
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Queue => "queue",
            Self::Objects => "objects",
        }
    }

    async fn stop(self, cluster: &Cluster) -> Result<()> {
        let servers = &cluster.servers;
        match self {
            Self::Postgres => servers.postgres.stop().await,
            Self::Redis => servers.redis.stop().await,
            Self::Queue => servers.sqs.stop().await,
            Self::Objects => servers.objects.stop().await,
        }
    }

    /// Kills it if it is running, and starts it. Redis and the queue lose all data.
    async fn start(self, cluster: &Cluster) -> Result<()> {
        let servers = &cluster.servers;
        match self {
            Self::Postgres => servers.postgres.restart().await,
            Self::Redis => servers.redis.restart().await,
            Self::Queue => servers.sqs.restart().await,
            Self::Objects => servers.objects.restart().await,
        }
    }
}

async fn objects(cluster: &Cluster, mode: Mode, duration: Duration) -> Result<()> {
    let gate = &cluster.servers.objects_gate;
    during(|mode| gate.set(mode), mode, Mode::Open, duration).await
}

async fn during<T>(set: impl Fn(T), fault: T, normal: T, duration: Duration) -> Result<()> {
    set(fault);
    sleep(duration).await;
    set(normal);
    Ok(())
}

/// The library that changes the clock of a process.
fn faketime_library() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let path = |folder: &&str| Path::new(folder).join("faketime/libfaketime.so.1");
    folders.iter().map(path).find(|path| path.is_file())
}

fn skewed(skew: Skew) -> Option<Vec<(String, String)>> {
    let library = faketime_library()?.display().to_string();
    let offset = match skew {
        Skew::Ahead => "+3600s",
        Skew::Behind => "-3600s",
    };
    let variables = [("LD_PRELOAD", library.as_str()), ("FAKETIME", offset), ("DONT_FAKE_MONOTONIC", "1")];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Some(variables.into_iter().map(owned).collect())
}

/// Writes a file until the disk is full.
fn fill(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    let block = vec![0; 1 << 20];
    loop {
        match file.write_all(&block) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Points a symbolic link to another file.
fn replace_link(link: &Path, target: &Path) -> Result<()> {
    let new = link.with_extension("new");
    std::os::unix::fs::symlink(target, &new)?;
    Ok(std::fs::rename(new, link)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct() {
        let all = Fault::all();
        let names: BTreeSet<String> = all.iter().map(|fault| fault.name()).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.contains("kill-worker") && names.contains("absent-postgres"));
    }
}
