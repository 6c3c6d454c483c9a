//! Recorded outputs. Segments and sheets of thumbnails are many: they are stored as encoded lists, a row for each part of a
//! task. The outputs of a succeeded job are one list, its manifest.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message as _;
use sea_orm::{
    ActiveModelTrait as _, ActiveValue, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _,
    ExprTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, OnConflict},
};

use super::{
    connection::{Db, Generation},
    entity::{job, manifest, output, plan, segment_part, task},
    job_transaction::JobTransaction,
    stored_outputs::{RecordedOutput, StoredOutputs},
};
use crate::{
    domain::{OutputKind, TaskKind, TaskState},
    error::TranscodeError,
};

/// Sequence numbers of a part: a long track is recorded in several rows, because each call rewrites one.
const PART_SEQUENCES: i32 = 256;
/// Succeeded tasks that are removed together, their parts folded into one.
const FOLDED_TASKS: usize = 64;
/// Task index of the parts of removed tasks.
const REMOVED_TASKS: i32 = -1;
/// Parts read at once.
const PARTS_PAGE: usize = 50;

/// The parts of a generation that a process has read.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadParts(HashMap<(i32, i32), i32>);

impl Db {
    /// All outputs of a kind, of all renditions; neither segments nor thumbnails.
    pub(crate) async fn outputs(
        &self,
        generation: &Generation,
        kind: OutputKind,
    ) -> Result<Vec<RecordedOutput>, TranscodeError> {
        let rows = output::Entity::find()
            .filter(outputs_of(generation))
            .filter(output::Column::Kind.eq(kind))
            .order_by_asc(output::Column::RenditionId);
        Ok(rows.all(&self.connection).await?.into_iter().map(RecordedOutput::from).collect())
    }

    /// Segments and sheets of the parts that have grown since they were `read`, with those known before, in no order.
    pub(crate) async fn new_segments(
        &self,
        generation: &Generation,
        read: &mut ReadParts,
    ) -> Result<Vec<RecordedOutput>, TranscodeError> {
        let parts: Vec<(i32, i32, i32)> = segment_part::Entity::find()
            .select_only()
            .columns([
                segment_part::Column::TaskIndex,
                segment_part::Column::Part,
                segment_part::Column::Count,
            ])
            .filter(parts_of(generation))
            .into_tuple()
            .all(&self.connection)
            .await?;
        let is_new = |(task, part, count): &(i32, i32, i32)| read.0.get(&(*task, *part)) != Some(count);
        let new: Vec<_> = parts.into_iter().filter(is_new).collect();
        let (mut outputs, mut read_now) = (Vec::new(), Vec::new());
        for page in new.chunks(PARTS_PAGE) {
            let is_one_of = page.iter().fold(Condition::any(), |any, (task, part, _)| {
                any.add(segment_part::Column::TaskIndex.eq(*task).and(segment_part::Column::Part.eq(*part)))
            });
            let rows = segment_part::Entity::find().filter(parts_of(generation)).filter(is_one_of);
            for row in rows.all(&self.connection).await? {
                outputs.extend(StoredOutputs::decode(row.outputs.as_slice())?.outputs);
                read_now.push(((row.task_index, row.part), row.count));
            }
        }
        // Not before all are read: after an error or a timeout the outputs are lost.
        read.0.extend(read_now);
        Ok(outputs)
    }

    /// All segments of a rendition, in order.
    pub(crate) async fn segments(
        &self,
        generation: &Generation,
        rendition: &str,
    ) -> Result<Vec<RecordedOutput>, TranscodeError> {
        let mut segments = self.new_segments(generation, &mut ReadParts::default()).await?;
        segments.retain(|output| output.kind() == OutputKind::Segment && output.rendition_id == rendition);
        segments.sort_by_key(|segment| segment.sequence);
        // A part that was folded while they were read.
        segments.dedup_by_key(|segment| segment.sequence);
        Ok(segments)
    }

    /// Segments and sheets that a task has recorded, in no order.
    pub(crate) async fn segments_of_task(
        &self,
        generation: &Generation,
        task_index: i32,
    ) -> Result<Vec<RecordedOutput>, TranscodeError> {
        let of_task = parts_of(generation).add(segment_part::Column::TaskIndex.eq(task_index));
        read_parts(&self.connection, of_task).await
    }

    /// The outputs of a succeeded job; none if it has not succeeded or was deleted.
    pub(crate) async fn manifest(&self, job: &str) -> Result<Option<Vec<RecordedOutput>>, TranscodeError> {
        let row = manifest::Entity::find_by_id(job).one(&self.connection).await?;
        let outputs = row.map(|row| StoredOutputs::decode(row.outputs.as_slice())).transpose()?;
        Ok(outputs.map(|stored| stored.outputs))
    }

