//! Redis.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
};

use crate::{
    process::{Server, ServerCommand, free_ports},
    tools::system_program,
};

const START_TIMEOUT: Duration = Duration::from_secs(15);

/// A Redis server without persistence: a restart loses all data.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    server: Mutex<Server>,
}

impl Redis {
    /// Starts a server.
    pub async fn start() -> Result<Self> {
        let [port] = free_ports()?;
        let folder = Server::create_folder("redis", None)?;
        let port_text = port.to_string();
        let arguments = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let command = ServerCommand {
            program: system_program("redis-server")?,
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: Vec::new(),
            signal: "KILL",
            user: None,
        };
        let mut server = Server::start(folder, command)?;
        server.wait_until_ready(START_TIMEOUT, || responds_to_ping(port)).await?;
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

    /// Kills the server if it is running, and starts it, empty, on the same port.
    pub async fn restart(&self) -> Result<()> {
        let mut server = self.server.lock().await;
        server.stop()?;
        server.spawn()?;
        server.wait_until_ready(START_TIMEOUT, || responds_to_ping(self.port)).await
    }

    /// Sends one inline command (such as `SCRIPT FLUSH`) and returns the first 4 KiB of the response.
    pub async fn command(&self, command: &str) -> Result<String> {
        Ok(send_command(self.port, command).await?)
    }
}

async fn responds_to_ping(port: u16) -> bool {
    send_command(port, "PING").await.is_ok_and(|response| response.starts_with("+PONG"))
}

async fn send_command(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await?;
    let mut response = vec![0; 4096];
    let length = stream.read(&mut response).await?;
    Ok(String::from_utf8_lossy(&response[..length]).into_owned())
}
