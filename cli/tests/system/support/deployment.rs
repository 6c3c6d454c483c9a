//! A running system in a temporary folder: one process, or five on real servers.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reelmill_testkit::{Postgres, Redis, SeaweedFs, Sqs};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// One process of the system.
pub struct RoleProcess {
    pub child: Child,
    log: PathBuf,
}

/// The configuration of five processes.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/production.toml");

/// A running system.
pub struct Deployment {
    pub folder: tempfile::TempDir,
    pub server: String,
    pub roles: Vec<(&'static str, RoleProcess)>,
    backends: Option<Backends>,
}

/// The real servers that the five processes use.
pub struct Backends {
    pub postgres: Postgres,
    pub redis: Redis,
    pub sqs: Sqs,
    _objects: SeaweedFs,
    variables: Vec<(String, String)>,
}

impl RoleProcess {
    /// Starts `reelmill ARGS…` in a folder, with its log in a file there.
    pub fn start(folder: &Path, args: &[&str], variables: &[(String, String)]) -> Self {
        let number = std::fs::read_dir(folder).unwrap().count();
        let log = folder.join(format!("{}-{number}.log", args[0]));
        let child = Command::new(env!("CARGO_BIN_EXE_reelmill"))
            .args(args)
            .envs(variables.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Waits for the line of its output that has an address, and returns the address.
    pub async fn address(&mut self) -> String {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let found = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(at) = line.find("http://127.0.0.1:") {
                    return line[at..].split_whitespace().next().unwrap().to_owned();
                }
            }
            panic!("the process ended during its start:\n{}", self.log());
        });
        let address =
            found.await.unwrap_or_else(|_| panic!("the process did not start in time:\n{}", self.log()));
        // Keep reading, so that the process never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        address
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends SIGTERM and returns the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("-TERM").await
    }

    /// Sends SIGINT, like Ctrl-C, and returns the exit code.
    pub async fn interrupt(&mut self) -> Option<i32> {
        self.signal("-INT").await
    }

    async fn signal(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().expect("a running process");
        let sent = Command::new("kill").args([signal, &pid.to_string()]).status().await.unwrap();
        assert!(sent.success());
        let ended = timeout(STOP_TIMEOUT, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the process did not stop in time:\n{}", self.log())).unwrap().code()
    }
}

impl Deployment {
    /// All roles in one process, on embedded backends.
    pub async fn single_process() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut deployment = Self { folder, server: String::new(), roles: Vec::new(), backends: None };
        deployment.up("127.0.0.1:0").await;
        deployment
    }

    /// Starts or restarts the single process.
    pub async fn up(&mut self, listen: &str) {
        let mut role = RoleProcess::start(self.folder.path(), &["up", "--listen", listen], &[]);
        self.server = role.address().await;
        self.roles.push(("up", role));
    }

    /// The five roles as separate processes on Postgres, Redis, SQS and S3, with the configuration in deploy/.
    pub async fn distributed() -> Self {
        let mut deployment = Self::backends_only().await;
        deployment.start_all().await;
        deployment.wait_until_ready().await;
        deployment
    }

    /// Waits until all roles serve and reach what they depend on.
    pub async fn wait_until_ready(&self) {
        let ready = timeout(START_TIMEOUT, async {
            while self.readiness().await.0 != 200 {
                sleep(Duration::from_millis(50)).await;
            }
        });
        ready.await.unwrap_or_else(|_| panic!("not ready in time:\n{}", self.logs()));
    }

    /// Status and body of `/readyz`.
    pub async fn readiness(&self) -> (u16, String) {
        let response = reqwest::get(format!("{}/readyz", self.server)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The same before its roles are started.
    pub async fn backends_only() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backends = Backends::start(folder.path()).await;
        Self { folder, server: String::new(), roles: Vec::new(), backends: Some(backends) }
    }

    /// Starts the five roles.
    pub async fn start_all(&mut self) {
        for role in ["auth", "transcode", "upload", "gateway", "worker"] {
            self.start(role).await;
        }
    }

    /// The backends of a distributed deployment.
    pub fn backends(&self) -> &Backends {
        self.backends.as_ref().expect("a distributed deployment")
    }

    /// The arguments that name the configuration.
    pub fn config_args(&self) -> Vec<&'static str> {
        match self.backends {
            Some(_) => vec!["--config", CONFIG],
            None => Vec::new(),
        }
    }

    /// The variables of the configuration.
    pub fn variables(&self) -> &[(String, String)] {
        self.backends.as_ref().map_or(&[], |backends| &backends.variables)
    }

