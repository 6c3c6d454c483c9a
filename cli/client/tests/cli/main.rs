//! The client commands as real processes against a fake server.

mod delete;
mod download;
mod errors;
mod listing;
mod profile_dir;
mod retry;
mod sign_in;
mod support;
mod tokens;
mod upload;
mod upload_resume;
mod watch;
