//! RecordOutputs: records uploaded objects as outputs of the job.

use std::sync::Arc;

use reelmill_proto::transcode::RecordOutputsRequest;

use super::{
    lease::{Leases, PresentedLease},
    output_rows::output_rows,
};
use crate::{
    domain::TaskRules, error::TranscodeError, job_changes::JobChanges, plans::Plans,
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
}

impl OutputRecorder {
    /// Records outputs under a valid lease. The publisher announces them: segments arrive several times a second.
    pub(crate) async fn record(&self, request: &RecordOutputsRequest) -> Result<(), TranscodeError> {
        if request.outputs.len() > MAX_OUTPUTS {
            return Err(TranscodeError::field("outputs", format!("must be at most {MAX_OUTPUTS}")));
        }
        let presented = PresentedLease::parse(request.lease.as_ref())?;
        let (mut locked, ()) = self.leases.lock(&presented, TaskRules::check).await?;
        let rows = output_rows(&self.plans, &locked, &request.outputs).await?;
        locked.transaction.record_outputs(rows).await?;
        locked.transaction.stop_waiting();
        self.changes.commit_tasks(locked.transaction).await?;
        self.publications.request(&presented.job);
        Ok(())
    }
}
