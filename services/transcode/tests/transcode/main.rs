//! The transcode role as its clients see it, on SQLite and on Postgres.

mod admin;
mod finish;
mod jobs;
mod planning;
mod progress;
mod publish;
mod support;
mod tasks;
