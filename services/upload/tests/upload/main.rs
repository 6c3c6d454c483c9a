//! The upload service as its callers see it: served by the mesh, with a real object store and a real database, and a
//! fake transcode service. Scenarios that depend on transactions or locks run on SQLite and on Postgres.

mod complete_upload_session;
mod encoding_options;
mod job_reports;
mod ownership;
mod playback;
mod progress;
mod storage;
mod support;
mod upload_sessions;
mod watch;
