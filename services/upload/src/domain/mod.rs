//! The service's rules as pure functions and state machines.

pub(crate) mod encoding_options;
pub(crate) mod file_name;
pub(crate) mod idempotency_key;
pub(crate) mod job_revision;
pub(crate) mod object_key;
pub(crate) mod outputs;
pub(crate) mod part_plan;
pub(crate) mod rendition;
pub(crate) mod resource_name;
pub(crate) mod upload_state;
pub(crate) mod video_progress;
pub(crate) mod video_state;
