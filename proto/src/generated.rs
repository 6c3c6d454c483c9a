//! The code that the build script generated.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

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
