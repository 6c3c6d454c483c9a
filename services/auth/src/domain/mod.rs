//! The service's rules as pure functions.

pub(crate) mod display_name;
pub(crate) mod email;
pub(crate) mod id;
pub(crate) mod password_policy;
pub(crate) mod refresh_rotation;
