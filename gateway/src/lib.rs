//! The only public door: gRPC-web and native gRPC, sign-in and session checks, rate limits, forwarding,
//! playback, the page.
//!
//! Everything is on one port. A call to `/package.Service/Method` passes the layers in [`call`] and is
//! forwarded as bytes: which methods exist, who may call them, what they cost and which may be retried
//! is read from the contract's descriptor set, so a new service needs no line here.

mod call;
mod client;
mod config;
mod contract;
mod error;
mod gateway;
mod health;
mod pages;
mod playback;
mod request_id;
mod server;
mod sessions;
mod sparse_log;
mod tokens;
mod upstreams;

pub use config::GatewayConfig;
pub use error::GatewayError;
pub use gateway::Gateway;
