//! Plans and recorded objects in the database.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, sea_query::Expr,
};

use super::{
    Generation, RecordedRow, Store,
    entity::{plan, recorded},
};
use crate::{domain::Role, error::TranscodeError};

impl Store {
    /// A generation's plan, JSON.
    pub(crate) async fn plan(&self, of: &Generation) -> Result<Option<Vec<u8>>, TranscodeError> {
        let row = plan::Entity::find_by_id((of.job.clone(), of.number)).one(&self.database).await?;
        Ok(row.map(|row| row.plan))
    }

    /// Segments of a rendition from a place on, in their order.
    pub(crate) async fn segments(
        &self,
        of: &Generation,
        rendition: &str,
        from: i32,
        limit: u64,
    ) -> Result<Vec<RecordedRow>, TranscodeError> {
        let wanted = of_role(of, Role::Segment)
            .add(recorded::Column::Rendition.eq(rendition))
            .add(recorded::Column::Sequence.gte(from));
        let rows = recorded::Entity::find().filter(wanted).order_by_asc(recorded::Column::Sequence);
        Ok(rows.limit(limit).all(&self.database).await?)
    }

    /// The places of a rendition's segments within a stretch, in their order.
    pub(crate) async fn sequences(
        &self,
        of: &Generation,
        rendition: &str,
        places: &std::ops::Range<i32>,
    ) -> Result<Vec<i32>, TranscodeError> {
        let wanted = of_role(of, Role::Segment)
            .add(recorded::Column::Rendition.eq(rendition))
            .add(recorded::Column::Sequence.gte(places.start))
            .add(recorded::Column::Sequence.lt(places.end));
        let rows = recorded::Entity::find().select_only().column(recorded::Column::Sequence).filter(wanted);
        let rows = rows.order_by_asc(recorded::Column::Sequence);
        Ok(rows.into_tuple().all(&self.database).await?)
    }

    /// All objects of a role, of all renditions.
    pub(crate) async fn recorded(
        &self,
        of: &Generation,
        role: Role,
    ) -> Result<Vec<RecordedRow>, TranscodeError> {
        Ok(recorded::Entity::find().filter(of_role(of, role)).all(&self.database).await?)
    }

    /// The addresses of everything recorded.
    pub(crate) async fn recorded_uris(&self, of: &Generation) -> Result<Vec<String>, TranscodeError> {
        let rows = recorded::Entity::find().select_only().column(recorded::Column::Uri).filter(of_job(of));
        Ok(rows.into_tuple().all(&self.database).await?)
    }

    /// Bytes of everything recorded.
    pub(crate) async fn recorded_size(&self, of: &Generation) -> Result<i64, TranscodeError> {
        // Postgres sums bigints as numeric, which is no integer.
        let sum = Expr::col(recorded::Column::SizeBytes).sum().cast_as("bigint");
        let rows = recorded::Entity::find().select_only().column_as(sum, "sum").filter(of_job(of));
        let sum: Option<Option<i64>> = rows.into_tuple().one(&self.database).await?;
        Ok(sum.flatten().unwrap_or(0))
    }

    /// Forgets what was recorded of a job that nobody will play.
    pub(crate) async fn forget_recorded(&self, job: &str) -> Result<(), TranscodeError> {
        recorded::Entity::delete_many().filter(recorded::Column::JobId.eq(job)).exec(&self.database).await?;
        plan::Entity::delete_many().filter(plan::Column::JobId.eq(job)).exec(&self.database).await?;
        Ok(())
    }
}

fn of_job(of: &Generation) -> Condition {
    Condition::all().add(recorded::Column::JobId.eq(&of.job)).add(recorded::Column::Generation.eq(of.number))
}

fn of_role(of: &Generation, role: Role) -> Condition {
    of_job(of).add(recorded::Column::Role.eq(role as i32))
}
