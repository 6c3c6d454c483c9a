//! Rejecting what this object store does not implement.

use s3s::{S3Error, s3_error};

/// Rejects object versions. "null" is the version of every object in an unversioned bucket.
pub(crate) fn reject_version(version: Option<&str>) -> Result<(), S3Error> {
    match version {
        Some(version) if version != "null" => Err(s3_error!(NoSuchVersion, "The bucket has no versions.")),
        _ => Ok(()),
    }
}
