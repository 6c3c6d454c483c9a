//! Real servers for tests (Postgres, Redis, SQS, S3), on free loopback ports and in temporary folders. They are
//! stopped on drop, and also when the test process is killed.
//!
//! Tests that neither stop nor configure a server should use the test binary's common one from [`shared`].

mod postgres;
mod process;
mod redis;
mod seaweedfs;
pub mod shared;
mod sqs;
mod tools;

pub use postgres::Postgres;
pub use redis::Redis;
pub use seaweedfs::SeaweedFs;
pub use sqs::Sqs;
