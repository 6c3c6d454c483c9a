//! The engine: encodes one task's source into segments and files, through ffmpeg in a jail. It depends neither
//! on the queue nor on leases, and is tested without them. Dropping a running call kills the processes it started.
//!
//! - `source`: [`Session`], the open source: ranged GETs through a block cache, served to ffmpeg by a proxy on
//!   the loopback interface.
//! - `probe`: [`Engine::inspect`] sniffs and probes the source, and checks the clock of MPEG-TS files. `seek`
//!   finds the position at which the decoder of a chunk begins.
//! - `encode`: [`Engine::encode`] runs ffmpeg for one work unit and reads its pipes until it exits.
//! - `exit_status`: classifies how ffmpeg or ffprobe exited.
//! - `output`: uploads what comes out of the pipes (segments, images, subtitles) to the [`OutputSink`] and
//!   records it in order.
//! - `progressive`: joins a rendition's segments into one MP4, at the end of a task that encodes the whole
//!   video, or for [`Engine::package`].
//! - `progress`: percent, frame rate and remaining time for whoever watches the task.

mod activity;
mod admission;
mod encode;
mod exit_status;
mod failure;
mod host_memory;
mod limits;
mod output;
mod probe;
mod process;
mod progress;
mod progressive;
mod self_test;
mod source;
mod task_io;

pub use admission::Admission;
pub use limits::EngineLimits;
pub use output::sink::{Content, Output, OutputKind, OutputSink, SinkError};
pub use process::jail::{Jail, Tools};
pub use progress::{publisher::ProgressPublisher, snapshot::Snapshot};
pub use source::{address::SourceAddress, session::Session};
pub use task_io::{Completion, TaskIo};

pub(crate) use failure::{dispatcher_unavailable, scratch_failed, worker_failed};

use std::{collections::HashMap, path::Path, sync::Arc};

use reelmill_media::{
    Failure,
    plan::{Plan, WorkUnit},
    probe::Source,
};

use self::{
    activity::Activity,
    encode::{encoded::Encoded, request::EncodeRequest},
    output::{record_batcher::RecordBatcher, upload_context::UploadContext},
    probe::prober::Prober,
    progressive::ProgressiveJoin,
};

/// Transcodes sources into renditions.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The programs it runs.
    pub tools: Tools,
    /// Time and size limits.
    pub limits: EngineLimits,
    /// Reads the source.
    pub http: reqwest::Client,
    /// What the tasks of this worker have reserved.
    pub admission: Admission,
}

impl Engine {
    /// Opens a source.
    ///
    /// # Errors
    /// When no loopback port is available.
    pub async fn open(&self, source: SourceAddress) -> Result<Session, Failure> {
        let opened = Session::open(self.http.clone(), source, self.limits.retry_window).await;
        opened.map_err(|error| failure::crashed(&error))
    }

    /// Probes a source; of a broadcast, the requested programme.
    ///
    /// # Errors
    /// A [`FailureKind`](reelmill_media::FailureKind), which says whether a retry can succeed, and a message
    /// for users.
    pub async fn inspect(
        &self,
        session: &Session,
        program: Option<u32>,
        scratch: &Path,
    ) -> Result<Source, Failure> {
        let prober = Prober { tools: &self.tools, session, scratch };
        probe::inspect::inspect(&prober, program, self.limits.probe_timeout).await
    }

