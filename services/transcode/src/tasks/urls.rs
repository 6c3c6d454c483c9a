//! Presigned URLs for workers: the source, recorded segments, and outputs to upload.

use std::time::Duration;

use reelmill_platform::{clock::Clock, objects::Objects};
use reelmill_proto::{
    timestamp,
    transcode::{
        ListSegmentsRequest, ListSegmentsResponse, SignOutputsRequest, SignOutputsResponse, SourceObject,
    },
};

use super::lease::{Leases, PresentedLease};
use crate::{
    db::{Db, Generation, JobRow, RecordedOutput},
    domain::{OutputKind, attempt_path, job_folder, output_key},
    error::TranscodeError,
};

/// Most names of one SignOutputs call.
const MAX_NAMES: usize = 100;
/// Most segments of one ListSegments call.
const MAX_SEGMENTS: usize = 500;
/// Lifetime of a URL to upload an output.
const UPLOAD_URL_TTL: Duration = Duration::from_secs(15 * 60);

/// Presigns URLs.
#[derive(Clone)]
pub(crate) struct PresignedUrls {
    pub(crate) db: Db,
    pub(crate) leases: Leases,
    pub(crate) objects: Objects,
    pub(crate) clock: Clock,
    /// Lifetime of a URL to read an object.
    pub(crate) read_url_ttl: Duration,
}

impl PresignedUrls {
    /// The source of a job.
    pub(super) async fn source(&self, job: &JobRow) -> Result<SourceObject, TranscodeError> {
        self.readable(&job.source_key, job.source_size_bytes).await
    }

    async fn readable(&self, key: &str, size_bytes: i64) -> Result<SourceObject, TranscodeError> {
        let uri = self.objects.presign_get(key, self.read_url_ttl, None).await?;
        Ok(SourceObject { uri, size_bytes })
    }

    /// URLs to upload outputs of the attempt that has the lease.
    pub(crate) async fn sign_outputs(
        &self,
        request: &SignOutputsRequest,
    ) -> Result<SignOutputsResponse, TranscodeError> {
        if request.names.is_empty() || request.names.len() > MAX_NAMES {
            return Err(TranscodeError::field("names", format!("must be 1 to {MAX_NAMES}")));
        }
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        let leased = self.leases.check(&presented).await?;
        let (job, task) = (&leased.job, &leased.task);
        let folder = job_folder(&job.output_prefix, &job.id);
        let prefix =
            format!("{folder}{}", attempt_path(task.generation, task.task_index, task.fencing_token));
        let mut uris = Vec::with_capacity(request.names.len());
        for name in &request.names {
            let key = output_key(&prefix, name)
                .ok_or_else(|| TranscodeError::field("names", format!("{name:?} is not a valid name")))?;
            uris.push(self.objects.presign_put(&key, UPLOAD_URL_TTL, None, None, None).await?.uri);
        }
        let ttl_ms = i64::try_from(UPLOAD_URL_TTL.as_millis()).unwrap_or(0);
        let expire_time = self.clock.now_millis() + ttl_ms;
        Ok(SignOutputsResponse { uris, expire_time: Some(timestamp(expire_time)) })
    }

    /// A page of a rendition's recorded segments, with its init segment.
    pub(crate) async fn list_segments(
        &self,
        request: &ListSegmentsRequest,
    ) -> Result<ListSegmentsResponse, TranscodeError> {
        if request.from_sequence < 0 {
            return Err(TranscodeError::field("from_sequence", "must not be negative"));
        }
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        let job = self.leases.check(&presented).await?.job;
        let generation = Generation::of(&job);
        let folder = job_folder(&job.output_prefix, &job.id);
        let object = async |output: &RecordedOutput| {
            self.readable(&format!("{folder}{}", output.uri), output.size_bytes).await
        };
        let inits = self.db.outputs(&generation, OutputKind::Init).await?;
        let init = match inits.iter().find(|init| init.rendition_id == request.rendition_id) {
            Some(init) => Some(object(init).await?),
            None => None,
        };
        let (rendition, from) = (&request.rendition_id, request.from_sequence);
        let mut segments = Vec::new();
        let recorded = self.db.segments(&generation, rendition).await?;
        for segment in recorded.iter().filter(|segment| segment.sequence >= from).take(MAX_SEGMENTS) {
            segments.push(object(segment).await?);
        }
        Ok(ListSegmentsResponse { init, segments })
    }
}
