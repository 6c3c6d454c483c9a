//! Access policies, which methods declare as options in the `.proto` files.

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use prost_reflect::DescriptorPool;

pub use crate::generated::policy::v1::MethodPolicy;
use crate::{
    descriptors::DESCRIPTORS,
    generated::policy::v1::{Access, Retry},
};

/// Size limit of a message between processes, bytes: tonic's own default.
const MAX_REQUEST_BYTES: usize = 4 << 20;

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
    /// A method leaves out a part of its policy.
    #[error("{method} declares no {part}")]
    Undeclared {
        /// Full name of the method.
        method: String,
        /// Name of the missing field.
        part: &'static str,
    },
    /// A method accepts larger messages than any process.
    #[error("{0} declares a max_request_bytes above {MAX_REQUEST_BYTES}")]
    TooLarge(String),
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
                let method_name = || method.full_name().to_owned();
                if let Some(part) = policy.undeclared() {
                    return Err(PolicyError::Undeclared { method: method_name(), part });
                }
                if policy.request_limit() > MAX_REQUEST_BYTES {
                    return Err(PolicyError::TooLarge(method_name()));
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
    /// Rate-limit units of one call.
    pub fn units(&self) -> u32 {
        self.cost
    }

    /// Whether the gateway may send a failed call again.
    pub fn may_retry(&self) -> bool {
        self.retry() == Retry::Safe
    }

    /// Size limit of a request message, bytes.
    pub fn request_limit(&self) -> usize {
        self.max_request_bytes as usize
    }

    /// Longest time until the response starts.
    pub fn longest_deadline(&self) -> Duration {
        Duration::from_secs(self.max_deadline_seconds.into())
    }

    /// Whether a role may call the method for itself.
    pub fn admits(&self, role: &str) -> bool {
        self.callers.iter().any(|caller| caller == role)
    }

    /// The first part that is missing.
    fn undeclared(&self) -> Option<&'static str> {
        let parts = [
            ("access", self.access() != Access::Unspecified),
            ("cost", self.cost > 0),
            ("retry", self.retry() != Retry::Unspecified),
            ("max_request_bytes", self.max_request_bytes > 0),
            ("max_deadline_seconds", self.max_deadline_seconds > 0),
            ("callers", self.access() != Access::Internal || !self.callers.is_empty()),
        ];
        parts.into_iter().find(|(_, is_declared)| !is_declared).map(|(part, _)| part)
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
            // The worker is nearest to hostile files.
            assert_eq!(policy.admits("worker"), path.contains("WorkerService"), "{path}");
        }
        let create = policies.get("/reelmill.auth.v1.AuthService/CreateUser").unwrap();
        assert_eq!(create.access(), Access::Public);
        assert!(!create.may_retry());
        assert!(policies.get("/reelmill.auth.v1.AuthService/Nothing").is_none());
    }

    #[test]
    fn undeclared_names_each_part_that_is_missing() {
        let complete = MethodPolicy {
            access: Access::Internal.into(),
            cost: 1,
            retry: Retry::Never.into(),
            max_request_bytes: 1,
            max_deadline_seconds: 1,
            callers: vec!["worker".to_owned()],
        };
        assert_eq!(complete.undeclared(), None);
        let without = |remove: fn(&mut MethodPolicy)| {
            let mut policy = complete.clone();
            remove(&mut policy);
            policy.undeclared()
        };
        assert_eq!(without(|policy| policy.access = 0), Some("access"));
        assert_eq!(without(|policy| policy.cost = 0), Some("cost"));
        assert_eq!(without(|policy| policy.retry = 0), Some("retry"));
        assert_eq!(without(|policy| policy.max_request_bytes = 0), Some("max_request_bytes"));
        assert_eq!(without(|policy| policy.max_deadline_seconds = 0), Some("max_deadline_seconds"));
        assert_eq!(without(|policy| policy.callers.clear()), Some("callers"));
    }
}
