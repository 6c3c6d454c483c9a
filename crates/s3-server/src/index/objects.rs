//! Objects in the index.

use std::ops::Range;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult, Value};

use super::{Index, Retired, json, require_bucket, sql, unsigned};
use crate::blobs::BlobId;
use crate::checksum::Checksums;
use crate::conditions::WriteConditions;
use crate::error::Result;
use crate::headers::{ObjectHeaders, now_millis};

/// Rows in one INSERT of extents; SQLite allows 32,766 values in a statement.
const EXTENTS_AT_ONCE: usize = 500;

const COLUMNS: &str = "id, key, size, etag, modified, headers, checksums, checksum_type";

/// An object, without its content.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    /// Unix milliseconds.
    pub(crate) modified: i64,
    pub(crate) headers: ObjectHeaders,
    pub(crate) checksums: Checksums,
    pub(crate) checksum_type: Option<String>,
}

/// A piece of an object's content.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) blob: BlobId,
    /// Offset of its first byte in the object.
    pub(crate) first: u64,
    pub(crate) size: u64,
}

/// An object together with the pieces of the range that was asked for.
pub(crate) struct Found {
    pub(crate) object: Object,
    pub(crate) range: Range<u64>,
    pub(crate) extents: Vec<Extent>,
}

/// An object about to be written.
pub(crate) struct NewObject {
    pub(crate) etag: String,
    pub(crate) headers: ObjectHeaders,
    pub(crate) checksums: Checksums,
    pub(crate) checksum_type: Option<String>,
    pub(crate) upload: Option<String>,
    /// The content's blobs and their sizes, in order.
    pub(crate) content: Vec<(BlobId, u64)>,
}

impl Object {
    pub(super) fn from_row(row: &QueryResult) -> std::result::Result<Self, DbErr> {
        Ok(Self {
            id: row.try_get("", "id")?,
            key: row.try_get("", "key")?,
            size: unsigned(row, "size")?,
            etag: row.try_get("", "etag")?,
            modified: row.try_get("", "modified")?,
            headers: json(row, "headers")?,
            checksums: json(row, "checksums")?,
            checksum_type: row.try_get("", "checksum_type")?,
        })
    }
}

impl Index {
    /// The object, if it exists. Refuses an unknown bucket.
    pub(crate) async fn object(&self, bucket: &str, key: &str) -> Result<Option<Object>> {
        let object = find(&self.db, bucket, key).await?;
        if object.is_none() {
            self.require_bucket(bucket).await?;
        }
        Ok(object)
    }

    /// The object and, as one consistent view, the extents of the range that `choose` picks from it.
    pub(crate) async fn content(
        &self,
        bucket: &str,
        key: &str,
        choose: impl FnOnce(&Object) -> Result<Range<u64>> + Send,
    ) -> Result<Option<Found>> {
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
        let extents = extents.iter().map(extent).collect::<std::result::Result<_, _>>()?;
        Ok(Some(Found { object, range, extents }))
    }

    /// Writes an object in place of the one that is there, if any.
    pub(crate) async fn put(
        &self,
        bucket: &str,
        key: &str,
        object: NewObject,
        conditions: &WriteConditions,
    ) -> Result<(i64, Option<Retired>)> {
        let txn = self.begin().await?;
        let (modified, retired) = replace(&txn, bucket, key, object, conditions).await?;
        txn.commit().await?;
        Ok((modified, retired))
    }

    /// Deletes objects in one transaction. Those that do not exist are no error.
    pub(crate) async fn delete(
        &self,
        bucket: &str,
        keys: &[String],
        conditions: &WriteConditions,
    ) -> Result<Vec<Retired>> {
        let txn = self.begin().await?;
        require_bucket(&txn, bucket).await?;
        let mut retired = Vec::new();
        for key in keys {
            let current = find(&txn, bucket, key).await?;
            conditions.check(current.as_ref().map(|o| o.etag.as_str()))?;
            if let Some(object) = current {
                retired.push(remove(&txn, object.id).await?);
            }
        }
        txn.commit().await?;
        Ok(retired)
    }

