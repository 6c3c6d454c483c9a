//! The `reelmill` program: all roles in one process, a single role, and the client.

mod addresses;
mod admin;
mod config;
mod data_dir;
mod ffmpeg_check;
mod role_context;
mod roles;
mod shutdown;
mod single_role;
mod up;

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use reelmill_client::{ClientCommand, ClientOptions};
use reelmill_mesh::telemetry;

use crate::{admin::AdminOptions, config::LogFormat, single_role::Role};

/// Reelmill: a self-hosted video backend.
#[derive(Parser)]
#[command(name = "reelmill", version, arg_required_else_help = true, after_help = reelmill_client::EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    client: ClientOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Client(ClientCommand),
    #[command(flatten)]
    Server(ServerCommand),
    /// Commands for the operator: what waits and runs, workers, dead letters, pause and drain
    #[command(after_help = reelmill_client::EXIT_CODES)]
    Admin {
        #[command(flatten)]
        role: RoleOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

#[derive(Subcommand)]
enum ServerCommand {
    /// Runs all roles in one process, on embedded backends unless configured otherwise
    Up(UpOptions),
    /// Runs the gateway as a process of its own
    Gateway(RoleOptions),
    /// Runs the auth service as a process of its own
    Auth(RoleOptions),
    /// Runs the upload service as a process of its own (also `reelmill upload --config FILE`)
    UploadService(RoleOptions),
    /// Runs the transcode service as a process of its own
    Transcode(RoleOptions),
    /// Runs one worker as a process of its own
    Worker(RoleOptions),
    /// Prints the effective configuration with secrets hidden
    Config(RoleOptions),
}

#[derive(Args)]
struct UpOptions {
    #[command(flatten)]
    role: RoleOptions,
    /// Address to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Scheme and host of the URLs that are returned to clients [default: those the client used]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

#[derive(Args)]
struct RoleOptions {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "REELMILL_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Folder of the embedded backends [default: ./data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Confines this process and executes ffmpeg. Before any thread is started.
    if std::env::args_os().nth(1).is_some_and(|command| command == roles::JAIL_COMMAND) {
        return reelmill_jail::main(std::env::args_os().skip(2));
    }
    // Before the first TLS connection: several libraries panic without a default provider.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse_from(select_upload_role(std::env::args_os().collect()));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return print_error(&error.into()),
    };
    match cli.command {
        Command::Client(command) => runtime.block_on(reelmill_client::run(cli.client, command)),
        Command::Admin { role, admin } => {
            let json = cli.client.json;
            let run = async { admin::run(admin.command, &load(role, Vec::new())?, json).await };
            runtime.block_on(run).unwrap_or_else(|error| print_error(&error))
        }
        Command::Server(command) => match runtime.block_on(serve(command)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => print_error(&error),
        },
    }
}

/// Distinguishes the client command `reelmill upload FILE...` from the role `reelmill upload --config FILE`.
fn select_upload_role(mut args: Vec<OsString>) -> Vec<OsString> {
    let option = |arg: &OsString| arg.to_str().and_then(|arg| arg.split('=').next().map(str::to_owned));
    let has = |name: &str| args.iter().any(|arg| option(arg).as_deref() == Some(name));
    let configured = has("--config") || has("--data-dir");
    let by_variable = args.len() == 2 && std::env::var_os("REELMILL_CONFIG").is_some();
    if args.get(1).is_some_and(|arg| arg == "upload") && (configured || by_variable) {
        args[1] = "upload-service".into();
    }
    args
}

async fn serve(command: ServerCommand) -> anyhow::Result<()> {
    // Files that a role writes are readable by its own user only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_open_files_limit();
    let (role, options, flags) = match command {
        ServerCommand::Up(UpOptions { role, listen, public_url }) => {
            let flags = [("gateway.listen", listen), ("gateway.public_url", public_url)];
            (None, role, flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
        }
        ServerCommand::Gateway(options) => (Some(Role::Gateway), options, Vec::new()),
        ServerCommand::Auth(options) => (Some(Role::Auth), options, Vec::new()),
        ServerCommand::UploadService(options) => (Some(Role::Upload), options, Vec::new()),
        ServerCommand::Transcode(options) => (Some(Role::Transcode), options, Vec::new()),
        ServerCommand::Worker(options) => (Some(Role::Worker), options, Vec::new()),
        ServerCommand::Config(options) => {
            let config = load(options, Vec::new())?;
            return Ok(std::io::stdout().write_all(config.printable()?.as_bytes())?);
        }
    };
    let config = load(options, flags)?;
    let format = match config.log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::init(&config.log.filter, format).map_err(|error| anyhow::anyhow!("log.filter: {error}"))?;
    match role {
        None => up::run(config).await,
        Some(role) => single_role::run(role, config).await,
    }
}

/// Raises the soft limit of open files to the hard limit, best effort: the usual 1,024 is too low for the sockets, blobs
/// and pipes of many concurrent calls.
fn raise_open_files_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn load(options: RoleOptions, mut flags: config::Flags) -> anyhow::Result<config::Config> {
    if let Some(dir) = options.data_dir {
        flags.push(("data.dir", dir.to_string_lossy().into_owned()));
    }
    config::load(options.config.as_deref(), flags)
}

/// Prints an error and its causes on one line.
fn print_error(error: &anyhow::Error) -> ExitCode {
    // Skips a cause whose text an outer error already includes.
    let mut line = String::new();
    for cause in error.chain().map(|cause| cause.to_string().replace('\n', " ")) {
        if !line.contains(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    let _ = writeln!(std::io::stderr(), "reelmill: {line}");
    ExitCode::FAILURE
}
