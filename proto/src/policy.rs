//! Reads what each method declares of itself out of the descriptor set.

use std::collections::HashMap;

use prost::Message as _;
use prost_reflect::DescriptorPool;

pub use crate::options::MethodPolicy;
use crate::options::{Access, Retry};

/// The policies of every method of a descriptor set, by path.
#[derive(Debug, Clone)]
pub struct Policies {
    by_path: HashMap<String, MethodPolicy>,
}

/// A descriptor set that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The bytes are no descriptor set.
    #[error("the descriptor set can't be read: {0}")]
    Unreadable(String),
    /// A method says nothing of who may call it.
    #[error("{0} declares no access")]
    Undeclared(String),
}

impl Policies {
    /// The policies of this contract.
    pub fn of_contract() -> Result<Self, PolicyError> {
        Self::read(crate::DESCRIPTORS)
    }

    /// The policies of an encoded `FileDescriptorSet`, which must carry reelmill/policy/v1/policy.proto.
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
                    .ok_or_else(|| unreadable(&"reelmill.policy.v1.method is no message"))?;
                let policy = MethodPolicy::decode(bytes.as_slice()).map_err(|error| unreadable(&error))?;
                if policy.access() == Access::Unspecified {
                    return Err(PolicyError::Undeclared(method.full_name().to_owned()));
                }
                by_path.insert(format!("/{}/{}", service.full_name(), method.name()), policy);
            }
        }
        Ok(Self { by_path })
    }

    /// The policy of `/package.Service/Method`; none where there is no such method.
    pub fn get(&self, path: &str) -> Option<&MethodPolicy> {
        self.by_path.get(path)
    }

    /// Every path with its policy.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MethodPolicy)> {
        self.by_path.iter().map(|(path, policy)| (path.as_str(), policy))
    }
}

impl MethodPolicy {
    /// Units that one call takes from a rate limit, at least one.
    pub fn units(&self) -> u32 {
        self.cost.max(1)
    }

    /// Whether a forwarder may send a failed call again.
    pub fn may_retry(&self) -> bool {
        self.retry() == Retry::Safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_declares_its_access_and_worker_calls_are_internal() {
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
