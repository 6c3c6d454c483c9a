//! Revisions of jobs. They increase within a shard, in the order in which the changes become visible: a counter's row stays
//! locked until its transaction ends. There are many shards, so that changes of different jobs rarely wait for each other.

use std::hash::{Hash as _, Hasher as _};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, ExprTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, TransactionTrait as _, sea_query::Expr,
};

use super::{
    connection::Db,
    entity::{job, revision_counter},
    job_details::JobDetails,
};
use crate::{domain::JobState, error::TranscodeError};

/// Number of shards.
pub(super) const SHARDS: i32 = 64;

/// A revision of each shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardRevisions(Vec<i64>);

impl ShardRevisions {
    /// Revisions by shard; those that are missing are 0.
    pub(crate) fn new(revisions: &[i64]) -> Self {
        let revisions = (0..SHARDS as usize).map(|shard| revisions.get(shard).copied().unwrap_or(0));
        Self(revisions.collect())
    }

    /// Of a shard; 0 of a shard that there is not.
    pub(crate) fn get(&self, shard: i32) -> i64 {
        usize::try_from(shard).ok().and_then(|shard| self.0.get(shard)).copied().unwrap_or(0)
    }

    /// Raises the revision of a shard.
    pub(crate) fn raise(&mut self, shard: i32, revision: i64) {
        if let Some(known) = usize::try_from(shard).ok().and_then(|shard| self.0.get_mut(shard)) {
            *known = Ord::max(*known, revision);
        }
    }

    /// Lowers the revision of a shard that has fewer changes than were seen: the database was restored.
    pub(crate) fn lower(&mut self, shard: i32, revision: i64) {
        if let Some(known) = usize::try_from(shard).ok().and_then(|shard| self.0.get_mut(shard)) {
            *known = Ord::min(*known, revision);
        }
    }

    /// The shards with their revisions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        (0..).zip(self.0.iter().copied())
    }
}

/// The shard of a job.
pub(super) fn shard_of(job: &str) -> i32 {
    // Stored with the job, so that it need not be the same in every release.
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    job.hash(&mut hasher);
    i32::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0)
}

/// The next revision of a shard, whose counter stays locked until the transaction ends.
pub(super) async fn next_revision(
    transaction: &DatabaseTransaction,
    shard: i32,
) -> Result<i64, TranscodeError> {
    revision_counter::Entity::update_many()
        .col_expr(revision_counter::Column::Revision, Expr::col(revision_counter::Column::Revision).add(1))
        .filter(revision_counter::Column::Shard.eq(shard))
        .exec(transaction)
        .await?;
    counter(transaction, shard).await
}

async fn counter(connection: &impl ConnectionTrait, shard: i32) -> Result<i64, TranscodeError> {
    let row = revision_counter::Entity::find_by_id(shard).one(connection).await?;
    row.map(|row| row.revision)
        .ok_or_else(|| DbErr::RecordNotFound(format!("the revision counter of shard {shard}")).into())
}

impl Db {
    /// The last revision of each shard.
    pub(crate) async fn revisions(&self) -> Result<ShardRevisions, TranscodeError> {
        let mut revisions = ShardRevisions::new(&[]);
        for row in revision_counter::Entity::find().all(&self.connection).await? {
            revisions.raise(row.shard, row.revision);
        }
        Ok(revisions)
    }

    /// Jobs of a shard with a higher revision than `revision`, in the order of their revisions.
    pub(crate) async fn jobs_changed_since(
        &self,
        shard: i32,
        revision: i64,
        limit: u64,
    ) -> Result<Vec<JobDetails>, TranscodeError> {
        let jobs = job::Entity::find()
            .filter(job::Column::Shard.eq(shard))
            .filter(job::Column::Revision.gt(revision));
        self.details(jobs.order_by_asc(job::Column::Revision).limit(limit)).await
    }

    /// Running jobs: a page after an id.
    pub(crate) async fn running_jobs(
        &self,
        after: &str,
        limit: u64,
    ) -> Result<Vec<JobDetails>, TranscodeError> {
        let running = job::Entity::find()
            .filter(job::Column::State.eq(JobState::Running))
            .filter(job::Column::Id.gt(after));
        self.details(running.order_by_asc(job::Column::Id).limit(limit)).await
    }

    /// Gives the jobs of the shards that are behind `seen` new revisions above those. A watcher has seen more than there is
    /// when the database was restored from a backup: to it, the restored jobs are changes.
    pub(crate) async fn advance_revisions(&self, seen: &ShardRevisions) -> Result<(), TranscodeError> {
        for (shard, current) in self.revisions().await?.iter() {
            if seen.get(shard) <= current {
                continue;
            }
            tracing::warn!(
                shard,
                current,
                seen = seen.get(shard),
                "jobs were restored: they get new revisions"
            );
            let transaction = self.connection.begin().await?;
            // In the order of other transactions: jobs first.
            let jobs = job::Entity::find()
                .select_only()
                .column(job::Column::Id)
                .filter(job::Column::Shard.eq(shard));
            let _locked: Vec<String> =
                jobs.order_by_asc(job::Column::Id).lock_exclusive().into_tuple().all(&transaction).await?;
            let next = next_revision(&transaction, shard).await?;
            let offset = seen.get(shard);
            job::Entity::update_many()
                .col_expr(job::Column::Revision, Expr::col(job::Column::Revision).add(offset))
                .filter(job::Column::Shard.eq(shard))
                .exec(&transaction)
                .await?;
            revision_counter::Entity::update_many()
                .col_expr(revision_counter::Column::Revision, Expr::value(next.saturating_add(offset)))
                .filter(revision_counter::Column::Shard.eq(shard))
                .exec(&transaction)
                .await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_revisions_never_decrease() {
        let mut revisions = ShardRevisions::new(&[5, 7]);
        revisions.raise(0, 4);
        revisions.raise(63, 9);
        revisions.raise(64, 9);
        revisions.raise(-1, 9);
        assert_eq!([-1, 0, 1, 2, 63, 64].map(|shard| revisions.get(shard)), [0, 5, 7, 0, 9, 0]);
        assert_eq!(revisions.iter().count(), SHARDS as usize);
    }

    #[test]
    fn shard_of_uses_all_shards() {
        let shards: std::collections::HashSet<i32> =
            (0..10_000).map(|job| shard_of(&format!("job{job}"))).collect();
        assert_eq!(shards.len(), SHARDS as usize);
        assert!(shards.into_iter().all(|shard| (0..SHARDS).contains(&shard)));
    }
}
