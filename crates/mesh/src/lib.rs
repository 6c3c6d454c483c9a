//! How services talk: transport, layers, identity, status, deadlines, telemetry.
//!
//! A role serves its tonic routes with [`server::serve`] and calls others through a [`Channel`];
//! both ends agree on a few headers (see [`headers`]) that the gateway strips from what comes
//! from outside.

mod body;
mod channel;
mod layer;
mod status;

pub mod deadline;
pub mod headers;
pub mod identity;
pub mod paging;
pub mod server;
pub mod telemetry;

pub use channel::Channel;
pub use identity::{Caller, MeshKey, Origin, UserSession};
pub use status::{DOMAIN, RpcError, describe_bare, reason_of};
