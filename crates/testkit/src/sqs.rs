//! SQS, provided by ministack.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::Mutex;

use crate::{
    process::{Server, ServerCommand, accepts_connections, free_ports},
    tools::python_tool,
};

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// An SQS server without persistence: a restart loses all queues.
#[derive(Debug)]
pub struct Sqs {
    port: u16,
    server: Mutex<Server>,
}

impl Sqs {
    /// Starts a server.
    pub async fn start() -> Result<Self> {
        let [port] = free_ports()?;
        let folder = Server::create_folder("sqs", None)?;
        let environment = vec![
            ("BIND_HOST", "127.0.0.1".to_owned()),
            ("GATEWAY_PORT", port.to_string()),
            ("MINISTACK_HOST", "127.0.0.1".to_owned()),
            ("SERVICES", "sqs".to_owned()),
            ("TMPDIR", folder.display().to_string()),
        ];
        let command = ServerCommand {
            program: python_tool("ministack")?,
            arguments: Vec::new(),
            environment,
            signal: "KILL",
            user: None,
        };
        let mut server = Server::start(folder, command)?;
        server.wait_until_ready(START_TIMEOUT, || accepts_connections(port)).await?;
        Ok(Self { port, server: Mutex::new(server) })
    }

    /// `sqs+http://127.0.0.1:PORT/000000000000/NAME`. The queue is not created.
    pub fn queue_url(&self, name: &str) -> String {
        format!("sqs+http://127.0.0.1:{}/000000000000/{name}", self.port)
    }

    /// The region: `us-east-1`.
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }

    /// The access key id: `test`.
    pub fn access_key_id(&self) -> &'static str {
        "test"
    }

    /// The secret access key: `test`.
    pub fn secret_access_key(&self) -> &'static str {
        "test"
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
        server.wait_until_ready(START_TIMEOUT, || accepts_connections(self.port)).await
    }
}