    /// Deletes the tasks, the plan and the recorded outputs of a job that did not succeed: those of this generation and
    /// earlier ones.
    pub(crate) async fn delete_work(&self, generation: &Generation) -> Result<(), TranscodeError> {
        let (job, number) = (&generation.job, generation.number);
        output::Entity::delete_many()
            .filter(output::Column::JobId.eq(job))
            .filter(output::Column::Generation.lte(number))
            .exec(&self.connection)
            .await?;
        segment_part::Entity::delete_many()
            .filter(segment_part::Column::JobId.eq(job))
            .filter(segment_part::Column::Generation.lte(number))
            .exec(&self.connection)
            .await?;
        plan::Entity::delete_many()
            .filter(plan::Column::JobId.eq(job))
            .filter(plan::Column::Generation.lte(number))
            .exec(&self.connection)
            .await?;
        task::Entity::delete_many()
            .filter(task::Column::JobId.eq(job))
            .filter(task::Column::Generation.lte(number))
            .exec(&self.connection)
            .await?;
        Ok(())
    }
}

impl JobTransaction {
    /// Records outputs of a task; returns how many segments and sheets are new. Those that are recorded already stay
    /// unchanged.
    pub(crate) async fn record_outputs(
        &self,
        task_index: i32,
        outputs: Vec<RecordedOutput>,
    ) -> Result<usize, TranscodeError> {
        let generation = Generation::of(&self.job);
        let mut parts: BTreeMap<i32, Vec<RecordedOutput>> = BTreeMap::new();
        let mut rows = Vec::new();
        for output in outputs {
            if output.is_numerous() {
                parts.entry(output.sequence / PART_SEQUENCES).or_default().push(output);
            } else {
                rows.push(output.into_row(&generation).into_active_model().reset_all());
            }
        }
        if !rows.is_empty() {
            let key = [
                output::Column::JobId,
                output::Column::Generation,
                output::Column::RenditionId,
                output::Column::Kind,
            ];
            output::Entity::insert_many(rows)
                .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
                .exec_without_returning(&self.transaction)
                .await?;
        }
        let mut new = 0;
        for (part, outputs) in parts {
            new += self.record_in_part(&generation, task_index, part, outputs).await?;
        }
        Ok(new)
    }

    async fn record_in_part(
        &self,
        generation: &Generation,
        task_index: i32,
        part: i32,
        outputs: Vec<RecordedOutput>,
    ) -> Result<usize, TranscodeError> {
        let key = (generation.job.clone(), generation.number, task_index, part);
        let known = segment_part::Entity::find_by_id(key).one(&self.transaction).await?;
        let known = known.map(|row| StoredOutputs::decode(row.outputs.as_slice())).transpose()?;
        let mut all = known.unwrap_or_default().outputs;
        let before = all.len();
        let identity = |output: &RecordedOutput| (output.kind, output.rendition_id.clone(), output.sequence);
        let mut recorded: HashSet<_> = all.iter().map(identity).collect();
        all.extend(outputs.into_iter().filter(|output| recorded.insert(identity(output))));
        let new = all.len() - before;
        if new > 0 {
            self.save_part(generation, task_index, part, all).await?;
        }
        Ok(new)
    }

    async fn save_part(
        &self,
        generation: &Generation,
        task_index: i32,
        part: i32,
        outputs: Vec<RecordedOutput>,
    ) -> Result<(), TranscodeError> {
        let row = segment_part::ActiveModel {
            job_id: ActiveValue::Set(generation.job.clone()),
            generation: ActiveValue::Set(generation.number),
            task_index: ActiveValue::Set(task_index),
            part: ActiveValue::Set(part),
            count: ActiveValue::Set(i32::try_from(outputs.len()).unwrap_or(i32::MAX)),
            outputs: ActiveValue::Set(StoredOutputs { outputs }.encode_to_vec()),
        };
        let key = [
            segment_part::Column::JobId,
            segment_part::Column::Generation,
            segment_part::Column::TaskIndex,
            segment_part::Column::Part,
        ];
        let update = [segment_part::Column::Count, segment_part::Column::Outputs];
        segment_part::Entity::insert(row)
            .on_conflict(OnConflict::columns(key).update_columns(update).to_owned())
            .exec_without_returning(&self.transaction)
            .await?;
        Ok(())
    }

    /// Segments and sheets that a task has recorded, in no order.
    pub(crate) async fn segments_of_task(
        &self,
        task_index: i32,
    ) -> Result<Vec<RecordedOutput>, TranscodeError> {
        let of_task =
            parts_of(&Generation::of(&self.job)).add(segment_part::Column::TaskIndex.eq(task_index));
        read_parts(&self.transaction, of_task).await
    }

