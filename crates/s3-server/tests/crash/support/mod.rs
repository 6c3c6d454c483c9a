//! Helpers: the object store as a separate process, and writers that use it.

pub mod load;
pub mod server;
