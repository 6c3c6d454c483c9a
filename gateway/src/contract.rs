//! What the contract says of each method, and the part of it that outsiders are shown.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use prost::Message as _;
use prost_reflect::DescriptorPool;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use reelmill_proto::{DESCRIPTORS, MethodPolicy, Policies, options::Access};

use crate::GatewayError;

/// One method as the gateway knows it.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    pub policy: MethodPolicy,
    /// Whether the client sends a stream of messages rather than one.
    pub client_streaming: bool,
    /// Whether the answer is a stream of messages rather than one.
    pub server_streaming: bool,
    /// Who answers it.
    pub home: Home,
}

/// Who answers a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// The gateway itself: health and reflection.
    Gateway,
    /// The role of this name.
    Role(String),
}

/// Every method that outsiders may call, by path.
#[derive(Debug, Clone)]
pub(crate) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    of_gateway: Arc<Method>,
}

impl Methods {
    pub(crate) fn of_contract() -> Result<Self, GatewayError> {
        let contract = |error: &dyn std::fmt::Display| GatewayError::Contract(error.to_string());
        let policies = Policies::of_contract().map_err(|error| contract(&error))?;
        let pool = DescriptorPool::decode(DESCRIPTORS).map_err(|error| contract(&error))?;
        let mut by_path = HashMap::new();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("/{}/{}", service.full_name(), method.name());
                let public = policies.get(&path).filter(|policy| policy.access() != Access::Internal);
                if let (Some(policy), Some(role)) = (public, role_of(service.package_name())) {
                    let method = Method {
                        policy: *policy,
                        client_streaming: method.is_client_streaming(),
                        server_streaming: method.is_server_streaming(),
                        home: Home::Role(role.to_owned()),
                    };
                    by_path.insert(path, Arc::new(method));
                }
            }
        }
        let policy = MethodPolicy { access: Access::Public.into(), cost: 1, ..MethodPolicy::default() };
        let of_gateway =
            Arc::new(Method { policy, client_streaming: true, server_streaming: true, home: Home::Gateway });
        Ok(Self { by_path, of_gateway })
    }

    /// The method of a path; none where outsiders have none.
    pub(crate) fn get(&self, path: &str) -> Option<Arc<Method>> {
        if path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.") {
            return Some(self.of_gateway.clone());
        }
        self.by_path.get(path).cloned()
    }

    /// Full names of the services that outsiders may call something of.
    pub(crate) fn public_services(&self) -> BTreeSet<&str> {
        self.by_path.keys().filter_map(|path| path.strip_prefix('/')?.split('/').next()).collect()
    }

    /// The roles that some method needs.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        self.by_path.values().filter_map(|method| match &method.home {
            Home::Role(role) => Some(role.as_str()),
            Home::Gateway => None,
        })
    }
}

/// `auth` of `reelmill.auth.v1`.
fn role_of(package: &str) -> Option<&str> {
    package.split('.').nth(1)
}

/// The encoded descriptor set without the methods, services and files that only our own roles use.
pub(crate) fn public_descriptors(methods: &Methods) -> Result<Vec<u8>, GatewayError> {
    let mut set =
        FileDescriptorSet::decode(DESCRIPTORS).map_err(|error| GatewayError::Contract(error.to_string()))?;
    let mut internal = Vec::new();
    for file in &mut set.file {
        let had_services = !file.service.is_empty();
        keep_public(file, methods);
        if had_services && file.service.is_empty() {
            internal.push(file.name().to_owned());
        }
    }
    let needed: Vec<String> = set.file.iter().flat_map(|file| file.dependency.clone()).collect();
    set.file.retain(|file| {
        let name = file.name();
        !internal.iter().any(|gone| gone == name) || needed.iter().any(|kept| kept == name)
    });
    Ok(set.encode_to_vec())
}

fn keep_public(file: &mut FileDescriptorProto, methods: &Methods) {
    let package = file.package().to_owned();
    for service in &mut file.service {
        let name = service.name().to_owned();
        let path = |method: &str| format!("/{package}.{name}/{method}");
        service.method.retain(|method| methods.by_path.contains_key(&path(method.name())));
    }
    file.service.retain(|service| !service.method.is_empty());
    // Positions of comments and spans no longer match.
    file.source_code_info = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_methods_do_not_exist() {
        let methods = Methods::of_contract().unwrap();
        assert!(methods.get("/reelmill.transcode.v1.WorkerService/StartTask").is_none());
        assert!(methods.get("/reelmill.auth.v1.SessionService/CheckSession").is_none());
        let watch = methods.get("/reelmill.upload.v1.VideoService/WatchVideos").unwrap();
        assert_eq!(watch.home, Home::Role("upload".to_owned()));
        assert!(watch.server_streaming && !watch.client_streaming);
        let encoded = public_descriptors(&methods).unwrap();
        let pool = DescriptorPool::decode(encoded.as_slice()).unwrap();
        let services: Vec<String> = pool.services().map(|service| service.full_name().to_owned()).collect();
        assert!(services.iter().any(|name| name == "reelmill.upload.v1.VideoService"), "{services:?}");
        for hidden in ["WorkerService", "SessionService"] {
            assert!(!services.iter().any(|name| name.ends_with(hidden)), "{services:?}");
        }
        let jobs = pool.get_service_by_name("reelmill.transcode.v1.TranscodeService").unwrap();
        assert!(jobs.methods().all(|method| method.name() != "CreateJob"));
    }
}
