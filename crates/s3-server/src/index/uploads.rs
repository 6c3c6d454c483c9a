//! Multipart uploads and their parts in the index.

use std::collections::BTreeMap;

use s3s::{S3Error, s3_error};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult};

use super::objects::replace;
use super::{Index, NewObject, Object, Retired, json, require_bucket, sql, unsigned};
use crate::blobs::BlobId;
use crate::checksum::Checksums;
use crate::conditions::WriteConditions;
use crate::error::Result;
use crate::headers::{ObjectHeaders, now_millis};

/// A multipart upload in progress.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) bucket: String,
    pub(crate) key: String,
    /// Unix milliseconds.
    pub(crate) initiated: i64,
    pub(crate) headers: ObjectHeaders,
    /// The checksum algorithm of the object to be, by its name.
    pub(crate) algorithm: Option<String>,
    pub(crate) checksum_type: Option<String>,
}

/// A part that was received.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) number: i32,
    pub(crate) size: u64,
    /// Without quotes: the MD5 in hex.
    pub(crate) etag: String,
    /// Unix milliseconds.
    pub(crate) modified: i64,
    pub(crate) checksums: Checksums,
    pub(crate) blob: BlobId,
}

/// A part about to be written.
pub(crate) struct NewPart {
    pub(crate) number: i32,
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
    pub(crate) blob: BlobId,
}

/// How a Complete came out.
pub(crate) enum Completed {
    /// Now: the object that came of it, what it replaced, and blobs of parts that were left out.
    Now {
        etag: String,
        checksums: Checksums,
        checksum_type: Option<String>,
        gone: Vec<Retired>,
        unused: Vec<BlobId>,
    },
    /// Before: the object is there and came of this very upload.
    Before(Object),
}

impl Upload {
    fn from_row(row: &QueryResult) -> std::result::Result<Self, DbErr> {
        Ok(Self {
            id: row.try_get("", "id")?,
            bucket: row.try_get("", "bucket")?,
            key: row.try_get("", "key")?,
            initiated: row.try_get("", "initiated")?,
            headers: json(row, "headers")?,
            algorithm: row.try_get("", "algorithm")?,
            checksum_type: row.try_get("", "checksum_type")?,
        })
    }
}

impl Part {
    fn from_row(row: &QueryResult) -> std::result::Result<Self, DbErr> {
        Ok(Self {
            number: row.try_get("", "number")?,
            size: unsigned(row, "size")?,
            etag: row.try_get("", "etag")?,
            modified: row.try_get("", "modified")?,
            checksums: json(row, "checksums")?,
            blob: row.try_get::<String>("", "blob")?.into(),
        })
    }
}

