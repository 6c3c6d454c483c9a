//! The index: the database of objects, uploads and parts, and of the blobs that they reference.
//!
//! SQLite with one connection, so that transactions are serial, and `synchronous=FULL`, so that
//! acknowledged changes survive a crash.

mod buckets;
mod connection;
mod objects;
mod rows;
mod uploads;

pub(crate) use connection::Index;
