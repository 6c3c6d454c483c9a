//! `download`: one rendition of a video into a file, resumed where it broke off.

use std::{
    cmp::Reverse,
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use reelmill_proto::{
    transcode::Rendition,
    upload::{CreatePlaybackRequest, video::State, video_service_client::VideoServiceClient},
};
use reqwest::{
    StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
};
use tonic::Code;

use crate::{
    ClientError, DownloadArgs,
    bars::ByteBar,
    error::root_cause,
    library,
    output::Console,
    retry::{self, PATIENCE},
    server::{Server, USER_AGENT},
};

/// How much of what is there already must be the same before the rest is appended to it.
const OVERLAP: u64 = 64 << 10;
/// A transfer of which nothing comes for so long is begun anew.
const STALL: Duration = Duration::from_secs(30);

/// How often a download is begun from its first byte again.
const STARTS: u32 = 3;

/// Runs `download`.
pub async fn run(server: &Server, console: Console, args: DownloadArgs) -> Result<(), ClientError> {
    let name = &args.video;
    let rendition = chosen(server, name, args.rendition.as_deref()).await?;
    let id = name.trim_start_matches("videos/");
    let path = args.output.unwrap_or_else(|| PathBuf::from(format!("{id}-{}.mp4", rendition.rendition_id)));
    if path.is_dir() {
        return Err(ClientError::usage(
            "FILE_IS_FOLDER",
            format!("{}: a folder, not a file", path.display()),
        ));
    }
    let download =
        Download { server, console, name, rendition: &rendition.rendition_id, http: http_client()? };
    let part = with_suffix(&path, ".part");
    download.fetch(&part, &path).await?;
    tokio::fs::rename(&part, &path).await.map_err(|error| ClientError::local_write(&path, &error))?;
    console.result("reelmill.transcode.v1.Rendition", &rendition, &format!("{}", path.display()))
}

/// The rendition asked for, or the tallest; of a video without picture its first sound.
async fn chosen(server: &Server, name: &str, asked: Option<&str>) -> Result<Rendition, ClientError> {
    // First, since it says VIDEO_NOT_READY where there is nothing to choose from yet.
    let uris = playback(server, name).await?;
    let video = library::get(server, name).await?;
    if video.state() == State::Processing {
        let message = format!("{name} is still being encoded; `reelmill watch {name}` waits for its end");
        return Err(ClientError::refused(Code::FailedPrecondition, "VIDEO_NOT_READY", message));
    }
    let mut renditions = video.renditions;
    renditions.retain(|rendition| uris.contains_key(&rendition.rendition_id));
    renditions.sort_by_key(|rendition| Reverse((library::is_rung(rendition), rendition.height)));
    let there: Vec<&str> = renditions.iter().map(|rendition| rendition.rendition_id.as_str()).collect();
    let there = there.join(", ");
    let found =
        renditions.into_iter().find(|rendition| asked.is_none_or(|asked| asked == rendition.rendition_id));
    found.ok_or_else(|| {
        let message =
            format!("{name} has no rendition {}; there are: {there}", asked.unwrap_or("to download"));
        ClientError::refused(Code::NotFound, "RENDITION_NOT_FOUND", message)
    })
}

async fn playback(
    server: &Server,
    name: &str,
) -> Result<std::collections::HashMap<String, String>, ClientError> {
    let request = CreatePlaybackRequest { name: name.to_owned(), ttl: None };
    let answer = server
        .signed_in(async |channel| VideoServiceClient::new(channel).create_playback(request.clone()).await)
        .await?;
    Ok(answer.download_uris)
}

fn http_client() -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(STALL)
        .build()
        .map_err(|error| ClientError::failed("HTTP_CLIENT_FAILED", root_cause(&error)))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

struct Download<'a> {
    server: &'a Server,
    console: Console,
    name: &'a str,
    rendition: &'a str,
    http: reqwest::Client,
}

enum Step {
    Done,
    /// What is there is of another file.
    StartOver,
    /// The transfer broke; some bytes may have come.
    Broken(String),
}