impl Index {
    pub(crate) async fn create_upload(&self, upload: &Upload) -> Result<()> {
        let txn = self.begin().await?;
        require_bucket(&txn, &upload.bucket).await?;
        let insert = "INSERT INTO upload (id, bucket, key, initiated, headers, algorithm, checksum_type) \
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = [
            upload.id.as_str().into(),
            upload.bucket.as_str().into(),
            upload.key.as_str().into(),
            upload.initiated.into(),
            serde_json::to_string(&upload.headers)?.into(),
            upload.algorithm.clone().into(),
            upload.checksum_type.clone().into(),
        ];
        txn.execute_raw(sql(insert, values)).await?;
        txn.commit().await?;
        Ok(())
    }

    /// The upload, which must be one of this very object.
    pub(crate) async fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload> {
        match find(&self.db, bucket, key, id).await? {
            Some(upload) => Ok(upload),
            None => {
                self.require_bucket(bucket).await?;
                Err(no_such_upload().into())
            }
        }
    }

    /// Records a part in place of the one with its number, whose blob is returned.
    pub(crate) async fn put_part(&self, upload: &Upload, part: NewPart) -> Result<Option<BlobId>> {
        let txn = self.begin().await?;
        if find(&txn, &upload.bucket, &upload.key, &upload.id).await?.is_none() {
            return Err(no_such_upload().into());
        }
        let delete = "DELETE FROM part WHERE upload = ? AND number = ? RETURNING blob";
        let old = txn.query_one_raw(sql(delete, [upload.id.as_str().into(), part.number.into()])).await?;
        let old = old.map(|row| row.try_get_by_index::<String>(0)).transpose()?;
        let insert = "INSERT INTO part (upload, number, size, etag, modified, checksums, blob) \
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = [
            upload.id.as_str().into(),
            part.number.into(),
            (part.size as i64).into(),
            part.etag.into(),
            now_millis().into(),
            serde_json::to_string(&part.checksums)?.into(),
            part.blob.as_str().into(),
        ];
        txn.execute_raw(sql(insert, values)).await?;
        txn.commit().await?;
        Ok(old.map(BlobId::from))
    }

    /// Up to `limit` parts of the upload with numbers above `after`, in order.
    pub(crate) async fn parts_after(&self, upload: &str, after: i32, limit: u64) -> Result<Vec<Part>> {
        let select = "SELECT * FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?";
        let values = [upload.into(), after.into(), (limit as i64).into()];
        let rows = self.db.query_all_raw(sql(select, values)).await?;
        Ok(rows.iter().map(Part::from_row).collect::<std::result::Result<_, _>>()?)
    }

    /// Up to `limit` uploads by key and then by age, after the given key and upload, from the first
    /// key with `prefix`. With no upload given, all of the key `after` are passed over.
    pub(crate) async fn uploads_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        after_upload: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Upload>> {
        // One lower bound, so that SQLite seeks to it. Ids are hex, so "~" is behind them all.
        let (key, id) = if after >= prefix { (after, after_upload.unwrap_or("~")) } else { (prefix, "") };
        let select = "SELECT * FROM upload WHERE bucket = ? AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?";
        let values = [bucket.into(), key.into(), id.into(), (limit as i64).into()];
        let rows = self.db.query_all_raw(sql(select, values)).await?;
        Ok(rows.iter().map(Upload::from_row).collect::<std::result::Result<_, _>>()?)
    }

    /// Turns an upload into an object. `assemble` checks the caller's list of parts against those
    /// received, and says what the object shall be; everything happens in one transaction.
    pub(crate) async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        conditions: &WriteConditions,
        assemble: impl FnOnce(&Upload, BTreeMap<i32, Part>) -> Result<NewObject> + Send,
    ) -> Result<Completed> {
        let txn = self.begin().await?;
        let Some(upload) = find(&txn, bucket, key, id).await? else {
            return match completed_before(&txn, bucket, key, id).await? {
                Some(object) => Ok(Completed::Before(object)),
                None => {
                    require_bucket(&txn, bucket).await?;
                    Err(no_such_upload().into())
                }
            };
        };
        let parts = txn.query_all_raw(sql("SELECT * FROM part WHERE upload = ?", [id.into()])).await?;
        let parts = parts.iter().map(|row| Part::from_row(row).map(|part| (part.number, part)));
        let object = assemble(&upload, parts.collect::<std::result::Result<_, _>>()?)?;
        let (etag, checksums) = (object.etag.clone(), object.checksums.clone());
        let checksum_type = object.checksum_type.clone();
        let used: std::collections::HashSet<_> =
            object.content.iter().map(|(blob, _)| blob.clone()).collect();
        let (_, replaced) = replace(&txn, bucket, key, object, conditions).await?;
        let mut unused = remove(&txn, id).await?;
        unused.retain(|blob| !used.contains(blob));
        txn.commit().await?;
        let gone = replaced.into_iter().collect();
        Ok(Completed::Now { etag, checksums, checksum_type, gone, unused })
    }

    /// Forgets an upload. Returns the blobs of its parts.
    pub(crate) async fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<Vec<BlobId>> {
        let txn = self.begin().await?;
        if find(&txn, bucket, key, id).await?.is_none() {
            require_bucket(&txn, bucket).await?;
            return Err(no_such_upload().into());
        }
        let blobs = remove(&txn, id).await?;
        txn.commit().await?;
        Ok(blobs)
    }
}

async fn find(
    db: &impl ConnectionTrait,
    bucket: &str,
    key: &str,
    id: &str,
) -> std::result::Result<Option<Upload>, DbErr> {
    let select = "SELECT * FROM upload WHERE id = ? AND bucket = ? AND key = ?";
    let row = db.query_one_raw(sql(select, [id.into(), bucket.into(), key.into()])).await?;
    row.as_ref().map(Upload::from_row).transpose()
}

async fn completed_before(
    db: &impl ConnectionTrait,
    bucket: &str,
    key: &str,
    id: &str,
) -> std::result::Result<Option<Object>, DbErr> {
    let select = "SELECT * FROM object WHERE bucket = ? AND key = ? AND upload = ?";
    let row = db.query_one_raw(sql(select, [bucket.into(), key.into(), id.into()])).await?;
    row.as_ref().map(Object::from_row).transpose()
}

/// Removes an upload and its parts inside `txn`. Returns the parts' blobs.
async fn remove(txn: &DatabaseTransaction, id: &str) -> std::result::Result<Vec<BlobId>, DbErr> {
    let rows =
        txn.query_all_raw(sql("DELETE FROM part WHERE upload = ? RETURNING blob", [id.into()])).await?;
    txn.execute_raw(sql("DELETE FROM upload WHERE id = ?", [id.into()])).await?;
    rows.iter().map(|row| row.try_get_by_index::<String>(0).map(BlobId::from)).collect()
}

fn no_such_upload() -> S3Error {
    s3_error!(NoSuchUpload, "The upload does not exist. It may have been completed or aborted.")
}
