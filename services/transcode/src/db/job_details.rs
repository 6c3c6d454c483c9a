//! Jobs with their child rows.

use std::collections::HashMap;

use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use super::entity::{JobRow, RenditionRow, WarningRow, rendition, warning};
use crate::error::TranscodeError;

/// A job with its child rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JobDetails {
    pub(crate) row: JobRow,
    /// By position.
    pub(crate) renditions: Vec<RenditionRow>,
    /// By position.
    pub(crate) warnings: Vec<WarningRow>,
}

/// Adds the child rows of jobs, keeping their order.
pub(super) async fn load_details(
    connection: &impl ConnectionTrait,
    jobs: Vec<JobRow>,
) -> Result<Vec<JobDetails>, TranscodeError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    let mut renditions: HashMap<String, Vec<RenditionRow>> = HashMap::new();
    let rows = rendition::Entity::find()
        .filter(rendition::Column::JobId.is_in(ids.iter().copied()))
        .order_by_asc(rendition::Column::Position);
    for row in rows.all(connection).await? {
        renditions.entry(row.job_id.clone()).or_default().push(row);
    }
    let mut warnings: HashMap<String, Vec<WarningRow>> = HashMap::new();
    let rows = warning::Entity::find()
        .filter(warning::Column::JobId.is_in(ids))
        .order_by_asc(warning::Column::Position);
    for row in rows.all(connection).await? {
        warnings.entry(row.job_id.clone()).or_default().push(row);
    }
    let details = jobs.into_iter().map(|row| JobDetails {
        renditions: renditions.remove(&row.id).unwrap_or_default(),
        warnings: warnings.remove(&row.id).unwrap_or_default(),
        row,
    });
    Ok(details.collect())
}
