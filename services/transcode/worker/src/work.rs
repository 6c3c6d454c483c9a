//! What a lease asks for, done with the engine: look, encode, or join.

use crate::convert;
use crate::dispatch::{ANSWER, Dispatch, insist};
use crate::engine::{Done, Engine, OutputSink, Place, Progress, SourceAddress};
use crate::store::SignedStore;
use reelmill_media::plan::{Plan, WorkUnit};
use reelmill_media::{Failure, FailureKind};
use reelmill_proto::transcode::start_task_response::Work;
use reelmill_proto::transcode::{
    EncodeTask, Lease, ListSegmentsRequest, PackageTask, PlanJobRequest, PrepareTask, SourceObject,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::Status;

/// One leased task's work.
pub(crate) struct Labour {
    pub engine: Engine,
    pub dispatch: Dispatch,
    pub lease: Lease,
    pub scratch: TempDir,
    pub progress: Progress,
}

impl Labour {
    /// Does it.
    pub(crate) async fn run(self, work: Work) -> Result<Done, Failure> {
        match work {
            Work::Prepare(task) => self.prepare(task).await,
            Work::Encode(task) => self.encode(task).await,
            Work::Package(task) => self.package(task).await,
        }
    }

    fn sink(&self) -> Arc<dyn OutputSink> {
        let (http, patience) = (self.engine.http.clone(), self.engine.bounds.patience);
        Arc::new(SignedStore::new(http, self.dispatch.clone(), self.lease.clone(), patience))
    }

    fn place<'a>(&'a self, scratch: &'a Path) -> Place<'a> {
        Place { scratch, sink: self.sink(), progress: &self.progress }
    }

    /// Looks at the source, and goes on with what comes of it while it is open.
    async fn prepare(self, task: PrepareTask) -> Result<Done, Failure> {
        let session = self.engine.open(address(task.source)?).await?;
        let source = self.engine.inspect(&session, self.scratch.path()).await?;
        let request = PlanJobRequest {
            lease: Some(self.lease.clone()),
            source: serde_json::to_vec(&source).map_err(|error| broken(&error))?,
            source_info: Some(convert::source_info(&source)),
        };
        let ask = || {
            let (mut dispatch, request) = (self.dispatch.clone(), request.clone());
            async move { dispatch.plan_job(request).await }
        };
        let planned = insist(self.deadline(), ANSWER, ask).await.map_err(unanswered)?;
        let task = planned.encode.ok_or_else(|| broken(&"dispatch answered without a plan"))?;
        let (plan, work_unit) = parse(&task)?;
        let place = self.place(self.scratch.path());
        self.engine.encode(&session, &plan, &work_unit, &HashMap::new(), place).await
    }

    async fn encode(self, task: EncodeTask) -> Result<Done, Failure> {
        let (plan, work_unit) = parse(&task)?;
        let session = self.engine.open(address(task.source)?).await?;
        let recorded =
            task.recorded.into_iter().map(|(id, count)| (id, u32::try_from(count).unwrap_or(0))).collect();
        let place = self.place(self.scratch.path());
        self.engine.encode(&session, &plan, &work_unit, &recorded, place).await
    }

    async fn package(self, task: PackageTask) -> Result<Done, Failure> {
        let plan: Plan = serde_json::from_slice(&task.plan).map_err(|error| broken(&error))?;
        let sound = plan.audio.iter().find(|audio| audio.default);
        let mut done = Done::default();
        for rendition in &task.rendition_ids {
            let own = self.segments(rendition).await?;
            let is_sound = plan.audio.iter().any(|audio| audio.id == *rendition);
            let (video, audio) = match sound {
                _ if is_sound => (None, own),
                Some(sound) => (own, self.segments(&sound.id).await?),
                None => (own, None),
            };
            let place = self.place(self.scratch.path());
            done.warnings.extend(self.engine.package(rendition, video, audio, place).await?.warnings);
        }
        Ok(done)
    }

    /// A rendition's initialisation segment and its media segments; none when there are none.
    async fn segments(&self, rendition: &str) -> Result<Option<Vec<SourceAddress>>, Failure> {
        let mut addresses = Vec::new();
        loop {
            let seen = addresses.len().saturating_sub(1);
            let request = ListSegmentsRequest {
                lease: Some(self.lease.clone()),
                rendition_id: rendition.to_owned(),
                from_sequence: i32::try_from(seen).unwrap_or(i32::MAX),
            };
            let ask = || {
                let (mut dispatch, request) = (self.dispatch.clone(), request.clone());
                async move { dispatch.list_segments(request).await }
            };
            let page = insist(self.deadline(), ANSWER, ask).await.map_err(unanswered)?;
            if page.segments.is_empty() {
                return Ok(Some(addresses).filter(|addresses| !addresses.is_empty()));
            }
            if addresses.is_empty() {
                addresses.push(address(page.init)?);
            }
            for segment in page.segments {
                addresses.push(address(Some(segment))?);
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.engine.bounds.patience
    }
}

fn parse(task: &EncodeTask) -> Result<(Plan, WorkUnit), Failure> {
    let plan = serde_json::from_slice(&task.plan).map_err(|error| broken(&error))?;
    let work_unit = serde_json::from_slice(&task.share).map_err(|error| broken(&error))?;
    Ok((plan, work_unit))
}

fn address(source: Option<SourceObject>) -> Result<SourceAddress, Failure> {
    let source = source.ok_or_else(|| broken(&"dispatch named no object to read"))?;
    Ok(SourceAddress { uri: source.uri, size_bytes: u64::try_from(source.size_bytes).unwrap_or(0) })
}

/// Dispatch and this worker don't understand one another.
fn broken(error: &dyn std::fmt::Display) -> Failure {
    tracing::error!(%error, "the task can't be read");
    Failure::new(FailureKind::EncoderCrashed, "The worker failed. It is tried again.")
}

fn unanswered(status: Status) -> Failure {
    tracing::warn!(%status, "dispatch did not answer");
    Failure::new(FailureKind::EncoderCrashed, "The worker failed. It is tried again.")
}
