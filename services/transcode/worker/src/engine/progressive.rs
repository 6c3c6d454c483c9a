//! Progressive MP4: one file per rendition, joined from its segments and those of the audio without encoding
//! again.

use std::{path::Path, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use reelmill_media::{Failure, FailureKind, command, plan::Plan};
use reqwest::Client;
use tokio::{fs, io::AsyncWriteExt, time::timeout};

use crate::engine::{
    admission::Admission,
    encode::encoded::Encoded,
    failure::{crashed, host_exhausted, output_failed, scratch_failed, source_unreadable},
    limits::EngineLimits,
    output::{
        local_copy::create_file,
        sink::{Content, Output, OutputKind},
        track_upload::UploadedTrack,
        upload_context::UploadContext,
    },
    process::{
        child::{self, ProcessExit},
        jail::{ProcessLimits, Tools},
    },
    source::{address::SourceAddress, fetch::fetch_object},
};

/// Segments that are read at the same time.
const CONCURRENT_READS: usize = 4;
/// Time limit of a join, which only reads and writes files.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1800);
const JOIN_CPU_SECONDS: u64 = 600;
const JOIN_MEMORY_BYTES: u64 = 4 << 30;
/// Space for the index of the joined file, bytes.
const INDEX_BYTES: u64 = 64 << 20;

/// Joins progressive files in a task's scratch folder and uploads them.
pub(crate) struct ProgressiveJoin<'a> {
    pub tools: &'a Tools,
    pub limits: EngineLimits,
    pub http: &'a Client,
    pub scratch: &'a Path,
    pub uploads: &'a UploadContext,
    pub admission: &'a Admission,
}

/// The tracks of one rendition, as names of files in the scratch folder.
struct JoinInput<'a> {
    rendition: &'a str,
    video: Option<String>,
    audio: Option<String>,
    bytes: u64,
}

