//! The client commands of the `reelmill` program: `sign-up`, `sign-in`, `sign-out`, `upload`, `videos`,
//! `watch`, `download`, `delete` and `jobs`. They call only the gateway's public API and the signed
//! addresses that it returns.

mod account;
mod args;
mod console;
mod credentials;
mod delete;
mod download;
mod encoding;
mod error;
mod exit_code;
mod follow;
mod http;
mod identity;
mod job;
mod listing;
mod profile_dir;
mod progress_bars;
mod prompt;
mod reason;
mod rendition;
mod retry;
mod saved_credentials;
mod server;
mod status;
mod table;
mod text;
mod upload;
mod video;

use std::process::ExitCode;

use crate::{console::Console, server::Server};

pub use crate::{
    args::{ClientCommand, ClientOptions, DownloadArgs, Identity, SignUpArgs, Until, UploadArgs},
    console::columns,
    encoding::{EncodingArgs, Preset, Profile},
    error::ClientError,
    exit_code::EXIT_CODES,
    reason::ClientReason,
    table::format_table,
    text::format_time,
};

/// Runs one command and returns its exit code. The result goes to stdout, progress and the line of an error
/// to stderr. Requires an installed default provider of rustls and a running Tokio runtime.
pub async fn run(options: ClientOptions, command: ClientCommand) -> ExitCode {
    let console = Console::new(options.json);
    match execute(&options, command, console).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.stderr_line(&format!("error: {}", text::sanitize(&error.to_string())));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn execute(
    options: &ClientOptions,
    command: ClientCommand,
    console: Console,
) -> Result<(), ClientError> {
    let server = Server::from_options(options)?;
    match command {
        ClientCommand::SignUp(args) => account::sign_up(&server, console, args).await,
        ClientCommand::SignIn(identity) => account::sign_in(&server, console, identity).await,
        ClientCommand::SignOut => account::sign_out(&server, console).await,
        ClientCommand::Upload(args) => upload::run(&server, console, options, args).await,
        ClientCommand::Videos => listing::videos(&server, console).await,
        ClientCommand::Watch { video, until } => follow::watch(&server, console, &video, until).await,
        ClientCommand::Cancel { video } => job::cancel(&server, console, &video).await,
        ClientCommand::Retry(args) => job::retry(&server, console, &args).await,
        ClientCommand::Download(args) => download::run(&server, console, args).await,
        ClientCommand::Delete { video, yes } => delete::run(&server, console, &video, yes).await,
        ClientCommand::Jobs(args) => listing::jobs(&server, console, &args).await,
        ClientCommand::Priority { video, priority } => {
            job::set_priority(&server, console, &video, priority).await
        }
    }
}
