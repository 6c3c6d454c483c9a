//! What the system uses at a moment: memory, file handles, rows and objects.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::{
    cluster::Cluster,
    servers::{DATABASES, Servers},
};

/// A sample.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Resident memory of each process, bytes.
    pub memory: BTreeMap<String, u64>,
    /// Open file handles of each process.
    pub handles: BTreeMap<String, u64>,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// Objects in the bucket.
    pub objects: u64,
}

impl Usage {
    /// Measures all processes and servers.
    pub async fn measure(cluster: &Cluster) -> Result<Self> {
        let mut usage = Self {
            objects: u64::try_from(cluster.servers.object_keys().await?.len())?,
            rows: rows(&cluster.servers).await?,
            ..Self::default()
        };
        for (name, pid) in cluster.pids().await {
            usage.memory.insert(name.clone(), resident_bytes(pid)?);
            let handles = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
            usage.handles.insert(name, u64::try_from(handles)?);
        }
        Ok(usage)
    }
}

fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("a line VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib * 1024)
}

async fn rows(servers: &Servers) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for database in DATABASES {
        let tables = servers
            .postgres
            .query(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
            .await?;
        for table in tables {
            let count = servers.postgres.query(database, &format!("SELECT count(*) FROM {table}")).await?;
            let count = count.first().context("a count")?.parse()?;
            all.insert(format!("{database}.{table}"), count);
        }
    }
    Ok(all)
}
