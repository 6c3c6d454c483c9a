//! The client commands as real processes against a fake server.

mod delete;
mod download;
mod errors;
mod job;
mod listing;
mod profile_dir;
mod sign_in;
mod support;
mod tokens;
mod upload;
mod upload_resume;
mod watch;
