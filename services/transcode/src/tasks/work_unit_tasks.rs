//! Creates the ENCODE tasks of a plan: of a long video only the next ones, so that the database doesn't grow with its length.

use reelmill_media::plan::Plan;

use crate::{
    db::{JobRow, JobTransaction, TaskRow, new_task},
    domain::{TaskClass, TaskKind, cost, work_units_to_create},
    error::TranscodeError,
};

/// Creates tasks of the next work units if few are left.
pub(super) async fn create_tasks(
    transaction: &mut JobTransaction,
    plan: &Plan,
    required_build: &str,
) -> Result<(), TranscodeError> {
    let created = transaction.job.created_work_units;
    if created >= transaction.job.work_units {
        return Ok(());
    }
    let unfinished = transaction.unfinished_encode_tasks().await?;
    let new = work_units_to_create(created, transaction.job.work_units, unfinished);
    if new.is_empty() {
        return Ok(());
    }
    let end = new.end;
    let tasks = new.filter_map(|index| work_unit_task(&transaction.job, plan, index));
    let tasks = tasks.map(|task| TaskRow { required_build: required_build.to_owned(), ..task }).collect();
    transaction.add_tasks(tasks).await?;
    transaction.set_created_work_units(end).await
}

fn work_unit_task(job: &JobRow, plan: &Plan, index: i32) -> Option<TaskRow> {
    let work_unit = plan.work_units.get(usize::try_from(index).ok()?)?;
    Some(TaskRow {
        class: TaskClass::of(plan, work_unit),
        // Sound first: the rest of a long video's sound is a BULK task, and must not fall behind the picture.
        stage: i32::from(work_unit.chunk.is_some()),
        job_position: i32::try_from(work_unit.priority).unwrap_or(i32::MAX),
        cost: cost(plan, work_unit),
        ..new_task(job, TaskKind::Encode, index)
    })
}
