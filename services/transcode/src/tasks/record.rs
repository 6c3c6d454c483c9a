//! RecordOutputs: records uploaded objects as outputs of the job.

use std::sync::Arc;

use reelmill_platform::clock::Clock;
use reelmill_proto::transcode::RecordOutputsRequest;

use super::{
    lease::{Leases, LockedTask, PresentedLease},
    recorded_outputs::recorded_outputs,
};
use crate::{
    db::TaskRow, domain::TaskRules, error::TranscodeError, job_changes::JobChanges, plans::Plans,
    publisher::PublicationSchedule,
};

/// Most outputs of one call.
const MAX_OUTPUTS: usize = 1000;

/// Records outputs.
pub(crate) struct OutputRecorder {
    pub(crate) leases: Leases,
    pub(crate) plans: Arc<Plans>,
    pub(crate) changes: JobChanges,
    pub(crate) publications: Arc<PublicationSchedule>,
    pub(crate) clock: Clock,
}

impl OutputRecorder {
    /// Records outputs under a valid lease. The publisher announces them: segments arrive several times a second.
    pub(crate) async fn record(&self, request: &RecordOutputsRequest) -> Result<(), TranscodeError> {
        if request.outputs.len() > MAX_OUTPUTS {
            return Err(TranscodeError::field("outputs", format!("must be at most {MAX_OUTPUTS}")));
        }
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        let (locked, ()) = self.leases.lock(&presented, TaskRules::check).await?;
        let outputs = recorded_outputs(&self.plans, &locked, &request.outputs).await?;
        let LockedTask { mut transaction, task } = locked;
        let new_segments = transaction.record_outputs(task.task_index, outputs).await?;
        transaction.request_publication(self.clock.now_millis()).await?;
        transaction.stop_waiting();
        if new_segments > 0 && task.attempt_failures > 0 {
            // Attempts that make progress are not futile, however many of them are lost.
            transaction.save_task(TaskRow { attempt_failures: 0, ..task }).await?;
        }
        self.changes.commit_tasks(transaction).await?;
        self.publications.request(&presented.job);
        Ok(())
    }
}