impl ProgressiveJoin<'_> {
    /// Joins each rung that was just encoded, or the audio of a source without video, from the copies in the
    /// scratch folder. Returns warnings.
    pub(crate) async fn join_local(&self, plan: &Plan, encoded: &Encoded) -> Result<Vec<Failure>, Failure> {
        let audio = encoded.audio.iter().map(|(_, track)| track).find(|track| track.segments > 0);
        let mut warnings = Vec::new();
        for (_, rung) in &encoded.rungs {
            let input = JoinInput {
                rendition: &rung.rendition,
                video: copy_name(rung),
                audio: audio.and_then(copy_name),
                bytes: rung.bytes + audio.map_or(0, |audio| audio.bytes),
            };
            warnings.extend(self.join(&input).await?);
            // No longer needed.
            if let Some(copy) = &rung.copy {
                fs::remove_file(copy).await.map_err(|error| crashed(&error))?;
            }
        }
        if plan.video.is_none()
            && let Some(audio) = audio
        {
            let rendition = &audio.rendition;
            let input = JoinInput { rendition, video: None, audio: copy_name(audio), bytes: audio.bytes };
            warnings.extend(self.join(&input).await?);
        }
        Ok(warnings)
    }

    /// Joins a rendition from the object store. Each track is an init segment and media segments. Returns a
    /// warning if there is no file.
    pub(crate) async fn join_stored(
        &self,
        rendition: &str,
        video: Option<Vec<SourceAddress>>,
        audio: Option<Vec<SourceAddress>>,
    ) -> Result<Option<Failure>, Failure> {
        let bytes = video.iter().chain(&audio).flatten().map(|segment| segment.size_bytes).sum();
        if bytes > self.limits.max_progressive_bytes {
            return Ok(Some(too_large(rendition)));
        }
        // The fragments, and the file that they are joined into.
        let _reserved = self.admission.reserve_disk(self.scratch, 2 * bytes + INDEX_BYTES)?;
        let video = self.fetch(video, "video.fragments").await?;
        let audio = self.fetch(audio, "audio.fragments").await?;
        self.join(&JoinInput { rendition, video, audio, bytes }).await
    }

    /// Concatenates a track's segments in the scratch folder. Returns `name` if there is a track.
    async fn fetch(
        &self,
        segments: Option<Vec<SourceAddress>>,
        name: &str,
    ) -> Result<Option<String>, Failure> {
        let Some(segments) = segments else { return Ok(None) };
        let mut file = create_file(&self.scratch.join(name)).await.map_err(|error| scratch_failed(&error))?;
        let retry_window = self.limits.retry_window;
        let mut reads = stream::iter(segments)
            .map(|segment| fetch_object(self.http, segment.uri, segment.size_bytes, retry_window))
            .buffered(CONCURRENT_READS);
        while let Some(bytes) = reads.try_next().await.map_err(|error| source_unreadable(&error))? {
            file.write_all(&bytes).await.map_err(|error| scratch_failed(&error))?;
        }
        file.flush().await.map_err(|error| scratch_failed(&error))?;
        Ok(Some(name.to_owned()))
    }

    async fn join(&self, input: &JoinInput<'_>) -> Result<Option<Failure>, Failure> {
        if input.bytes > self.limits.max_progressive_bytes {
            return Ok(Some(too_large(input.rendition)));
        }
        let name = format!("{}.mp4", input.rendition);
        let exit = self.remux(input, &name).await?;
        if !exit.status.success() {
            let tail = exit.stderr_tail.as_str();
            tracing::warn!(status = %exit.status, tail, "joining the segments failed");
            // An error of ffmpeg itself (exit code 1) would recur, unless the disk was full.
            let is_permanent = exit.status.code() == Some(1) && !tail.contains("No space left on device");
            return if is_permanent {
                Ok(Some(join_failed(input.rendition)))
            } else if tail.contains("No space left on device") {
                Err(host_exhausted(&"disk space"))
            } else {
                Err(crashed(&"joining failed"))
            };
        }
        let file = self.scratch.join(&name);
        let size = fs::metadata(&file).await.map_err(|error| crashed(&error))?.len();
        let rendition = input.rendition.to_owned();
        let output = Output { name, size_bytes: size, rendition, kind: OutputKind::Progressive };
        let uploaded = self.uploads.upload(output, Content::File(file.clone(), size), "video/mp4").await;
        uploaded.map_err(|error| output_failed(&error))?;
        fs::remove_file(&file).await.map_err(|error| crashed(&error))?;
        Ok(None)
    }

    async fn remux(&self, input: &JoinInput<'_>, name: &str) -> Result<ProcessExit, Failure> {
        let args = command::remux(input.video.as_deref(), input.audio.as_deref(), name);
        let limits = ProcessLimits {
            cpu_seconds: JOIN_CPU_SECONDS,
            memory_bytes: JOIN_MEMORY_BYTES,
            file_bytes: 2 * input.bytes + INDEX_BYTES,
        };
        let jailed = self.tools.jail.for_files(self.scratch, limits);
        let started = child::start(&jailed, &self.tools.ffmpeg, &args, command::FIRST_FD, 0);
        let (process, _no_pipes) = started.map_err(|error| crashed(&error))?;
        timeout(JOIN_TIMEOUT, process.wait())
            .await
            .map_err(|_| Failure::new(FailureKind::EncoderStalled, "Joining the segments made no progress."))?
            .map_err(|error| crashed(&error))
    }
}

/// Name of a track's copy in the scratch folder.
fn copy_name(track: &UploadedTrack) -> Option<String> {
    let name = track.copy.as_deref().and_then(Path::file_name);
    name.map(|name| name.to_string_lossy().into_owned())
}

fn join_failed(rendition: &str) -> Failure {
    Failure::new(
        FailureKind::DownloadFailed,
        format!("The {rendition} rendition could not be joined into a single file and can't be downloaded."),
    )
}

fn too_large(rendition: &str) -> Failure {
    Failure::new(
        FailureKind::DownloadTooLarge,
        format!("The {rendition} rendition is too large for a single file and can't be downloaded."),
    )
}