    /// Starts or restarts one role.
    pub async fn start(&mut self, name: &'static str) {
        assert!(self.backends.is_some(), "a distributed deployment");
        let mut role = RoleProcess::start(self.folder.path(), &[name, "--config", CONFIG], self.variables());
        if name == "gateway" {
            self.server = role.address().await;
        }
        self.roles.push((name, role));
    }

    /// Removes a role from the deployment, to kill it.
    pub fn take(&mut self, name: &str) -> RoleProcess {
        let index = self.roles.iter().position(|(role, _)| *role == name).expect("a role of that name");
        self.roles.remove(index).1
    }

    /// Stops all processes; each must exit with 0.
    pub async fn stop(mut self) {
        for (name, role) in self.roles.iter_mut().rev() {
            assert_eq!(role.terminate().await, Some(0), "{name}:\n{}", role.log());
        }
    }

    /// The logs of all roles, for failure messages.
    pub fn logs(&self) -> String {
        self.roles.iter().map(|(name, role)| format!("--- {name}\n{}\n", role.log())).collect()
    }
}

impl Backends {
    async fn start(folder: &Path) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (postgres, redis, sqs, objects) =
            tokio::join!(Postgres::start(), Redis::start(), Sqs::start(), SeaweedFs::start());
        let (postgres, redis, sqs, objects) =
            (postgres.unwrap(), redis.unwrap(), sqs.unwrap(), objects.unwrap());
        let mut variables = Vec::new();
        let mut set = |key: &str, value: String| variables.push((format!("REELMILL_{key}"), value));
        for role in ["auth", "upload", "transcode"] {
            let key = role.to_uppercase();
            set(&format!("{key}__DATABASE_URL"), postgres.create_database(role).await.unwrap());
            let socket = format!("unix://{}", folder.join(format!("{role}.sock")).display());
            set(&format!("{key}__LISTEN"), socket.clone());
            set(&format!("{key}__ADDRESS"), socket);
        }
        let signing_key = folder.join("signing-key.pem");
        std::fs::write(&signing_key, reelmill_auth::generate_signing_key()).unwrap();
        std::fs::set_permissions(&signing_key, std::fs::Permissions::from_mode(0o600)).unwrap();
        set("SECRETS__SIGNING_KEY_FILE", signing_key.display().to_string());
        set("SECRETS__MESH_KEY", "a-mesh-key-for-tests-of-32-characters".to_owned());
        set("SECRETS__MESH_KEY_FILE", String::new());
        set("SECRETS__PLAYBACK_KEY", "a-playback-key-for-tests-of-32-characters".to_owned());
        set("SECRETS__PLAYBACK_KEY_FILE", String::new());
        set("GATEWAY__LISTEN", "127.0.0.1:0".to_owned());
        set("GATEWAY__PUBLIC_URL", String::new());
        set("SHARED_STATE__URL", redis.url());
        set("QUEUE__URL", sqs.queue_url("tasks"));
        set("QUEUE__ACCESS_KEY_ID", "test".to_owned());
        set("QUEUE__SECRET_ACCESS_KEY", "test".to_owned());
        set("QUEUE__REGION", "us-east-1".to_owned());
        set("OBJECTS__REGION", "us-east-1".to_owned());
        set("OBJECTS__ENDPOINT", objects.endpoint());
        set("OBJECTS__PUBLIC_ENDPOINT", String::new());
        set("OBJECTS__PATH_STYLE", "true".to_owned());
        set("OBJECTS__ACCESS_KEY_ID", objects.access_key_id().to_owned());
        set("OBJECTS__SECRET_ACCESS_KEY", objects.secret_access_key().to_owned());
        set("WORKER__SCRATCH_DIR", folder.join("scratch").display().to_string());
        set("WORKER__DRAIN_SECONDS", "5".to_owned());
        set("DATA__DIR", folder.join("data").display().to_string());
        Self { postgres, redis, sqs, _objects: objects, variables }
    }
}

/// Runs `reelmill admin ARGS --json`, which must succeed.
pub async fn admin(deployment: &Deployment, args: &[&str]) -> Value {
    let result = try_admin(deployment, args).await;
    result.unwrap_or_else(|stderr| panic!("{args:?}: {stderr}\n{}", deployment.logs()))
}

/// Runs `reelmill admin ARGS --json`; its error output if it fails.
pub async fn try_admin(deployment: &Deployment, args: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reelmill"));
    command.arg("admin").args(args).arg("--json").args(deployment.config_args());
    command.envs(deployment.variables().iter().cloned()).current_dir(deployment.folder.path());
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}
