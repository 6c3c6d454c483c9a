//! Transfer of one rendition into a file, resumed after the bytes that the file already has.

use std::{
    collections::HashMap,
    io::{self, SeekFrom},
    path::Path,
    time::{Duration, Instant},
};

use reelmill_proto::upload::{CreatePlaybackRequest, video_service_client::VideoServiceClient};
use reqwest::{Response, StatusCode, header::RANGE};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
};

use super::content_range::content_range;
use crate::{
    console::Console,
    error::{ClientError, root_cause},
    http,
    progress_bars::ByteBar,
    reason::ClientReason,
    retry::{Backoff, MAX_OUTAGE},
    server::Server,
};

/// Bytes at the end of the file that are requested again, to verify that the rest belongs to the same file.
const RESUME_OVERLAP: u64 = 64 << 10;
/// A request that receives nothing for this time is sent again.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How many times a download is restarted from its first byte before it fails.
const MAX_RESTARTS: u32 = 3;

/// The download of one rendition.
pub struct Transfer<'a> {
    server: &'a Server,
    console: Console,
    video: &'a str,
    rendition: &'a str,
    title: &'a str,
    http: reqwest::Client,
}

/// How one request of a transfer ended.
enum RequestEnd {
    /// The file is complete.
    Complete,
    /// The file's content differs from the rendition: restart from the first byte.
    Mismatch,
    /// The connection or the server failed; some bytes may have been received.
    Broken(String),
}

/// The addresses of a video's downloads, by rendition. They expire.
pub async fn download_uris(server: &Server, video: &str) -> Result<HashMap<String, String>, ClientError> {
    let request = CreatePlaybackRequest { name: video.to_owned(), ttl: None };
    let response = server
        .call(async |channel| VideoServiceClient::new(channel).create_playback(request.clone()).await)
        .await?;
    Ok(response.download_uris)
}

impl<'a> Transfer<'a> {
    /// The download of a video's rendition; `title` is shown with the progress.
    pub fn new(
        server: &'a Server,
        console: Console,
        video: &'a str,
        rendition: &'a str,
        title: &'a str,
    ) -> Result<Self, ClientError> {
        let http = http::client(|builder| builder.read_timeout(READ_TIMEOUT))?;
        Ok(Self { server, console, video, rendition, title, http })
    }

    /// Downloads into the file at `path`, which may have the first bytes already.
    pub async fn download_to(&self, path: &Path) -> Result<(), ClientError> {
        let unwritable = |error: io::Error| ClientError::unwritable_file(path, &error);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).await.map_err(unwritable)?;
        let mut last_progress = Instant::now();
        let mut backoff = Backoff::new();
        let mut restarts = 0;
        loop {
            let length = length_of(&file, path).await?;
            let cause = match self.request(&mut file, path, length).await? {
                RequestEnd::Complete => return file.sync_all().await.map_err(unwritable),
                RequestEnd::Mismatch => {
                    file.set_len(0).await.map_err(unwritable)?;
                    restarts += 1;
                    "the bytes received differ from those received before".to_owned()
                }
                RequestEnd::Broken(cause) => cause,
            };
            if length_of(&file, path).await? > length {
                last_progress = Instant::now();
                backoff = Backoff::new();
            }
            if last_progress.elapsed() > MAX_OUTAGE || restarts > MAX_RESTARTS {
                let cause = format!("{cause}; run the same command again to resume");
                return Err(ClientError::Unreachable { server: "the download address".to_owned(), cause });
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Sends one request for what the file of `length` bytes lacks, and appends the response.
    async fn request(&self, file: &mut File, path: &Path, length: u64) -> Result<RequestEnd, ClientError> {
        let start = length.saturating_sub(RESUME_OVERLAP);
        let uri = self.fresh_uri().await?;
        let response = match self.http.get(uri).header(RANGE, format!("bytes={start}-")).send().await {
            Ok(response) => response,
            Err(error) => return Ok(RequestEnd::Broken(root_cause(&error.without_url()))),
        };
        let total = match (response.status(), content_range(&response)) {
            (StatusCode::PARTIAL_CONTENT, Some((first, total))) if first == start => Some(total),
            (StatusCode::OK, _) if start == 0 => response.content_length(),
            (StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE, _)
                if length > 0 =>
            {
                return Ok(RequestEnd::Mismatch);
            }
            (status, _) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                let message = format!("{}: the download was refused: HTTP {}", self.video, status.as_u16());
                return Err(ClientError::local(ClientReason::DownloadRefused, message));
            }
            (status, _) => return Ok(RequestEnd::Broken(format!("HTTP {}", status.as_u16()))),
        };
        let bar = ByteBar::new(self.console, self.title, total.unwrap_or(0), start);
        let end = append(response, file, start, length, &bar).await;
        bar.clear();
        let end = end.map_err(|error| ClientError::unwritable_file(path, &error))?;
        let length = length_of(file, path).await?;
        Ok(match (end, total) {
            (RequestEnd::Complete, Some(total)) if length < total => {
                RequestEnd::Broken("the response ended early".to_owned())
            }
            (RequestEnd::Complete, Some(total)) if length > total => RequestEnd::Mismatch,
            (end, _) => end,
        })
    }

    /// A new address for the rendition, since addresses expire.
    async fn fresh_uri(&self) -> Result<String, ClientError> {
        let mut uris = download_uris(self.server, self.video).await?;
        uris.remove(self.rendition).ok_or_else(|| {
            let message = format!("{} no longer has the rendition {}", self.video, self.rendition);
            ClientError::local(ClientReason::RenditionNotFound, message)
        })
    }
}

/// Verifies that the response begins with the file's bytes from `start` to `length`, and appends the rest.
async fn append(
    mut response: Response,
    file: &mut File,
    start: u64,
    length: u64,
    bar: &ByteBar,
) -> io::Result<RequestEnd> {
    let mut overlap = vec![0; usize::try_from(length - start).map_err(io::Error::other)?];
    file.seek(SeekFrom::Start(start)).await?;
    file.read_exact(&mut overlap).await?;
    let mut expected = overlap.as_slice();
    let end = loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break RequestEnd::Complete,
            Err(error) => break RequestEnd::Broken(root_cause(&error.without_url())),
        };
        let repeated = chunk.len().min(expected.len());
        if chunk[..repeated] != expected[..repeated] {
            break RequestEnd::Mismatch;
        }
        expected = &expected[repeated..];
        file.write_all(&chunk[repeated..]).await?;
        bar.add(chunk.len() as u64);
    };
    file.flush().await?;
    Ok(end)
}

async fn length_of(file: &File, path: &Path) -> Result<u64, ClientError> {
    let metadata = file.metadata().await.map_err(|error| ClientError::unreadable_file(path, &error))?;
    Ok(metadata.len())
}
