//! Postgres.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{process::Command, sync::Mutex};

use crate::{
    process::{Server, ServerCommand, User, free_ports},
    tools::postgres_program,
};

const USER: &str = "reelmill";
/// Nothing is forced to the disk: tests kill the server and its clients, never the machine. But commits are synchronous:
/// otherwise a killed server loses those of the last moments, which it has acknowledged.
const SETTINGS: [&str; 5] = [
    "fsync=off",
    "full_page_writes=off",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=32MB",
];

/// A Postgres server.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    server: Mutex<Server>,
}

impl Postgres {
    /// Creates a cluster and starts it. Under root it runs as the user `postgres`: Postgres refuses to run as root.
    pub async fn start() -> Result<Self> {
        let user = if rustix::process::geteuid().is_root() { Some(postgres_user()?) } else { None };
        let folder = Server::create_folder("postgres", user)?;
        let data = folder.join("data");
        initdb(&data, user).await?;
        let [port] = free_ports()?;
        let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
        arguments.extend(["-h", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned));
        arguments.extend(SETTINGS.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]));
        let command = ServerCommand {
            program: postgres_program("postgres")?,
            arguments,
            environment: Vec::new(),
            // "Immediate shutdown", which also frees its shared memory.
            signal: "QUIT",
            user,
        };
        let mut server = Server::start(folder, command)?;
        wait_until_ready(&mut server, port).await?;
        Ok(Self { port, server: Mutex::new(server) })
    }

    /// Kills the server.
    pub async fn stop(&self) -> Result<()> {
        self.server.lock().await.stop()
    }

    /// Kills the server if it is running, and starts it on the same port with the same data.
    pub async fn restart(&self) -> Result<()> {
        let mut server = self.server.lock().await;
        server.stop()?;
        server.spawn()?;
        wait_until_ready(&mut server, self.port).await
    }

    /// Executes SQL in a database.
    pub async fn execute(&self, database: &str, sql: &str) -> Result<()> {
        self.query(database, sql).await.map(drop)
    }

    /// Executes SQL in a database and returns the rows, their columns separated by `|`.
    pub async fn query(&self, database: &str, sql: &str) -> Result<Vec<String>> {
        let port = self.port.to_string();
        let output = Command::new(postgres_program("psql")?)
            .args(["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", database, "-v", "ON_ERROR_STOP=1"])
            .args(["-q", "-A", "-t", "-c", sql])
            .output()
            .await?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        let rows = String::from_utf8(output.stdout)?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// Creates an empty database and returns its URL.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let port = self.port.to_string();
        let output = Command::new(postgres_program("createdb")?)
            .args(["-h", "127.0.0.1", "-p", &port, "-U", USER, "--maintenance-db=postgres", name])
            .output()
            .await?;
        if !output.status.success() {
            bail!("createdb {name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(format!("postgres://{USER}@127.0.0.1:{port}/{name}"))
    }
}

async fn wait_until_ready(server: &mut Server, port: u16) -> Result<()> {
    let pg_isready = postgres_program("pg_isready")?;
    server
        .wait_until_ready(Duration::from_secs(30), || async {
            let mut command = Command::new(&pg_isready);
            command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            command.status().await.is_ok_and(|status| status.success())
        })
        .await
}

async fn initdb(data: &Path, user: Option<User>) -> Result<()> {
    let mut command = Command::new(postgres_program("initdb")?);
    command
        .args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
        .arg(data)
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    let output = command.output().await?;
    if !output.status.success() {
        bail!("initdb: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The ids of the user `postgres`.
fn postgres_user() -> Result<User> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let fields: Vec<&str> =
        line.context("there is no user `postgres` to run Postgres as")?.split(':').collect();
    match fields.as_slice() {
        [_, _, uid, gid, ..] => Ok(User { uid: uid.parse()?, gid: gid.parse()? }),
        _ => bail!("/etc/passwd has no ids for `postgres`"),
    }
}
