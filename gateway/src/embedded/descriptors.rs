//! Descriptor set of the public methods, for reflection.

use std::collections::HashSet;

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::{contract::Contract, error::GatewayError};

/// The encoded descriptor set without the methods, services and files that only roles use.
pub(super) fn public(descriptors: &[u8], contract: &Contract) -> Result<Vec<u8>, GatewayError> {
    let mut set =
        FileDescriptorSet::decode(descriptors).map_err(|error| GatewayError::Contract(error.to_string()))?;
    let public_paths = contract.methods.iter().map(|method| method.path.as_str()).collect();
    let mut internal = Vec::new();
    for file in &mut set.file {
        let had_services = !file.service.is_empty();
        remove_internal(file, &public_paths);
        if had_services && file.service.is_empty() {
            internal.push(file.name().to_owned());
        }
    }
    let needed: Vec<String> = set.file.iter().flat_map(|file| file.dependency.clone()).collect();
    set.file.retain(|file| {
        let name = file.name();
        !internal.iter().any(|internal| internal == name) || needed.iter().any(|needed| needed == name)
    });
    Ok(set.encode_to_vec())
}

fn remove_internal(file: &mut FileDescriptorProto, public_paths: &HashSet<&str>) {
    let package = file.package().to_owned();
    for service in &mut file.service {
        let name = service.name().to_owned();
        let path = |method: &str| format!("/{package}.{name}/{method}");
        service.method.retain(|method| public_paths.contains(path(method.name()).as_str()));
    }
    file.service.retain(|service| !service.method.is_empty());
    // Its paths refer to positions that have changed.
    file.source_code_info = None;
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn public_omits_internal_methods_and_services() {
        let descriptors = reelmill_proto::DESCRIPTORS;
        let encoded = public(descriptors, &Contract::read(descriptors).unwrap()).unwrap();
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