impl Download<'_> {
    async fn fetch(&self, part: &Path, path: &Path) -> Result<(), ClientError> {
        let unwritable = |error: io::Error| ClientError::local_write(part, &error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(part).await.map_err(unwritable)?;
        let (mut moved, mut breaks, mut starts) = (Instant::now(), 0, 0);
        loop {
            let before = length_of(&file, part).await?;
            let cause = match self.step(&mut file, part, path, before).await? {
                Step::Done => return file.sync_all().await.map_err(unwritable),
                Step::StartOver => {
                    file.set_len(0).await.map_err(unwritable)?;
                    starts += 1;
                    "what is sent differs from what was sent before".to_owned()
                }
                Step::Broken(cause) => cause,
            };
            if length_of(&file, part).await? > before {
                (moved, breaks) = (Instant::now(), 0);
            }
            if moved.elapsed() > PATIENCE || starts > STARTS {
                let cause = format!("{cause}; run the same command again to resume");
                return Err(ClientError::Unreachable { server: "the download address".to_owned(), cause });
            }
            tokio::time::sleep(retry::backoff(breaks)).await;
            breaks += 1;
        }
    }

    /// One transfer, from where the file ends.
    async fn step(&self, file: &mut File, part: &Path, path: &Path, there: u64) -> Result<Step, ClientError> {
        let from = there.saturating_sub(OVERLAP);
        // Addresses end; every transfer has its own.
        let uris = playback(self.server, self.name).await?;
        let uri = uris.get(self.rendition).ok_or_else(|| {
            let message = format!("{} has no rendition {} any more", self.name, self.rendition);
            ClientError::refused(Code::NotFound, "RENDITION_NOT_FOUND", message)
        })?;
        let answer = match self.http.get(uri).header(RANGE, format!("bytes={from}-")).send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(Step::Broken(root_cause(&error.without_url()))),
        };
        let total = match (answer.status(), range_of(&answer)) {
            (StatusCode::PARTIAL_CONTENT, Some((start, total))) if start == from => Some(total),
            (StatusCode::OK, _) if from == 0 => answer.content_length(),
            (StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _)
                if there > 0 =>
            {
                return Ok(Step::StartOver);
            }
            (status, _) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                let message = format!("{}: HTTP {}", self.name, status.as_u16());
                return Err(ClientError::refused(Code::PermissionDenied, "DOWNLOAD_REFUSED", message));
            }
            (status, _) => return Ok(Step::Broken(format!("HTTP {}", status.as_u16()))),
        };
        let title = path.file_name().unwrap_or_default().to_string_lossy();
        let bar = ByteBar::new(self.console, &title, total.unwrap_or(0), from);
        let step = receive(answer, file, from, there, &bar).await;
        bar.clear();
        let step = step.map_err(|error| ClientError::local_write(part, &error))?;
        let length = length_of(file, part).await?;
        Ok(match (step, total) {
            (Step::Done, Some(total)) if length < total => {
                Step::Broken("the transfer ended early".to_owned())
            }
            (Step::Done, Some(total)) if length > total => Step::StartOver,
            (step, _) => step,
        })
    }
}

/// Appends what comes to the file, after checking that its last bytes come again just so.
async fn receive(
    mut answer: reqwest::Response,
    file: &mut File,
    from: u64,
    there: u64,
    bar: &ByteBar,
) -> io::Result<Step> {
    let mut known = vec![0; usize::try_from(there - from).map_err(io::Error::other)?];
    file.seek(SeekFrom::Start(from)).await?;
    file.read_exact(&mut known).await?;
    let mut known = known.as_slice();
    let step = loop {
        let piece = match answer.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break Step::Done,
            Err(error) => break Step::Broken(root_cause(&error.without_url())),
        };
        let again = piece.len().min(known.len());
        if piece[..again] != known[..again] {
            break Step::StartOver;
        }
        known = &known[again..];
        file.write_all(&piece[again..]).await?;
        bar.add(piece.len() as u64);
    };
    file.flush().await?;
    Ok(step)
}

async fn length_of(file: &File, path: &Path) -> Result<u64, ClientError> {
    let metadata = file.metadata().await.map_err(|error| ClientError::local_file(path, &error))?;
    Ok(metadata.len())
}

/// Start and total size of a `Content-Range: bytes START-END/TOTAL`.
fn range_of(answer: &reqwest::Response) -> Option<(u64, u64)> {
    content_range(answer.headers().get(CONTENT_RANGE)?.to_str().ok()?)
}

fn content_range(header: &str) -> Option<(u64, u64)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_tells_start_and_total() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 10)));
        for odd in ["bytes */10", "bytes 5-9/*", "items 5-9/10", ""] {
            assert_eq!(content_range(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_part_file_stands_beside_the_file() {
        assert_eq!(with_suffix(Path::new("d/a.mp4"), ".part"), Path::new("d/a.mp4.part"));
    }
}
