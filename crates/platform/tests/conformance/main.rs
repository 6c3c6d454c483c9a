//! One conformance suite per interface, run on every backend: the embedded ones, and real servers that the test kit starts.

mod database;
mod objects;
mod queue;
mod shared_state;
