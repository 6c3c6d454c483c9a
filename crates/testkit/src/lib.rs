//! Starts the real servers that tests talk to, on free loopback ports and in temporary folders, and stops them: on
//! drop, and also when the test process is killed.
//!
//! Where a server's own settings are not the point of a test, take the test binary's shared one from [`shared`].

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
