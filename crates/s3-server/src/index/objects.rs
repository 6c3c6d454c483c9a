//! Objects in the index.

use std::{ops::Range, result};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};

use super::{
    buckets::require_bucket,
    connection::Index,
    rows::{self, sql},
};
use crate::{
    blobs::BlobId,
    checksum::ChecksumKind,
    conditions::WriteConditions,
    error::Result,
    model::{NewObject, Object, ObjectContent, RemovedObject},
    timestamps::now_millis,
};

/// Rows in one INSERT of extents. SQLite allows 32,766 values in a statement.
const EXTENTS_PER_INSERT: usize = 500;

const COLUMNS: &str = "id, key, size, etag, modify_time, headers, checksums, checksum_type";

impl Index {
    /// The object, if it exists. Rejects an unknown bucket.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Result<Option<Object>> {
        let object = find(&self.db, bucket, key).await?;
        if object.is_none() {
            self.require_bucket(bucket).await?;
        }
        Ok(object)
    }

    /// The object and the extents of the range that `choose` returns, read in one transaction.
    pub(crate) async fn content(
        &self,
        bucket: &str,
        key: &str,
        choose: impl FnOnce(&Object) -> Result<Range<u64>> + Send,
    ) -> Result<Option<ObjectContent>> {
        let txn = self.begin().await?;
        let Some(object) = find(&txn, bucket, key).await? else {
            require_bucket(&txn, bucket).await?;
            return Ok(None);
        };
        let range = choose(&object)?;
        let overlap = "SELECT first, size, blob FROM extent \
                       WHERE object = ? AND first < ? AND first + size > ? ORDER BY position";
        let bounds = [object.id.into(), (range.end as i64).into(), (range.start as i64).into()];
        let extents = txn.query_all_raw(sql(overlap, bounds)).await?;
        let extents = extents.iter().map(rows::extent).collect::<result::Result<_, _>>()?;
        Ok(Some(ObjectContent { object, range, extents }))
    }

    /// Inserts an object, replacing an existing one. Returns its modification time and what it replaced.
    pub(crate) async fn put(
        &self,
        bucket: &str,
        key: &str,
        object: NewObject,
        conditions: &WriteConditions,
    ) -> Result<(i64, Option<RemovedObject>)> {
        let txn = self.begin().await?;
        let (modify_time, replaced) = replace(&txn, bucket, key, object, conditions).await?;
        txn.commit().await?;
        Ok((modify_time, replaced))
    }

    /// Deletes objects in one transaction. A missing object is not an error.
    pub(crate) async fn delete(
        &self,
        bucket: &str,
        keys: &[String],
        conditions: &WriteConditions,
    ) -> Result<Vec<RemovedObject>> {
        let txn = self.begin().await?;
        require_bucket(&txn, bucket).await?;
        let mut removed = Vec::new();
        for key in keys {
            let current = find(&txn, bucket, key).await?;
            conditions.check(current.as_ref().map(|o| o.etag.as_str()))?;
            if let Some(object) = current {
                removed.push(remove(&txn, object.id).await?);
            }
        }
        txn.commit().await?;
        Ok(removed)
    }

    /// Up to `limit` objects in key order, starting at `prefix`, and after `after` if given.
    pub(crate) async fn objects_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Object>> {
        // A single lower bound, the later of the two, so that SQLite seeks to it.
        let (comparison, bound) = match after {
            Some(after) if after >= prefix => (">", after),
            _ => (">=", prefix),
        };
        let page = format!(
            "SELECT {COLUMNS} FROM object WHERE bucket = ? AND key {comparison} ? ORDER BY key LIMIT ?"
        );
        let values = [bucket.into(), bound.into(), (limit as i64).into()];
        let rows = self.db.query_all_raw(sql(&page, values)).await?;
        Ok(rows.iter().map(rows::object).collect::<result::Result<_, _>>()?)
    }
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    bucket: &str,
    key: &str,
) -> result::Result<Option<Object>, DbErr> {
    let select = format!("SELECT {COLUMNS} FROM object WHERE bucket = ? AND key = ?");
    let row = db.query_one_raw(sql(&select, [bucket.into(), key.into()])).await?;
    row.as_ref().map(rows::object).transpose()
}

/// Inserts an object in `txn`. Returns its modification time and what it replaced.
pub(super) async fn replace(
    txn: &DatabaseTransaction,
    bucket: &str,
    key: &str,
    object: NewObject,
    conditions: &WriteConditions,
) -> Result<(i64, Option<RemovedObject>)> {
    let current = find(txn, bucket, key).await?;
    if current.is_none() {
        require_bucket(txn, bucket).await?;
    }
    conditions.check(current.as_ref().map(|o| o.etag.as_str()))?;
    let replaced = match current {
        Some(object) => Some(remove(txn, object.id).await?),
        None => None,
    };
    let modify_time = now_millis();
    let size: u64 = object.content.iter().map(|(_, size)| size).sum();
    let insert = "INSERT INTO object (bucket, key, size, etag, modify_time, headers, checksums, checksum_type, upload) \
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id";
    let values = [
        bucket.into(),
        key.into(),
        (size as i64).into(),
        object.etag.into(),
        modify_time.into(),
        serde_json::to_string(&object.headers)?.into(),
        serde_json::to_string(&object.checksums)?.into(),
        object.checksum_kind.map(ChecksumKind::name).into(),
        object.upload.into(),
    ];
    let row = txn.query_one_raw(sql(insert, values)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotInserted)?;
    insert_extents(txn, row.try_get_by_index(0)?, &object.content).await?;
    Ok((modify_time, replaced))
}

async fn insert_extents(
    txn: &DatabaseTransaction,
    object: i64,
    content: &[(BlobId, u64)],
) -> result::Result<(), DbErr> {
    let mut first = 0;
    for (batch, blobs) in content.chunks(EXTENTS_PER_INSERT).enumerate() {
        let rows = vec!["(?, ?, ?, ?, ?)"; blobs.len()].join(", ");
        let insert = format!("INSERT INTO extent (object, position, first, size, blob) VALUES {rows}");
        let mut values: Vec<Value> = Vec::with_capacity(blobs.len() * 5);
        for (n, (blob, size)) in blobs.iter().enumerate() {
            let position = (batch * EXTENTS_PER_INSERT + n) as i64;
            values.extend([object.into(), position.into(), (first as i64).into()]);
            values.extend([(*size as i64).into(), blob.as_str().into()]);
            first += size;
        }
        txn.execute_raw(sql(&insert, values)).await?;
    }
    Ok(())
}

/// Deletes an object in `txn`.
async fn remove(txn: &DatabaseTransaction, id: i64) -> result::Result<RemovedObject, DbErr> {
    let extents =
        txn.query_all_raw(sql("DELETE FROM extent WHERE object = ? RETURNING blob", [id.into()])).await?;
    let blobs = extents.iter().map(|row| row.try_get_by_index::<String>(0).map(BlobId::from));
    let blobs = blobs.collect::<result::Result<_, _>>()?;
    txn.execute_raw(sql("DELETE FROM object WHERE id = ?", [id.into()])).await?;
    Ok(RemovedObject { object: id, blobs })
}
