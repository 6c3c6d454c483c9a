//! Objects in the index.

use std::result;

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
    error::{Result, no_such_part},
    model::{Extent, NewExtent, NewObject, Object, ObjectContent, RemovedObject, Selection},
    timestamps::now_millis,
};

/// Rows in one INSERT of extents. SQLite allows 32,766 values in a statement.
const EXTENTS_PER_INSERT: usize = 500;

const COLUMNS: &str = "id, key, size, etag, modify_time, headers, checksums, checksum_type, part_count";

const EXTENT_COLUMNS: &str = "first, size, etag, checksums, blob";

impl Index {
    /// The object, if it exists. Rejects an unknown bucket.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Result<Option<Object>> {
        let object = find(&self.db, bucket, key).await?;
        if object.is_none() {
            self.require_bucket(bucket).await?;
        }
        Ok(object)
    }

    /// The object and the extents that `choose` selects, read in one transaction. Rejects the number of a
    /// part that does not exist.
    pub(crate) async fn content(
        &self,
        bucket: &str,
        key: &str,
        choose: impl FnOnce(&Object) -> Result<Selection> + Send,
    ) -> Result<Option<ObjectContent>> {
        let txn = self.begin().await?;
        let Some(object) = find(&txn, bucket, key).await? else {
            require_bucket(&txn, bucket).await?;
            return Ok(None);
        };
        let (range, extents) = match choose(&object)? {
            Selection::Whole => (0..object.size, extents_from(&txn, object.id, 0, i64::MAX as u64).await?),
            Selection::Bytes(range) => {
                let overlap = format!(
                    "SELECT {EXTENT_COLUMNS} FROM extent \
                     WHERE object = ? AND first < ? AND first + size > ? ORDER BY position"
                );
                let bounds = [object.id.into(), (range.end as i64).into(), (range.start as i64).into()];
                let extents = txn.query_all_raw(sql(&overlap, bounds)).await?;
                (range, extents.iter().map(rows::extent).collect::<result::Result<_, _>>()?)
            }
            Selection::Part(number) => {
                let part = extents_from(&txn, object.id, number - 1, 1).await?.pop();
                let part = part.ok_or_else(no_such_part)?;
                (part.range(), vec![part])
            }
        };
        Ok(Some(ObjectContent { object, range, extents }))
    }

    /// The object, and up to `limit` of its parts with numbers greater than `after`, read in one
    /// transaction. No parts if it was not uploaded in parts. Rejects an unknown bucket.
    pub(crate) async fn object_with_parts(
        &self,
        bucket: &str,
        key: &str,
        after: i32,
        limit: u64,
    ) -> Result<Option<(Object, Vec<Extent>)>> {
        let txn = self.begin().await?;
        let Some(object) = find(&txn, bucket, key).await? else {
            require_bucket(&txn, bucket).await?;
            return Ok(None);
        };
        let parts = match object.part_count {
            Some(_) => extents_from(&txn, object.id, after, limit).await?,
            None => Vec::new(),
        };
        Ok(Some((object, parts)))
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

/// Up to `limit` extents of an object, starting at `position`, in order.
async fn extents_from(
    db: &impl ConnectionTrait,
    object: i64,
    position: i32,
    limit: u64,
) -> result::Result<Vec<Extent>, DbErr> {
    let select = format!(
        "SELECT {EXTENT_COLUMNS} FROM extent WHERE object = ? AND position >= ? ORDER BY position LIMIT ?"
    );
    let values = [object.into(), position.into(), (limit as i64).into()];
    db.query_all_raw(sql(&select, values)).await?.iter().map(rows::extent).collect()
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
    let size: u64 = object.content.iter().map(|extent| extent.size).sum();
    let part_count = object.in_parts.then_some(object.content.len() as i64);
    let insert = "INSERT INTO object (bucket, key, size, etag, modify_time, headers, checksums, checksum_type, \
                  upload, part_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id";
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
        part_count.into(),
    ];
    let row = txn.query_one_raw(sql(insert, values)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotInserted)?;
    insert_extents(txn, row.try_get_by_index(0)?, &object.content).await?;
    Ok((modify_time, replaced))
}

async fn insert_extents(txn: &DatabaseTransaction, object: i64, content: &[NewExtent]) -> Result<()> {
    let mut first = 0;
    for (batch, extents) in content.chunks(EXTENTS_PER_INSERT).enumerate() {
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?)"; extents.len()].join(", ");
        let insert = format!(
            "INSERT INTO extent (object, position, first, size, etag, checksums, blob) VALUES {rows}"
        );
        let mut values: Vec<Value> = Vec::with_capacity(extents.len() * 7);
        for (n, extent) in extents.iter().enumerate() {
            let position = (batch * EXTENTS_PER_INSERT + n) as i64;
            values.extend([
                object.into(),
                position.into(),
                (first as i64).into(),
                (extent.size as i64).into(),
            ]);
            values.extend([extent.etag.as_str().into(), serde_json::to_string(&extent.checksums)?.into()]);
            values.push(extent.blob.as_str().into());
            first += extent.size;
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
