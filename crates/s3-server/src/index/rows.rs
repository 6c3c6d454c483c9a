//! SQL statements, and the conversion of rows.

use sea_orm::{DbBackend, DbErr, QueryResult, Statement, Value};
use serde::de::DeserializeOwned;

use crate::{
    checksum::{Algorithm, ChecksumKind},
    model::{Extent, Object, Part, Upload},
};

type Result<T> = std::result::Result<T, DbErr>;

pub(super) fn sql(text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Sqlite, text, values)
}

pub(super) fn object(row: &QueryResult) -> Result<Object> {
    Ok(Object {
        id: row.try_get("", "id")?,
        key: row.try_get("", "key")?,
        size: unsigned(row, "size")?,
        etag: row.try_get("", "etag")?,
        modify_time: row.try_get("", "modify_time")?,
        headers: json(row, "headers")?,
        checksums: json(row, "checksums")?,
        checksum_kind: named(row, "checksum_type", ChecksumKind::from_name)?,
        part_count: row.try_get("", "part_count")?,
    })
}

pub(super) fn extent(row: &QueryResult) -> Result<Extent> {
    Ok(Extent {
        blob: row.try_get::<String>("", "blob")?.into(),
        first: unsigned(row, "first")?,
        size: unsigned(row, "size")?,
        etag: row.try_get("", "etag")?,
        checksums: json(row, "checksums")?,
    })
}

pub(super) fn upload(row: &QueryResult) -> Result<Upload> {
    Ok(Upload {
        id: row.try_get("", "id")?,
        bucket: row.try_get("", "bucket")?,
        key: row.try_get("", "key")?,
        create_time: row.try_get("", "create_time")?,
        headers: json(row, "headers")?,
        algorithm: named(row, "algorithm", Algorithm::from_name)?,
        checksum_kind: named(row, "checksum_type", ChecksumKind::from_name)?,
    })
}

pub(super) fn part(row: &QueryResult) -> Result<Part> {
    Ok(Part {
        number: row.try_get("", "number")?,
        size: unsigned(row, "size")?,
        etag: row.try_get("", "etag")?,
        modify_time: row.try_get("", "modify_time")?,
        checksums: json(row, "checksums")?,
        blob: row.try_get::<String>("", "blob")?.into(),
    })
}

/// A size. SQLite's integers are signed.
fn unsigned(row: &QueryResult, column: &str) -> Result<u64> {
    let value: i64 = row.try_get("", column)?;
    u64::try_from(value).map_err(|e| DbErr::Custom(e.to_string()))
}

fn json<T: DeserializeOwned>(row: &QueryResult, column: &str) -> Result<T> {
    let text: String = row.try_get("", column)?;
    serde_json::from_str(&text).map_err(|e| DbErr::Json(e.to_string()))
}

/// An enum that is stored by name.
fn named<T>(row: &QueryResult, column: &str, from_name: fn(&str) -> Option<T>) -> Result<Option<T>> {
    let Some(name) = row.try_get::<Option<String>>("", column)? else { return Ok(None) };
    match from_name(&name) {
        Some(value) => Ok(Some(value)),
        None => Err(DbErr::Custom(format!("column {column} has the unknown value {name:?}"))),
    }
}