    /// Removes the succeeded ENCODE tasks once there are enough of them, and folds their parts into one.
    pub(crate) async fn fold_tasks(&mut self) -> Result<(), TranscodeError> {
        let generation = Generation::of(&self.job);
        let succeeded: Vec<i32> = task::Entity::find()
            .select_only()
            .column(task::Column::TaskIndex)
            .filter(task::Column::JobId.eq(&generation.job))
            .filter(task::Column::Generation.eq(generation.number))
            .filter(task::Column::Kind.eq(TaskKind::Encode))
            .filter(task::Column::State.eq(TaskState::Succeeded))
            .into_tuple()
            .all(&self.transaction)
            .await?;
        if succeeded.len() < FOLDED_TASKS {
            return Ok(());
        }
        let outputs = self.take_parts(&succeeded).await?;
        let part = segment_part::Entity::find()
            .select_only()
            .column_as(segment_part::Column::Part.count(), "parts")
            .filter(parts_of(&generation))
            .filter(segment_part::Column::TaskIndex.eq(REMOVED_TASKS));
        let part: i64 = part.into_tuple().one(&self.transaction).await?.unwrap_or(0);
        self.save_part(&generation, REMOVED_TASKS, i32::try_from(part).unwrap_or(i32::MAX), outputs).await?;
        task::Entity::delete_many()
            .filter(task::Column::JobId.eq(&generation.job))
            .filter(task::Column::Generation.eq(generation.number))
            .filter(task::Column::TaskIndex.is_in(succeeded.iter().copied()))
            .filter(task::Column::State.eq(TaskState::Succeeded))
            .exec(&self.transaction)
            .await?;
        self.job.folded_work_units = self.job.folded_work_units.with(succeeded);
        job::Entity::update_many()
            .col_expr(job::Column::FoldedWorkUnits, Expr::value(self.job.folded_work_units.clone()))
            .filter(job::Column::Id.eq(&self.job.id))
            .exec(&self.transaction)
            .await?;
        Ok(())
    }

    /// Reads and deletes the parts of tasks.
    async fn take_parts(&self, tasks: &[i32]) -> Result<Vec<RecordedOutput>, TranscodeError> {
        let of_tasks = parts_of(&Generation::of(&self.job))
            .add(segment_part::Column::TaskIndex.is_in(tasks.iter().copied()));
        let outputs = read_parts(&self.transaction, of_tasks.clone()).await?;
        segment_part::Entity::delete_many().filter(of_tasks).exec(&self.transaction).await?;
        Ok(outputs)
    }

    /// Folds all recorded outputs into the manifest, and deletes them, the tasks and the plan; returns the size of the
    /// outputs, bytes.
    pub(crate) async fn write_manifest(&self) -> Result<i64, TranscodeError> {
        let generation = Generation::of(&self.job);
        let rows = output::Entity::find().filter(outputs_of(&generation)).all(&self.transaction).await?;
        let mut outputs: Vec<_> = rows.into_iter().map(RecordedOutput::from).collect();
        let mut segments = read_parts(&self.transaction, parts_of(&generation)).await?;
        segments.sort_by(|a, b| {
            let key = |output: &RecordedOutput| (output.kind, output.sequence);
            a.rendition_id.cmp(&b.rendition_id).then_with(|| key(a).cmp(&key(b)))
        });
        outputs.extend(segments);
        let size = outputs.iter().map(|output| output.size_bytes).fold(0, i64::saturating_add);
        self.delete_work().await?;
        let row = manifest::Model {
            job_id: generation.job,
            generation: generation.number,
            outputs: StoredOutputs { outputs }.encode_to_vec(),
        };
        let insert = manifest::Entity::insert(row.into_active_model().reset_all());
        insert.exec_without_returning(&self.transaction).await?;
        Ok(size)
    }

    /// Deletes the tasks, plans and recorded outputs of all generations.
    pub(super) async fn delete_work(&self) -> Result<(), TranscodeError> {
        let (job, transaction) = (&self.job.id, &self.transaction);
        task::Entity::delete_many().filter(task::Column::JobId.eq(job)).exec(transaction).await?;
        output::Entity::delete_many().filter(output::Column::JobId.eq(job)).exec(transaction).await?;
        segment_part::Entity::delete_many()
            .filter(segment_part::Column::JobId.eq(job))
            .exec(transaction)
            .await?;
        plan::Entity::delete_many().filter(plan::Column::JobId.eq(job)).exec(transaction).await?;
        manifest::Entity::delete_many().filter(manifest::Column::JobId.eq(job)).exec(transaction).await?;
        Ok(())
    }
}

/// Reads parts, on a connection or within a transaction.
async fn read_parts(
    connection: &impl ConnectionTrait,
    parts: Condition,
) -> Result<Vec<RecordedOutput>, TranscodeError> {
    let mut outputs = Vec::new();
    for row in segment_part::Entity::find().filter(parts).all(connection).await? {
        outputs.extend(StoredOutputs::decode(row.outputs.as_slice())?.outputs);
    }
    Ok(outputs)
}

fn outputs_of(generation: &Generation) -> Condition {
    Condition::all()
        .add(output::Column::JobId.eq(&generation.job))
        .add(output::Column::Generation.eq(generation.number))
}

fn parts_of(generation: &Generation) -> Condition {
    Condition::all()
        .add(segment_part::Column::JobId.eq(&generation.job))
        .add(segment_part::Column::Generation.eq(generation.number))
}
