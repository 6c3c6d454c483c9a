//! The client commands of the `reelmill` program: `sign-up`, `sign-in`, `sign-out`, `upload`, `videos`,
//! `watch`, `download`, `delete` and `jobs`. They talk to the gateway only, by the public contract,
//! and to the addresses that it hands out.

mod account;
mod args;
mod bars;
mod credentials;
mod download;
mod encoding;
mod error;
mod follow;
mod library;
mod output;
mod profile;
mod retry;
mod server;
mod text;
mod upload;

use std::process::ExitCode;

pub use args::{
    ClientCommand, ClientOptions, DownloadArgs, EXIT_CODES, Identity, SignUpArgs, Until, UploadArgs,
};
pub use encoding::{EncodingArgs, Preset, Profile};
pub use error::ClientError;

use output::Console;
use server::Server;

/// Runs one command and tells how it went: the result on stdout, progress and a failure's one line on
/// stderr. rustls' default provider must be installed, and a Tokio runtime must be running.
pub async fn run(options: ClientOptions, command: ClientCommand) -> ExitCode {
    let console = Console::new(options.json);
    match execute(&options, command, console).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.always(&format!("error: {}", text::harmless(&error.to_string())));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn execute(
    options: &ClientOptions,
    command: ClientCommand,
    console: Console,
) -> Result<(), ClientError> {
    let server = Server::of(options)?;
    match command {
        ClientCommand::SignUp(args) => account::sign_up(&server, console, args).await,
        ClientCommand::SignIn(identity) => account::sign_in(&server, console, identity).await,
        ClientCommand::SignOut => account::sign_out(&server, console).await,
        ClientCommand::Upload(args) => upload::run(&server, console, options, args).await,
        ClientCommand::Videos => library::videos(&server, console).await,
        ClientCommand::Watch { video, until } => follow::watch(&server, console, &video, until).await,
        ClientCommand::Download(args) => download::run(&server, console, args).await,
        ClientCommand::Delete { video, yes } => library::delete(&server, console, &video, yes).await,
        ClientCommand::Jobs => library::jobs(&server, console).await,
    }
}
