//! The S3 behaviour that Reelmill relies on, tested on the embedded object store and on a real SeaweedFS.

mod cors;
mod listing;
mod multipart;
mod objects;
mod s3_only;
mod signing;
mod support;
