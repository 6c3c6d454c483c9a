//! Access policies, which methods declare as options in the `.proto` files.

use std::collections::HashMap;

use prost::Message as _;
use prost_reflect::DescriptorPool;

pub use crate::generated::policy::v1::MethodPolicy;
use crate::{
    descriptors::DESCRIPTORS,
    generated::policy::v1::{Access, Retry},
};

/// The policies of all methods of a descriptor set, by path.
#[derive(Debug, Clone)]
pub struct Policies {
    by_path: HashMap<String, MethodPolicy>,
}

/// A descriptor set without usable policies.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The bytes are not a descriptor set with policies.
    #[error("the descriptor set is unreadable: {0}")]
    Unreadable(String),
    /// A method does not declare its access.
    #[error("{0} declares no access")]
    Undeclared(String),
}

impl Policies {
    /// The policies of the methods in [`crate::DESCRIPTORS`].
    pub fn of_contract() -> Result<Self, PolicyError> {
        Self::read(DESCRIPTORS)
    }

    /// The policies in an encoded `FileDescriptorSet`, which must include reelmill/policy/v1/policy.proto.
    pub fn read(descriptors: &[u8]) -> Result<Self, PolicyError> {
        let unreadable = |error: &dyn std::fmt::Display| PolicyError::Unreadable(error.to_string());
        let pool = DescriptorPool::decode(descriptors).map_err(|error| unreadable(&error))?;
        let option = pool
            .get_extension_by_name("reelmill.policy.v1.method")
            .ok_or_else(|| unreadable(&"reelmill.policy.v1.method is missing"))?;
        let mut by_path = HashMap::new();
        for service in pool.services() {
            for method in service.methods() {
                let options = method.options();
                let declared = options.get_extension(&option);
                let bytes = declared
                    .as_message()
                    .map(prost::Message::encode_to_vec)
                    .ok_or_else(|| unreadable(&"reelmill.policy.v1.method is not a message"))?;
                let policy = MethodPolicy::decode(bytes.as_slice()).map_err(|error| unreadable(&error))?;
                if policy.access() == Access::Unspecified {
                    return Err(PolicyError::Undeclared(method.full_name().to_owned()));
                }
                by_path.insert(format!("/{}/{}", service.full_name(), method.name()), policy);
            }
        }
        Ok(Self { by_path })
    }

    /// The policy of `/package.Service/Method`, or `None` for an unknown method.
    pub fn get(&self, path: &str) -> Option<&MethodPolicy> {
        self.by_path.get(path)
    }

    /// All paths with their policies.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MethodPolicy)> {
        self.by_path.iter().map(|(path, policy)| (path.as_str(), policy))
    }
}

impl MethodPolicy {
    /// Rate-limit units of one call, at least 1.
    pub fn units(&self) -> u32 {
        self.cost.max(1)
    }

    /// Whether the gateway may send a failed call again.
    pub fn may_retry(&self) -> bool {
        self.retry() == Retry::Safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_contract_has_an_access_for_every_method_and_worker_calls_are_internal() {
        let policies = Policies::of_contract().unwrap();
        assert!(policies.iter().count() > 20);
        for (path, policy) in policies.iter() {
            if path.contains("WorkerService") || path.contains("SessionService") {
                assert_eq!(policy.access(), Access::Internal, "{path}");
            }
        }
        let create = policies.get("/reelmill.auth.v1.AuthService/CreateUser").unwrap();
        assert_eq!(create.access(), Access::Public);
        assert!(!create.may_retry());
        assert!(policies.get("/reelmill.auth.v1.AuthService/Nothing").is_none());
    }
}
