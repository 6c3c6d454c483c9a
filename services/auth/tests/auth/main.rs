//! The auth service as its callers see it: served on a port of its own, on SQLite and on Postgres.

mod check_session;
mod create_session;
mod create_user;
mod refresh_session;
mod sessions;
mod support;
