//! The backends that services use: database, object store, queue, and shared state (session cache, rate limiter,
//! pub/sub).
//!
//! Each is one interface with an embedded and a production backend, chosen by a URL. One conformance suite an
//! interface (`tests/conformance`) runs on every backend.

pub mod clock;
pub mod database;
mod error_chain;
pub mod objects;
pub mod queue;
pub mod shared_state;
pub mod signed_path;
