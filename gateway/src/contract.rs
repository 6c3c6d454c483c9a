//! The methods that clients may call, as the API's descriptor set declares them.

use std::collections::BTreeSet;

use prost_reflect::DescriptorPool;
use reelmill_proto::{MethodPolicy, Policies, options::Access};

use crate::error::GatewayError;

/// All public methods. Methods between roles are left out: to a client they do not exist.
#[derive(Debug)]
pub(crate) struct Contract {
    pub methods: Vec<PublicMethod>,
}

/// A method that clients may call.
#[derive(Debug)]
pub(crate) struct PublicMethod {
    /// `/package.Service/Method`.
    pub path: String,
    pub policy: MethodPolicy,
    /// Whether the client sends a stream of messages rather than one.
    pub client_streaming: bool,
    /// Whether the response is a stream of messages rather than one.
    pub server_streaming: bool,
    /// Name of the role that serves it.
    pub role: String,
}

impl Contract {
    /// The methods in an encoded `FileDescriptorSet`.
    pub(crate) fn read(descriptors: &[u8]) -> Result<Self, GatewayError> {
        let unusable = |error: &dyn std::fmt::Display| GatewayError::Contract(error.to_string());
        let policies = Policies::read(descriptors).map_err(|error| unusable(&error))?;
        let pool = DescriptorPool::decode(descriptors).map_err(|error| unusable(&error))?;
        let mut methods = Vec::new();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let public = policies.get(&path).filter(|policy| policy.access() != Access::Internal);
                if let (Some(policy), Some(role)) = (public, role_of(service.package_name())) {
                    methods.push(PublicMethod {
                        path,
                        policy: policy.clone(),
                        client_streaming: method.is_client_streaming(),
                        server_streaming: method.is_server_streaming(),
                        role: role.to_owned(),
                    });
                }
            }
        }
        Ok(Self { methods })
    }

    /// Full names of the services with public methods.
    pub(crate) fn services(&self) -> BTreeSet<&str> {
        self.methods.iter().filter_map(|method| method.path.strip_prefix('/')?.split('/').next()).collect()
    }

    /// Names of the roles that serve public methods.
    pub(crate) fn roles(&self) -> BTreeSet<&str> {
        self.methods.iter().map(|method| method.role.as_str()).collect()
    }
}

/// The role that serves a package: `auth` for `reelmill.auth.v1`.
fn role_of(package: &str) -> Option<&str> {
    package.split('.').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_finds_streaming_and_role_and_omits_internal_methods() {
        let contract = Contract::read(reelmill_proto::DESCRIPTORS).unwrap();
        let find = |path: &str| contract.methods.iter().find(|method| method.path == path);
        assert!(find("/reelmill.transcode.v1.WorkerService/StartTask").is_none());
        assert!(find("/reelmill.auth.v1.SessionService/CheckSession").is_none());
        let watch = find("/reelmill.upload.v1.VideoService/WatchVideos").unwrap();
        assert_eq!(watch.role, "upload");
        assert!(watch.server_streaming && !watch.client_streaming);
    }
}
