//! Describes a leased task to its worker.

use std::{collections::HashMap, sync::Arc};

use reelmill_proto::{
    timestamp,
    transcode::{EncodeTask, Lease, PackageTask, PrepareTask, StartTaskResponse, start_task_response::Work},
};

use super::{lease::LeasedTask, urls::PresignedUrls};
use crate::{
    db::{Db, Generation, RecordedOutput, TaskRow},
    domain::{TaskKind, attempt_path, job_folder, task_name},
    error::TranscodeError,
    plans::{JobPlan, Plans},
};

/// Builds the messages that describe a task.
pub(crate) struct WorkMessages {
    pub(crate) db: Db,
    pub(crate) plans: Arc<Plans>,
    pub(crate) urls: PresignedUrls,
}

impl WorkMessages {
    /// The lease and work of a started task.
    pub(crate) async fn start_task_response(
        &self,
        leased: &LeasedTask,
    ) -> Result<StartTaskResponse, TranscodeError> {
        let LeasedTask { job, task } = leased;
        let work = match task.kind {
            TaskKind::Prepare => Work::Prepare(PrepareTask {
                source: Some(self.urls.source(job).await?),
                program: job.option_source_program.unwrap_or(0),
            }),
            TaskKind::Encode => Work::Encode(self.encode_task(leased).await?),
            TaskKind::Package => Work::Package(PackageTask {
                plan: self.plans.require(&Generation::of(job)).await?.json.clone().into_bytes(),
                rendition_ids: vec![task.rendition_id.clone()],
            }),
        };
        let folder = job_folder(&job.output_prefix, &job.id);
        let attempt = attempt_path(task.generation, task.task_index, task.fencing_token);
        Ok(StartTaskResponse {
            lease: Some(Lease { task: task_name(&task.job_id, &task.id), fencing_token: task.fencing_token }),
            lease_expire_time: Some(timestamp(task.lease_expire_time)),
            attempt: i32::try_from(task.fencing_token).unwrap_or(i32::MAX),
            output_prefix: format!("{folder}{attempt}"),
            work: Some(work),
        })
    }

    /// The work unit of an ENCODE task.
    pub(crate) async fn encode_task(&self, leased: &LeasedTask) -> Result<EncodeTask, TranscodeError> {
        let generation = Generation::of(&leased.job);
        let plan = self.plans.require(&generation).await?;
        // The first attempt has recorded nothing.
        let recorded = match leased.task.fencing_token {
            ..=1 => HashMap::new(),
            _ => self.recorded_segments(&generation, &plan, &leased.task).await?,
        };
        let work_unit = plan.work_unit(leased.task.task_index).map(serde_json::to_vec).transpose()?;
        Ok(EncodeTask {
            source: Some(self.urls.source(&leased.job).await?),
            plan: plan.json.clone().into_bytes(),
            work_unit: work_unit.unwrap_or_default(),
            recorded,
        })
    }

    /// Number of a task's segments that are recorded, from its first one without gaps, by rendition.
    async fn recorded_segments(
        &self,
        generation: &Generation,
        plan: &JobPlan,
        task: &TaskRow,
    ) -> Result<HashMap<String, i32>, TranscodeError> {
        let recorded = self.db.segments_of_task(generation, task.task_index).await?;
        let sequences = recorded.into_iter().filter_map(RecordedOutput::into_segment);
        Ok(plan.allowed_outputs(task).recorded_counts(sequences))
    }
}