    /// Encodes a work unit of a plan. `recorded` is the number of the unit's segments that are recorded, by
    /// rendition: they are encoded again, since only that gives the same bytes after them, but not uploaded.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub async fn encode(
        &self,
        session: &Session,
        plan: &Plan,
        work_unit: &WorkUnit,
        recorded: &HashMap<String, u32>,
        io: TaskIo<'_>,
    ) -> Result<Completion, Failure> {
        let _admitted = self.admission.admit_encoder(admission::encoder_bytes(plan, work_unit)).await?;
        io.progress.start(plan, work_unit);
        let recorder = RecordBatcher::start(Arc::clone(&io.sink), self.limits.retry_window);
        let uploads = UploadContext::new(Arc::clone(&io.sink), recorder.handle(), session.activity().clone());
        let request = EncodeRequest {
            tools: &self.tools,
            limits: self.limits,
            session,
            plan,
            work_unit: work_unit.clone(),
            recorded,
            scratch: io.scratch,
            progress: io.progress,
        };
        let (encoded, mut warnings) = self.encode_on_healthy_machine(request, &uploads).await?;
        if plan.is_single() {
            let join = self.progressive_join(&io, &uploads);
            warnings.extend(join.join_local(plan, &encoded).await?);
        }
        drop(uploads);
        recorder.finish().await?;
        io.progress.finish();
        let segments = encoded.segments().map(|(rendition, count)| (rendition.to_owned(), count)).collect();
        Ok(Completion { warnings, segments })
    }

    /// Encodes a work unit. Where ffmpeg exits with an error, or a track cannot be decoded, the video may have what
    /// this machine did not encode. Then the work unit is encoded a second time, whose result counts if it has as
    /// much as the first, and the machine passes a self-test before it and after it: an encoder that fails now and
    /// then passes one of them by chance.
    async fn encode_on_healthy_machine(
        &self,
        request: EncodeRequest<'_>,
        uploads: &UploadContext,
    ) -> Result<(Encoded, Vec<Failure>), Failure> {
        let (first, warnings) = encode::encode(request.clone(), uploads).await?;
        if !first.may_be_incomplete {
            return Ok((first, warnings));
        }
        self.require_healthy(request.scratch).await?;
        let mut recorded = request.recorded.clone();
        first.add_to(&mut recorded);
        let scratch = request.scratch;
        let (second, warnings) =
            encode::encode(EncodeRequest { recorded: &recorded, ..request }, uploads).await?;
        if second.may_be_incomplete {
            self.require_healthy(scratch).await?;
        }
        if second.has_less_than(&first) {
            return Err(failure::crashed(&"two runs of the encoder ended at different segments"));
        }
        Ok((second, warnings))
    }

    /// The worker tests itself after such a failure, too, and takes no tasks until it can encode.
    async fn require_healthy(&self, scratch: &Path) -> Result<(), Failure> {
        self.self_test(scratch).await.map_err(|error| failure::crashed(&error))
    }

    /// Joins the recorded segments of a rendition with those of the audio into a progressive MP4.
    ///
    /// # Errors
    /// As [`Engine::inspect`].
    pub async fn package(
        &self,
        rendition: &str,
        video: Option<Vec<SourceAddress>>,
        audio: Option<Vec<SourceAddress>>,
        io: TaskIo<'_>,
    ) -> Result<Completion, Failure> {
        let recorder = RecordBatcher::start(Arc::clone(&io.sink), self.limits.retry_window);
        let uploads = UploadContext::new(Arc::clone(&io.sink), recorder.handle(), Activity::new());
        let warning = self.progressive_join(&io, &uploads).join_stored(rendition, video, audio).await?;
        drop(uploads);
        recorder.finish().await?;
        io.progress.finish();
        Ok(Completion { warnings: warning.into_iter().collect(), ..Completion::default() })
    }

    /// Self-test: encodes a second of test images in the jail, and writes to the scratch folder.
    ///
    /// # Errors
    /// Why this machine cannot encode, for its log.
    pub async fn self_test(&self, scratch: &Path) -> Result<(), String> {
        self_test::run(&self.tools, scratch, self.limits.probe_timeout).await
    }

    fn progressive_join<'a>(&'a self, io: &'a TaskIo<'_>, uploads: &'a UploadContext) -> ProgressiveJoin<'a> {
        ProgressiveJoin {
            tools: &self.tools,
            limits: self.limits,
            http: &self.http,
            scratch: io.scratch,
            uploads,
            admission: &self.admission,
        }
    }
}
