//! The rules, as pure functions.

pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod outputs;
pub(crate) mod parts;
pub(crate) mod upload;
pub(crate) mod video;
