//! Queries of plans and recorded outputs.

use std::ops::Range;

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, sea_query::Expr,
};

use super::{
    connection::{Db, Generation},
    entity::{OutputRow, output, plan},
};
use crate::{domain::OutputKind, error::TranscodeError};

impl Db {
    /// A generation's plan, JSON.
    pub(crate) async fn plan(&self, generation: &Generation) -> Result<Option<String>, TranscodeError> {
        let key = (generation.job.clone(), generation.number);
        Ok(plan::Entity::find_by_id(key).one(&self.connection).await?.map(|row| row.plan))
    }

    /// Segments of a rendition from a sequence number, in order.
    pub(crate) async fn segments(
        &self,
        generation: &Generation,
        rendition: &str,
        from_sequence: i32,
        limit: u64,
    ) -> Result<Vec<OutputRow>, TranscodeError> {
        let condition = of_kind(generation, OutputKind::Segment)
            .add(output::Column::RenditionId.eq(rendition))
            .add(output::Column::Sequence.gte(from_sequence));
        let rows = output::Entity::find().filter(condition).order_by_asc(output::Column::Sequence);
        Ok(rows.limit(limit).all(&self.connection).await?)
    }

    /// Sequence numbers of a rendition's recorded segments within a range, in order.
    pub(crate) async fn segment_sequences(
        &self,
        generation: &Generation,
        rendition: &str,
        range: &Range<i32>,
    ) -> Result<Vec<i32>, TranscodeError> {
        let condition = of_kind(generation, OutputKind::Segment)
            .add(output::Column::RenditionId.eq(rendition))
            .add(output::Column::Sequence.gte(range.start))
            .add(output::Column::Sequence.lt(range.end));
        let rows = output::Entity::find().select_only().column(output::Column::Sequence).filter(condition);
        let rows = rows.order_by_asc(output::Column::Sequence);
        Ok(rows.into_tuple().all(&self.connection).await?)
    }

    /// All outputs of a kind, of all renditions.
    pub(crate) async fn outputs(
        &self,
        generation: &Generation,
        kind: OutputKind,
    ) -> Result<Vec<OutputRow>, TranscodeError> {
        Ok(output::Entity::find().filter(of_kind(generation, kind)).all(&self.connection).await?)
    }

    /// URIs of all outputs.
    pub(crate) async fn output_uris(&self, generation: &Generation) -> Result<Vec<String>, TranscodeError> {
        let rows = output::Entity::find()
            .select_only()
            .column(output::Column::Uri)
            .filter(of_generation(generation));
        Ok(rows.into_tuple().all(&self.connection).await?)
    }

    /// Size of all outputs together, bytes.
    pub(crate) async fn outputs_size(&self, generation: &Generation) -> Result<i64, TranscodeError> {
        // Postgres sums bigints as numeric, which does not decode as an integer.
        let sum = Expr::col(output::Column::SizeBytes).sum().cast_as("bigint");
        let rows =
            output::Entity::find().select_only().column_as(sum, "sum").filter(of_generation(generation));
        let sum: Option<Option<i64>> = rows.into_tuple().one(&self.connection).await?;
        Ok(sum.flatten().unwrap_or(0))
    }

    /// Deletes the plan and the recorded outputs of a job that did not succeed: those of this generation and earlier ones.
    pub(crate) async fn delete_outputs(&self, generation: &Generation) -> Result<(), TranscodeError> {
        output::Entity::delete_many()
            .filter(output::Column::JobId.eq(&generation.job))
            .filter(output::Column::Generation.lte(generation.number))
            .exec(&self.connection)
            .await?;
        plan::Entity::delete_many()
            .filter(plan::Column::JobId.eq(&generation.job))
            .filter(plan::Column::Generation.lte(generation.number))
            .exec(&self.connection)
            .await?;
        Ok(())
    }
}

fn of_generation(generation: &Generation) -> Condition {
    Condition::all()
        .add(output::Column::JobId.eq(&generation.job))
        .add(output::Column::Generation.eq(generation.number))
}

fn of_kind(generation: &Generation, kind: OutputKind) -> Condition {
    of_generation(generation).add(output::Column::Kind.eq(kind))
}
