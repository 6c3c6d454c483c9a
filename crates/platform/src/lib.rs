//! What services stand on: database, objects, queue, sessions.
//!
//! Each is one seam with an embedded and a production backend behind it, chosen by a URL. The same conformance
//! suite (`tests/conformance`) runs on every backend.

mod causes;
pub mod clock;
pub mod database;
pub mod objects;
pub mod queue;
pub mod sessions;
pub mod signed_path;
