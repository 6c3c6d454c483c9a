//! Table of the methods that clients may call.

use std::{collections::HashMap, sync::Arc};

use reelmill_proto::{MethodPolicy, options::Access};

use crate::{
    contract::Contract,
    error::GatewayError,
    upstreams::{Upstream, Upstreams},
};

/// A method: its policy and where its calls go.
pub(crate) struct Method {
    pub policy: MethodPolicy,
    /// Whether the client sends a stream of messages rather than one.
    pub client_streaming: bool,
    /// Whether the response is a stream of messages rather than one.
    pub server_streaming: bool,
    pub destination: Destination,
}

/// The server of a method.
pub(crate) enum Destination {
    /// The gateway itself: health and reflection.
    Embedded,
    /// A role.
    Role(Arc<Upstream>),
}

/// All public methods, by path.
pub(crate) struct MethodTable {
    by_path: HashMap<String, Arc<Method>>,
    embedded: Arc<Method>,
}

impl MethodTable {
    /// # Errors
    /// When a role that the contract needs has no address.
    pub(crate) fn new(contract: &Contract, upstreams: &Upstreams) -> Result<Self, GatewayError> {
        let by_path = contract.methods.iter().map(|method| {
            let entry = Method {
                policy: method.policy.clone(),
                client_streaming: method.client_streaming,
                server_streaming: method.server_streaming,
                destination: Destination::Role(upstreams.get(&method.role)?),
            };
            Ok((method.path.clone(), Arc::new(entry)))
        });
        let embedded = Method {
            policy: MethodPolicy {
                access: Access::Public.into(),
                cost: 1,
                max_request_bytes: 4096,
                max_deadline_seconds: 60,
                ..MethodPolicy::default()
            },
            client_streaming: true,
            server_streaming: true,
            destination: Destination::Embedded,
        };
        Ok(Self { by_path: by_path.collect::<Result<_, GatewayError>>()?, embedded: Arc::new(embedded) })
    }

    /// The method of a path. `None` for methods that are unknown or internal.
    pub(crate) fn get(&self, path: &str) -> Option<Arc<Method>> {
        if path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.") {
            return Some(self.embedded.clone());
        }
        self.by_path.get(path).cloned()
    }
}