    /// Up to `limit` objects in key order, after `after` if given, from the first with `prefix`.
    pub(crate) async fn objects_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Object>> {
        // One lower bound, so that SQLite seeks to it: "after" counts if it lies behind the prefix.
        let (beyond, bound) = match after {
            Some(after) if after >= prefix => (">", after),
            _ => (">=", prefix),
        };
        let page =
            format!("SELECT {COLUMNS} FROM object WHERE bucket = ? AND key {beyond} ? ORDER BY key LIMIT ?");
        let values = [bucket.into(), bound.into(), (limit as i64).into()];
        let rows = self.db.query_all_raw(sql(&page, values)).await?;
        Ok(rows.iter().map(Object::from_row).collect::<std::result::Result<_, _>>()?)
    }
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    bucket: &str,
    key: &str,
) -> std::result::Result<Option<Object>, DbErr> {
    let select = format!("SELECT {COLUMNS} FROM object WHERE bucket = ? AND key = ?");
    let row = db.query_one_raw(sql(&select, [bucket.into(), key.into()])).await?;
    row.as_ref().map(Object::from_row).transpose()
}

/// Writes an object inside `txn`. Returns its time of modification and what it replaced.
pub(super) async fn replace(
    txn: &DatabaseTransaction,
    bucket: &str,
    key: &str,
    object: NewObject,
    conditions: &WriteConditions,
) -> Result<(i64, Option<Retired>)> {
    let current = find(txn, bucket, key).await?;
    if current.is_none() {
        require_bucket(txn, bucket).await?;
    }
    conditions.check(current.as_ref().map(|o| o.etag.as_str()))?;
    let retired = match current {
        Some(object) => Some(remove(txn, object.id).await?),
        None => None,
    };
    let modified = now_millis();
    let size: u64 = object.content.iter().map(|(_, size)| size).sum();
    let insert = "INSERT INTO object (bucket, key, size, etag, modified, headers, checksums, checksum_type, upload) \
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id";
    let values = [
        bucket.into(),
        key.into(),
        (size as i64).into(),
        object.etag.into(),
        modified.into(),
        serde_json::to_string(&object.headers)?.into(),
        serde_json::to_string(&object.checksums)?.into(),
        object.checksum_type.into(),
        object.upload.into(),
    ];
    let row = txn.query_one_raw(sql(insert, values)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotInserted)?;
    insert_extents(txn, row.try_get_by_index(0)?, &object.content).await?;
    Ok((modified, retired))
}

async fn insert_extents(
    txn: &DatabaseTransaction,
    object: i64,
    content: &[(BlobId, u64)],
) -> std::result::Result<(), DbErr> {
    let mut first = 0;
    for (batch, blobs) in content.chunks(EXTENTS_AT_ONCE).enumerate() {
        let rows = vec!["(?, ?, ?, ?, ?)"; blobs.len()].join(", ");
        let insert = format!("INSERT INTO extent (object, position, first, size, blob) VALUES {rows}");
        let mut values: Vec<Value> = Vec::with_capacity(blobs.len() * 5);
        for (n, (blob, size)) in blobs.iter().enumerate() {
            let position = (batch * EXTENTS_AT_ONCE + n) as i64;
            values.extend([object.into(), position.into(), (first as i64).into()]);
            values.extend([(*size as i64).into(), blob.as_str().into()]);
            first += size;
        }
        let insert = sea_orm::Statement::from_sql_and_values(sea_orm::DbBackend::Sqlite, insert, values);
        txn.execute_raw(insert).await?;
    }
    Ok(())
}

/// Removes an object inside `txn`.
async fn remove(txn: &DatabaseTransaction, id: i64) -> std::result::Result<Retired, DbErr> {
    let extents =
        txn.query_all_raw(sql("DELETE FROM extent WHERE object = ? RETURNING blob", [id.into()])).await?;
    let blobs = extents.iter().map(|row| row.try_get_by_index::<String>(0).map(BlobId::from));
    let blobs = blobs.collect::<std::result::Result<_, _>>()?;
    txn.execute_raw(sql("DELETE FROM object WHERE id = ?", [id.into()])).await?;
    Ok(Retired { object: id, blobs })
}

fn extent(row: &QueryResult) -> std::result::Result<Extent, DbErr> {
    Ok(Extent {
        blob: row.try_get::<String>("", "blob")?.into(),
        first: unsigned(row, "first")?,
        size: unsigned(row, "size")?,
    })
}
