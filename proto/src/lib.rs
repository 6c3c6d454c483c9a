//! The API: messages, clients and servers generated from the `.proto` files in this crate's folder, access policies of
//! methods, and the JSON form of messages.

mod contents;
mod descriptors;
mod generated;
mod json;
mod policy;
mod progress;
mod times;
mod wake_up;

pub use contents::{encode_source_contents, source_contents};
pub use descriptors::DESCRIPTORS;
pub use json::to_json;
pub use policy::{MethodPolicy, Policies, PolicyError};
pub use times::{duration, seconds, std_duration, timestamp, unix_millis};
pub use wake_up::WakeUp;

/// `reelmill.auth.v1`
pub use generated::auth::v1 as auth;
/// `reelmill.error.v1.Reason`
pub use generated::error::v1::Reason;
/// `reelmill.policy.v1`
pub use generated::policy::v1 as options;
/// `reelmill.transcode.v1`
pub use generated::transcode::v1 as transcode;
/// `reelmill.upload.v1`
pub use generated::upload::v1 as upload;
