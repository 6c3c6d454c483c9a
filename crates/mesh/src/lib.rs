//! gRPC between roles: transport, server layer, caller identity, rich status, deadlines, logging.
//!
//! A role serves its tonic routes with [`server::serve`] and calls other roles through a [`Channel`]. Both ends use a
//! few headers (see [`headers`]) that the gateway removes from requests of clients.

mod body;
mod channel;
mod server_layer;
mod status;
mod transport;

pub mod deadline;
pub mod headers;
pub mod identity;
pub mod paging;
pub mod server;
pub mod telemetry;

pub use channel::{Channel, Forwarder};
pub use identity::{Caller, MeshKey, Origin, UserSession};
pub use status::{DOMAIN, RpcError, reason_of};
