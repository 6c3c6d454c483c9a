//! Redis.

use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::process::{Recipe, Server, free_ports};
use crate::tools::system_program;

const START_TIMEOUT: Duration = Duration::from_secs(15);

/// A Redis server that writes nothing to disk: a restart loses all.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    server: Mutex<Server>,
}

impl Redis {
    /// Starts a server.
    pub async fn start() -> Result<Self> {
        let [port] = free_ports()?;
        let folder = Server::folder("redis", None)?;
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let recipe = Recipe {
            program: system_program("redis-server")?,
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            signal: "KILL",
            user: None,
        };
        let mut server = Server::start(folder, recipe)?;
        server.until_ready(START_TIMEOUT, || pings(port)).await?;
        Ok(Self { port, server: Mutex::new(server) })
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server.
    pub async fn stop(&self) -> Result<()> {
        self.server.lock().await.stop()
    }

    /// Kills the server if it runs, and starts it on the same port.
    pub async fn restart(&self) -> Result<()> {
        let mut server = self.server.lock().await;
        server.stop()?;
        server.spawn()?;
        server.until_ready(START_TIMEOUT, || pings(self.port)).await
    }

    /// Sends one command in Redis's inline form (`SCRIPT FLUSH`) and gives the first bytes of the answer.
    pub async fn command(&self, command: &str) -> Result<String> {
        Ok(ask(self.port, command).await?)
    }
}

async fn pings(port: u16) -> bool {
    ask(port, "PING").await.is_ok_and(|answer| answer.starts_with("+PONG"))
}

async fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
