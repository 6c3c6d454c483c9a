//! The source: read from the object store in blocks, and served to ffmpeg on the loopback interface.

pub(crate) mod address;
pub(crate) mod fetch;
pub(crate) mod proxy;
pub(crate) mod reader;
pub(crate) mod session;
