//! Multipart uploads and their parts in the index.

use std::{
    collections::{BTreeMap, HashSet},
    result,
};

use s3s::{S3Error, s3_error};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    buckets::require_bucket,
    connection::Index,
    objects::replace,
    rows::{self, sql},
};
use crate::{
    blobs::BlobId,
    checksum::{Algorithm, ChecksumKind},
    conditions::WriteConditions,
    error::Result,
    model::{Completion, NewObject, NewPart, Object, Part, Upload},
    timestamps::now_millis,
};

impl Index {
    /// Inserts an upload. Rejects an unknown bucket.
    pub(crate) async fn create_upload(&self, upload: &Upload) -> Result<()> {
        let txn = self.begin().await?;
        require_bucket(&txn, &upload.bucket).await?;
        let insert = "INSERT INTO upload (id, bucket, key, create_time, headers, algorithm, checksum_type) \
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = [
            upload.id.as_str().into(),
            upload.bucket.as_str().into(),
            upload.key.as_str().into(),
            upload.create_time.into(),
            serde_json::to_string(&upload.headers)?.into(),
            upload.algorithm.map(Algorithm::name).into(),
            upload.checksum_kind.map(ChecksumKind::name).into(),
        ];
        txn.execute_raw(sql(insert, values)).await?;
        txn.commit().await?;
        Ok(())
    }

    /// The upload. Rejects an id that does not belong to this key.
    pub(crate) async fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload> {
        match find(&self.db, bucket, key, id).await? {
            Some(upload) => Ok(upload),
            None => {
                self.require_bucket(bucket).await?;
                Err(no_such_upload().into())
            }
        }
    }

    /// Inserts a part. Returns its modification time, and the blob of the part with the same number that it
    /// replaced, if any.
    pub(crate) async fn put_part(&self, upload: &Upload, part: NewPart) -> Result<(i64, Option<BlobId>)> {
        let txn = self.begin().await?;
        if find(&txn, &upload.bucket, &upload.key, &upload.id).await?.is_none() {
            return Err(no_such_upload().into());
        }
        let delete = "DELETE FROM part WHERE upload = ? AND number = ? RETURNING blob";
        let old = txn.query_one_raw(sql(delete, [upload.id.as_str().into(), part.number.into()])).await?;
        let old = old.map(|row| row.try_get_by_index::<String>(0)).transpose()?;
        let modify_time = now_millis();
        let insert = "INSERT INTO part (upload, number, size, etag, modify_time, checksums, blob) \
                      VALUES (?, ?, ?, ?, ?, ?, ?)";
        let values = [
            upload.id.as_str().into(),
            part.number.into(),
            (part.size as i64).into(),
            part.etag.into(),
            modify_time.into(),
            serde_json::to_string(&part.checksums)?.into(),
            part.blob.as_str().into(),
        ];
        txn.execute_raw(sql(insert, values)).await?;
        txn.commit().await?;
        Ok((modify_time, old.map(BlobId::from)))
    }

    /// Up to `limit` parts of the upload with numbers greater than `after`, in order.
    pub(crate) async fn parts_after(&self, upload: &str, after: i32, limit: u64) -> Result<Vec<Part>> {
        let select = "SELECT * FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?";
        let values = [upload.into(), after.into(), (limit as i64).into()];
        let rows = self.db.query_all_raw(sql(select, values)).await?;
        Ok(rows.iter().map(rows::part).collect::<result::Result<_, _>>()?)
    }

    /// Up to `limit` uploads in the order of key and creation time, starting at `prefix`, and after the
    /// given key and upload. Without `after_upload`, all uploads of the key `after` are skipped.
    pub(crate) async fn uploads_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
        after_upload: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Upload>> {
        // A single lower bound, so that SQLite seeks to it. Ids are hex, so "~" sorts after all of them.
        let (key, id) = if after >= prefix { (after, after_upload.unwrap_or("~")) } else { (prefix, "") };
        let select = "SELECT * FROM upload WHERE bucket = ? AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?";
        let values = [bucket.into(), key.into(), id.into(), (limit as i64).into()];
        let rows = self.db.query_all_raw(sql(select, values)).await?;
        Ok(rows.iter().map(rows::upload).collect::<result::Result<_, _>>()?)
    }

    /// Replaces an upload by an object, in one transaction. `assemble` checks the requested parts against
    /// the received ones and returns the object to insert.
    pub(crate) async fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        conditions: &WriteConditions,
        assemble: impl FnOnce(&Upload, BTreeMap<i32, Part>) -> Result<NewObject> + Send,
    ) -> Result<Completion> {
        let txn = self.begin().await?;
        let Some(upload) = find(&txn, bucket, key, id).await? else {
            return match completed_object(&txn, bucket, key, id).await? {
                Some(object) => Ok(Completion::AlreadyCompleted(object)),
                None => {
                    require_bucket(&txn, bucket).await?;
                    Err(no_such_upload().into())
                }
            };
        };
        let parts = txn.query_all_raw(sql("SELECT * FROM part WHERE upload = ?", [id.into()])).await?;
        let parts = parts.iter().map(|row| rows::part(row).map(|part| (part.number, part)));
        let object = assemble(&upload, parts.collect::<result::Result<_, _>>()?)?;
        let (etag, checksums) = (object.etag.clone(), object.checksums.clone());
        let checksum_kind = object.checksum_kind;
        let used: HashSet<_> = object.content.iter().map(|extent| extent.blob.clone()).collect();
        let (_, replaced) = replace(&txn, bucket, key, object, conditions).await?;
        let mut unused = remove(&txn, id).await?;
        unused.retain(|blob| !used.contains(blob));
        txn.commit().await?;
        Ok(Completion::Completed { etag, checksums, checksum_kind, replaced, unused })
    }

    /// Deletes an upload. Returns the blobs of its parts.
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
) -> result::Result<Option<Upload>, DbErr> {
    let select = "SELECT * FROM upload WHERE id = ? AND bucket = ? AND key = ?";
    let row = db.query_one_raw(sql(select, [id.into(), bucket.into(), key.into()])).await?;
    row.as_ref().map(rows::upload).transpose()
}

/// The object that the upload was completed to, if it still exists.
async fn completed_object(
    db: &impl ConnectionTrait,
    bucket: &str,
    key: &str,
    id: &str,
) -> result::Result<Option<Object>, DbErr> {
    let select = "SELECT * FROM object WHERE bucket = ? AND key = ? AND upload = ?";
    let row = db.query_one_raw(sql(select, [bucket.into(), key.into(), id.into()])).await?;
    row.as_ref().map(rows::object).transpose()
}

/// Deletes an upload and its parts in `txn`. Returns the parts' blobs.
async fn remove(txn: &DatabaseTransaction, id: &str) -> result::Result<Vec<BlobId>, DbErr> {
    let rows =
        txn.query_all_raw(sql("DELETE FROM part WHERE upload = ? RETURNING blob", [id.into()])).await?;
    txn.execute_raw(sql("DELETE FROM upload WHERE id = ?", [id.into()])).await?;
    rows.iter().map(|row| row.try_get_by_index::<String>(0).map(BlobId::from)).collect()
}

fn no_such_upload() -> S3Error {
    s3_error!(NoSuchUpload, "The upload does not exist. It may have been completed or aborted.")
}
