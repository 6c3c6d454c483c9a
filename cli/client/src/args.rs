//! Command-line arguments of the client commands.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::{encoding::EncodingArgs, exit_code::EXIT_CODES};

/// Options of every client command, given before or after the command's name.
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
    /// Folder for credentials and unfinished uploads [default: reelmill in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, global = true, value_name = "DIR", env = "REELMILL_PROFILE_DIR")]
    pub profile_dir: Option<PathBuf>,
    /// Print only the result to stdout, as one JSON value
    #[arg(long, global = true)]
    pub json: bool,
}

/// The client commands.
#[derive(Debug, Clone, Subcommand)]
pub enum ClientCommand {
    /// Create an account and sign in
    #[command(after_help = EXIT_CODES)]
    SignUp(SignUpArgs),
    /// Sign in
    #[command(after_help = EXIT_CODES)]
    SignIn(Identity),
    /// Sign out and delete the saved credentials
    #[command(after_help = EXIT_CODES)]
    SignOut,
    /// Upload video files and follow their videos until they are READY or FAILED
    #[command(after_help = EXIT_CODES)]
    Upload(UploadArgs),
    /// List your videos
    #[command(after_help = EXIT_CODES)]
    Videos,
    /// Follow a video until it is READY or FAILED
    #[command(after_help = EXIT_CODES)]
    Watch {
        /// `videos/ID` or only the ID
        #[arg(value_parser = video_name)]
        video: String,
        /// State to wait for, unless the video has FAILED
        #[arg(long, value_enum, default_value = "ready")]
        until: Until,
    },
    /// Cancel the transcoding of a video, which is FAILED afterwards and can be retried
    #[command(after_help = EXIT_CODES)]
    Cancel {
        /// `videos/ID` or only the ID
        #[arg(value_parser = video_name)]
        video: String,
    },
    /// Transcode a FAILED video again from its uploaded file
    #[command(after_help = EXIT_CODES)]
    Retry(RetryArgs),
    /// Download one rendition as MP4
    #[command(after_help = EXIT_CODES)]
    Download(DownloadArgs),
    /// Delete a video with its source, renditions and job
    #[command(after_help = EXIT_CODES)]
    Delete {
        /// `videos/ID` or only the ID
        #[arg(value_parser = video_name)]
        video: String,
        /// Don't ask for confirmation. Without a terminal to ask on, or with --json, it does not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// List your transcoding jobs
    #[command(after_help = EXIT_CODES)]
    Jobs(JobsArgs),
    /// Set the priority of a video's job among your other jobs
    #[command(after_help = EXIT_CODES)]
    Priority {
        /// `videos/ID` or only the ID
        #[arg(value_parser = video_name)]
        video: String,
        /// Which of your jobs go first
        priority: JobPriority,
    },
}

/// Priority of a job among the jobs of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JobPriority {
    /// After the others
    Low,
    /// The default
    Normal,
    /// Before the others
    High,
}

/// Arguments of `jobs`.
#[derive(Debug, Clone, Args)]
pub struct JobsArgs {
    /// Only jobs in this state; may be repeated
    #[arg(long, value_enum, ignore_case = true)]
    pub state: Vec<JobState>,
    /// Only jobs of this video: `videos/ID` or only the ID
    #[arg(long, value_parser = video_name)]
    pub video: Option<String>,
    /// Only jobs that were created in the last so many hours
    #[arg(long, value_name = "HOURS")]
    pub last_hours: Option<u32>,
    /// Lists the oldest first
    #[arg(long)]
    pub oldest_first: bool,
}

/// State of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JobState {
    /// Waiting for a worker
    Queued,
    /// A worker has started it
    Running,
    /// Succeeded
    Succeeded,
    /// Failed; `retry` transcodes it again
    Failed,
    /// Cancelled
    Cancelled,
}

/// State that a command that follows a video waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// The encoded beginning of the video can be played
    Playable,
    /// The whole video is encoded
    Ready,
}

/// Credentials for signing in; the command prompts for what is not given.
#[derive(Debug, Clone, Args)]
pub struct Identity {
    /// E-mail address of the account
    #[arg(long, value_name = "EMAIL")]
    pub email: Option<String>,
    /// File whose only line is the password; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// Arguments of `sign-up`.
#[derive(Debug, Clone, Args)]
pub struct SignUpArgs {
    /// E-mail address and password.
    #[command(flatten)]
    pub identity: Identity,
    /// Display name of the account
    #[arg(long, value_name = "NAME", default_value = "")]
    pub display_name: String,
}

/// Arguments of `retry`.
#[derive(Debug, Clone, Args)]
pub struct RetryArgs {
    /// `videos/ID` or only the ID
    #[arg(value_parser = video_name)]
    pub video: String,
    /// Follow the video until it is READY or FAILED
    #[arg(long)]
    pub wait: bool,
    /// New options; without any, the video is encoded with the same options as before.
    #[command(flatten)]
    pub encoding: EncodingArgs,
}

/// Arguments of `upload`.
#[derive(Debug, Clone, Args)]
pub struct UploadArgs {
    /// Video files, uploaded one after another. The command ends at the first failure, and prints the videos
    /// uploaded before it
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Title of the video [default: the file name]
    #[arg(long, value_name = "TITLE")]
    pub title: Option<String>,
    /// Wait until the video is READY or FAILED, as on a terminal
    #[arg(long)]
    pub wait: bool,
    /// Like --wait, until this state; long videos are `playable` much earlier than `ready` [default: ready]
    #[arg(long, value_enum)]
    pub until: Option<Until>,
    /// How to encode the videos.
    #[command(flatten)]
    pub encoding: EncodingArgs,
    /// Number of parts to send at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub parallel: u8,
    /// Start a new upload even if an interrupted one of the same file could be resumed
    #[arg(long)]
    pub no_resume: bool,
}

/// Arguments of `download`.
#[derive(Debug, Clone, Args)]
pub struct DownloadArgs {
    /// `videos/ID` or only the ID
    #[arg(value_parser = video_name)]
    pub video: String,
    /// Rendition, for example 720p [default: the tallest]
    #[arg(long, value_name = "RENDITION")]
    pub rendition: Option<String>,
    /// File to write [default: ID-RENDITION.mp4 in the current folder]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Parses `videos/ID` or an ID as a resource name.
fn video_name(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("videos/").unwrap_or(text);
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > 100 || !id.chars().all(is_allowed) {
        return Err("expected `videos/ID` or only the ID".to_owned());
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
    fn parse_client_options_before_or_after_the_command_are_accepted() {
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
    fn parse_every_documented_command_is_accepted() {
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
    }

    #[test]
    fn parse_upload_sets_files_and_defaults() {
        let ClientCommand::Upload(upload) = parse("upload a b --wait").unwrap().command else { panic!() };
        assert_eq!((upload.files.len(), upload.wait, upload.parallel), (2, true, 4));
    }

    #[test]
    fn parse_wrong_usage_exits_with_2() {
        for line in
            ["upload", "watch", "watch jobs/a", "watch ../x", "watch videos/", "watch a --until done", "fly"]
                .into_iter()
                .chain(["upload a --parallel 0", "upload a --until done", "upload a --rungs 10"])
        {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
