//! The public endpoint: gRPC-web and native gRPC, authentication, rate limits, forwarding, playback, the web page.
//!
//! Everything is served on one port, see [`gateway`]. A call to `/package.Service/Method` passes the layers in [`call`]
//! and is forwarded as bytes. Which methods exist, who may call them, what they cost and which may be retried is read
//! from the API's descriptor set, so that a new service needs no change here.

mod admission;
mod call;
mod client;
mod config;
mod contract;
mod embedded;
mod error;
mod etag;
mod gateway;
mod http_error;
mod methods;
mod pages;
mod playback;
mod probes;
mod request_id;
mod server;
mod sessions;
mod throttled_log;
mod tokens;
mod upstreams;

pub use admission::Load;
pub use client::ProxyHeader;
pub use config::{GatewayConfig, Limits};
pub use error::GatewayError;
pub use gateway::Gateway;
