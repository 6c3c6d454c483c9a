//! A job's plan: made once from what the first worker found out, then handed to every worker.

use std::{collections::HashMap, sync::Arc};

use reelmill_media::{plan, probe};
use reelmill_proto::transcode::PlanJobRequest;

use crate::{
    convert::{Detail, planned_renditions},
    dispatch::Dispatch,
    domain::TaskKind,
    error::TranscodeError,
    leases::{Leased, shown},
    options,
    plans::Planned,
    store::{Generation, TaskRow, new_task},
};

impl Dispatch {
    /// Makes the plan, turns the PREPARE task into the first ENCODE task, and adds the others. A repeated call is
    /// answered with the plan that is there.
    pub(crate) async fn plan_job(&self, request: &PlanJobRequest) -> Result<Leased, TranscodeError> {
        let (task, lease) = shown(request.lease.as_ref())?;
        let source = source(&request.source)?;
        let (mut unit, row) = self.hold_leased(&task, lease).await?;
        match TaskKind::from_stored(row.kind) {
            Some(TaskKind::Prepare) => {}
            Some(TaskKind::Encode) => return Ok(Leased { job: unit.job.clone(), task: row }),
            _ => return Err(TranscodeError::field("lease", "is not one of a PrepareTask")),
        }
        let mut detail = Detail::of(&unit.job)?;
        let plan = plan::plan(&source, &options::complete(detail.options(), &self.config));
        let task = TaskRow {
            kind: TaskKind::Encode as i32,
            required_build: row.encoder_build.clone(),
            priority: plan.work_units.first().map_or(0, priority),
            ..row
        };
        let others = self.tasks_of(&plan, &task);
        unit.put_plan(serde_json::to_vec(&plan)?).await?;
        unit.save_task(task.clone()).await?;
        unit.add_tasks(others).await?;
        detail.plan(planned_renditions(&plan));
        detail.set_source(request.source_info.clone());
        unit.job.detail = detail.stored();
        let job = self.commit(unit).await?;
        self.publisher.touch(&job.id);
        Ok(Leased { job, task })
    }

    /// The tasks of the shares beside the first.
    fn tasks_of(&self, plan: &plan::Plan, first: &TaskRow) -> Vec<TaskRow> {
        let generation = Generation { job: first.job_id.clone(), number: first.generation };
        let now = self.clock.now_millis();
        let rest = (1..).zip(plan.work_units.iter().skip(1));
        rest.map(|(ordinal, work_unit)| TaskRow {
            priority: priority(work_unit),
            required_build: first.required_build.clone(),
            // Told to the queue in this order.
            send_due: now + i64::from(ordinal),
            ..new_task(&generation, TaskKind::Encode, ordinal, now)
        })
        .collect()
    }

    /// The plan of a generation that has one.
    pub(crate) async fn planned(&self, of: &Generation) -> Result<Arc<Planned>, TranscodeError> {
        self.plans.of(of).await?.ok_or_else(|| TranscodeError::PlanMissing(of.job.clone()))
    }

    /// How many of a task's segments are recorded already, from its first on without gaps, by rendition.
    pub(crate) async fn recorded_counts(
        &self,
        of: &Generation,
        planned: &Planned,
        task: &TaskRow,
    ) -> Result<HashMap<String, i32>, TranscodeError> {
        let mut counts = HashMap::new();
        for (rendition, places) in planned.claims(task).segments() {
            let found = self.store.sequences(of, rendition, places).await?;
            let run = found.iter().zip(places.clone()).take_while(|(found, place)| **found == *place).count();
            if run > 0 {
                counts.insert(rendition.clone(), i32::try_from(run).unwrap_or(i32::MAX));
            }
        }
        Ok(counts)
    }
}

fn priority(work_unit: &plan::WorkUnit) -> i32 {
    i32::try_from(work_unit.priority).unwrap_or(i32::MAX)
}

/// Reads what a worker probed, and refuses what no plan can be made of within bounds.
fn source(json: &[u8]) -> Result<probe::Source, TranscodeError> {
    let wrong = |message: String| TranscodeError::field("source", message);
    let source: probe::Source = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
    let lengths = [source.duration, source.video.as_ref().and_then(|video| video.duration)];
    // A container may say a little more than is encoded.
    let longest = probe::MAX_SECONDS * 2.0;
    if lengths.into_iter().flatten().any(|seconds| !(0.0..=longest).contains(&seconds)) {
        return Err(wrong("the playing time is beyond what is encoded".to_owned()));
    }
    if source.video.is_none() && source.audio.is_empty() {
        return Err(wrong("there is neither picture nor sound".to_owned()));
    }
    if source.video.as_ref().is_some_and(|video| video.stored.pixels() == 0) {
        return Err(wrong("the picture has no pixels".to_owned()));
    }
    Ok(source)
}
