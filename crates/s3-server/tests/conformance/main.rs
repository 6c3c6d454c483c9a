//! The S3 behaviour that Reelmill relies on, tested on the embedded object store and on a real SeaweedFS.

mod cors;
mod listing;
mod multipart;
mod object_parts;
mod objects;
mod part_copies;
mod s3_only;
mod signing;
mod support;
