//! What a person types.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::encoding::EncodingArgs;

/// What the program's exit code says; the end of every client command's `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 the job (or the work here) failed, 2 usage, \
3 server not reachable, 4 refused by the server, 130 interrupted";

/// Options of every client command, before or after the command's name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Client options")]
pub struct ClientOptions {
    /// Address of the gateway
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "REELMILL_SERVER",
        default_value = "http://127.0.0.1:8080"
    )]
    pub server: String,
    /// Folder of credentials and unfinished uploads [default: reelmill in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, global = true, value_name = "DIR", env = "REELMILL_PROFILE_DIR")]
    pub profile_dir: Option<PathBuf>,
    /// Print the result as one JSON value on stdout, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
}

/// The client commands.
#[derive(Debug, Clone, Subcommand)]
pub enum ClientCommand {
    /// Make an account and sign in
    #[command(after_help = EXIT_CODES)]
    SignUp(SignUpArgs),
    /// Sign in
    #[command(after_help = EXIT_CODES)]
    SignIn(Identity),
    /// Sign out and forget the credentials
    #[command(after_help = EXIT_CODES)]
    SignOut,
    /// Upload video files, then follow them until they play
    #[command(after_help = EXIT_CODES)]
    Upload(UploadArgs),
    /// List your videos
    #[command(after_help = EXIT_CODES)]
    Videos,
    /// Follow a video until it is READY or FAILED
    #[command(after_help = EXIT_CODES)]
    Watch {
        /// `videos/ID`, or the ID alone
        #[arg(value_parser = video_name)]
        video: String,
        /// When to end, unless the video has FAILED
        #[arg(long, value_enum, default_value = "ready")]
        until: Until,
    },
    /// Download one rendition as MP4
    #[command(after_help = EXIT_CODES)]
    Download(DownloadArgs),
    /// Delete a video with all that belongs to it
    #[command(after_help = EXIT_CODES)]
    Delete {
        /// `videos/ID`, or the ID alone
        #[arg(value_parser = video_name)]
        video: String,
        /// Don't ask. Without a terminal to ask on, or with --json, it does not ask anyway
        #[arg(long, short)]
        yes: bool,
    },
    /// List your transcoding jobs
    #[command(after_help = EXIT_CODES)]
    Jobs,
}

/// How far a video is to be before a command that follows it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// It can be played, from the start up to what is encoded
    Playable,
    /// All of it is encoded
    Ready,
}

/// Who signs in; what is not given is asked for.
#[derive(Debug, Clone, Args)]
pub struct Identity {
    /// E-mail address of the account
    #[arg(long, value_name = "EMAIL")]
    pub email: Option<String>,
    /// File whose only line is the password; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// What makes an account.
#[derive(Debug, Clone, Args)]
pub struct SignUpArgs {
    /// Who signs up.
    #[command(flatten)]
    pub identity: Identity,
    /// What to call you
    #[arg(long, value_name = "NAME", default_value = "")]
    pub display_name: String,
}

/// What to upload, and how.
#[derive(Debug, Clone, Args)]
pub struct UploadArgs {
    /// Video files, uploaded one after another; the first that is refused ends the command, which still
    /// prints those done before
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Title of the video [default: the file's name]
    #[arg(long, value_name = "TITLE")]
    pub title: Option<String>,
    /// End when the video is READY or FAILED, also without a terminal to show progress on
    #[arg(long)]
    pub wait: bool,
    /// Like --wait, and end at this: `playable` is long before `ready` for long videos [default: ready]
    #[arg(long, value_enum)]
    pub until: Option<Until>,
    /// How the videos shall be encoded.
    #[command(flatten)]
    pub encoding: EncodingArgs,
    /// How many parts are sent at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub parallel: u8,
    /// Begin anew even where an interrupted upload of the same file could go on
    #[arg(long)]
    pub no_resume: bool,
}

/// What to download, and whereto.
#[derive(Debug, Clone, Args)]
pub struct DownloadArgs {
    /// `videos/ID`, or the ID alone
    #[arg(value_parser = video_name)]
    pub video: String,
    /// Which rendition, as 720p [default: the tallest]
    #[arg(long, value_name = "RENDITION")]
    pub rendition: Option<String>,
    /// File to write [default: ID-RENDITION.mp4 in the current folder]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Reads `videos/ID` or a bare ID as the resource name.
fn video_name(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("videos/").unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 100 || !id.chars().all(plain) {
        return Err("a video is named `videos/ID`, or by its ID alone".to_owned());
    }
    Ok(format!("videos/{id}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: ClientOptions,
        #[command(subcommand)]
        command: ClientCommand,
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("reelmill").chain(line.split_whitespace()))
    }

    #[test]
    fn global_options_stand_before_or_after_the_commands_name() {
        for line in [
            "--server http://h:1 --profile-dir /p --json watch abc",
            "watch abc --server http://h:1 --profile-dir /p --json",
            "--json watch --server http://h:1 abc --profile-dir /p",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.options.server, "http://h:1", "{line}");
            assert_eq!(cli.options.profile_dir.as_deref(), Some(std::path::Path::new("/p")), "{line}");
            assert!(cli.options.json, "{line}");
            let ClientCommand::Watch { video, until } = cli.command else { panic!("{line}") };
            assert_eq!((video.as_str(), until), ("videos/abc", Until::Ready), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_manual_parses() {
        for line in [
            "sign-up",
            "sign-up --email a@b.c --password-file f",
            "sign-in --email a@b.c --password-file f",
            "sign-out",
            "upload a.mp4 b.mov --wait --json",
            "upload a.mp4 --until playable --profile hevc --preset balanced --rungs 1080,720,480",
            "videos",
            "watch videos/0198-x_1",
            "watch abc --until playable",
            "download abc --rendition 720p -o out.mp4",
            "delete abc --yes",
            "jobs --json",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        let ClientCommand::Upload(upload) = parse("upload a b --wait").unwrap().command else { panic!() };
        assert_eq!((upload.files.len(), upload.wait, upload.parallel), (2, true, 4));
    }

    #[test]
    fn wrong_usage_is_told() {
        for line in
            ["upload", "watch", "watch jobs/a", "watch ../x", "watch videos/", "watch a --until done", "fly"]
                .into_iter()
                .chain(["upload a --parallel 0", "upload a --until done", "upload a --rungs 10"])
        {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
