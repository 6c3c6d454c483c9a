//! The client commands as a separate program, for machines that only upload and watch.

use std::process::ExitCode;

use clap::Parser;
use reelmill_client::{ClientCommand, ClientOptions};

/// Client of a Reelmill server
#[derive(Debug, Parser)]
#[command(name = "reelmill-client", version)]
struct Cli {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    command: ClientCommand,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only if a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = Cli::parse();
    reelmill_client::run(cli.options, cli.command).await
}
