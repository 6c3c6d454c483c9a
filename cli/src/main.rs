//! The `reelmill` program: all roles together, one role alone, and the client.

mod alone;
mod config;
mod data_dir;
mod roles;
mod stages;
mod tools;
mod up;

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use reelmill_client::{ClientCommand, ClientOptions};
use reelmill_mesh::telemetry;

use crate::{alone::Role, config::sections::LogFormat};

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
}

#[derive(Subcommand)]
enum ServerCommand {
    /// Runs all roles in one process, on embedded backends unless configured otherwise
    Up(UpOptions),
    /// Runs the gateway by itself
    Gateway(RoleOptions),
    /// Runs the auth service by itself
    Auth(RoleOptions),
    /// Runs the upload service by itself (also `reelmill upload --config FILE`)
    UploadService(RoleOptions),
    /// Runs the transcode service by itself
    Transcode(RoleOptions),
    /// Runs one worker by itself
    Worker(RoleOptions),
    /// Prints the effective configuration, secrets hidden
    Config(RoleOptions),
}

#[derive(Args)]
struct UpOptions {
    #[command(flatten)]
    role: RoleOptions,
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What addresses handed out begin with [default: what the client came by]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

#[derive(Args)]
struct RoleOptions {
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "REELMILL_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the embedded backends [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    // ffmpeg's jail: this program confines itself and becomes the other. Before any thread is started.
    if std::env::args_os().nth(1).is_some_and(|command| command == roles::JAIL) {
        return reelmill_jail::main(std::env::args_os().skip(2));
    }
    // Before anything opens a TLS connection: several libraries panic for want of it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse_from(role_named_upload(std::env::args_os().collect()));
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    match cli.command {
        Command::Client(command) => runtime.block_on(reelmill_client::run(cli.client, command)),
        Command::Server(command) => match runtime.block_on(serve(command)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error),
        },
    }
}

/// `reelmill upload FILE...` is the client's, `reelmill upload --config FILE` the role of that name.
fn role_named_upload(mut args: Vec<OsString>) -> Vec<OsString> {
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
    // What a role writes is nobody else's to read, whatever folder it was given.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_open_files();
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
        Some(role) => alone::run(role, config).await,
    }
}

/// Sockets, blobs and pipes of many callers: the usual soft limit of 1024 is soon reached. As many as the
/// hard limit allows; what can't be raised is left as it is.
fn raise_open_files() {
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

/// One clear line.
fn complain(error: &anyhow::Error) -> ExitCode {
    // A cause that an outer message has told already is not told again.
    let mut line = String::new();
    for cause in error.chain().map(|cause| cause.to_string().replace('\n', " ")) {
        if !line.contains(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    let _ = writeln!(std::io::stderr(), "reelmill: {line}");
    ExitCode::FAILURE
}
