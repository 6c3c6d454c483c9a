//! The API: messages, clients and servers generated from the `.proto` files in this crate's folder, access policies of
//! methods, and the JSON form of messages.

mod json;
mod policy;
mod progress;
mod times;

pub use json::to_json;
pub use policy::{MethodPolicy, Policies, PolicyError};
pub use times::{duration, seconds, timestamp, unix_millis};

/// The encoded `FileDescriptorSet` of all files, for reflection and access policies.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod generated {
    pub mod policy {
        pub mod v1 {
            tonic::include_proto!("reelmill.policy.v1");
        }
    }
    pub mod error {
        pub mod v1 {
            tonic::include_proto!("reelmill.error.v1");
        }
    }
    pub mod auth {
        pub mod v1 {
            tonic::include_proto!("reelmill.auth.v1");
        }
    }
    pub mod upload {
        pub mod v1 {
            tonic::include_proto!("reelmill.upload.v1");
        }
    }
    pub mod transcode {
        pub mod v1 {
            tonic::include_proto!("reelmill.transcode.v1");
        }
    }
}

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
