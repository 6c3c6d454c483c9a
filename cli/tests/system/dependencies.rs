//! Rules for the dependencies between crates, and for error reasons.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};
use reelmill_proto::Reason;

/// Every workspace crate with the workspace crates that it depends on, without development dependencies.
fn links() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let linked = |package: &cargo_metadata::Package| {
        let built = package.dependencies.iter().filter(|dep| dep.kind != DependencyKind::Development);
        built.filter(|dep| dep.path.is_some()).map(|dep| dep.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), linked(package))).collect()
}

/// The crates below services/.
fn services() -> BTreeSet<String> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let folder = metadata.workspace_root.join("services");
    let inside = metadata.packages.iter().filter(|package| package.manifest_path.starts_with(&folder));
    let names: BTreeSet<_> = inside.map(|package| package.name.to_string()).collect();
    assert!(names.len() >= 4, "{names:?}");
    names
}

#[test]
fn services_depend_on_the_contract_only() {
    let (links, services) = (links(), services());
    for service in &services {
        let others: Vec<_> = links[service]
            .iter()
            .filter(|name| services.contains(*name) || *name == "reelmill-gateway")
            .collect();
        assert!(others.is_empty(), "{service} links {others:?}");
        assert!(links[service].contains("reelmill-proto"), "{service}");
    }
    assert!(links["reelmill-gateway"].is_disjoint(&services));
}

#[test]
fn shared_crates_are_independent() {
    let links = links();
    assert!(!links["reelmill-mesh"].contains("reelmill-platform"));
    assert!(links["reelmill-platform"].is_empty(), "{:?}", links["reelmill-platform"]);
    assert!(links["reelmill-media"].is_empty(), "{:?}", links["reelmill-media"]);
    assert!(links["reelmill-jail"].is_empty(), "{:?}", links["reelmill-jail"]);
    assert!(links["reelmill-s3-server"].is_empty(), "{:?}", links["reelmill-s3-server"]);
}

#[test]
fn jail_is_used_by_the_worker_only() {
    let links = links();
    let confining: Vec<_> = links.iter().filter(|(_, linked)| linked.contains("reelmill-jail")).collect();
    let names: Vec<_> = confining.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["reelmill", "reelmill-worker"]);
}

#[test]
fn client_depends_on_the_contract_only() {
    let expected = BTreeSet::from(["reelmill-proto".to_owned()]);
    assert_eq!(links()["reelmill-client"], expected);
}

#[test]
fn services_are_linked_by_the_program_only() {
    let services = services();
    for (name, linked) in links() {
        let seen: Vec<_> = linked.intersection(&services).collect();
        assert!(seen.is_empty() || name == "reelmill", "{name} links {seen:?}");
    }
}

/// The reasons in the tables of docs/ERRORS.md: those of the contract, and the client's own.
fn documented_reasons() -> [BTreeSet<String>; 2] {
    let text = std::fs::read_to_string(root().join("docs/ERRORS.md")).unwrap();
    let (contract, client) = text.split_once("## The client's own").unwrap();
    [contract, client].map(|section| {
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        rows.map(str::to_owned).collect()
    })
}

#[test]
fn every_reason_of_the_contract_is_documented() {
    let [documented, _] = documented_reasons();
    let declared = contract_reasons().into_iter().map(|reason| reason.as_str_name().to_owned()).collect();
    assert_eq!(documented, declared);
}

#[test]
fn every_reason_of_the_contract_is_used() {
    let mut code = String::new();
    for folder in ["crates/mesh/src", "services", "gateway/src"] {
        read_sources(&root().join(folder), &mut |text| code.push_str(text));
    }
    let unused: Vec<_> = contract_reasons()
        .into_iter()
        .filter(|reason| {
            let variant = format!("Reason::{reason:?}");
            let after = code.split(&variant).skip(1).filter_map(|rest| rest.chars().next());
            after.filter(|next| !next.is_alphanumeric()).count() == 0
        })
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

/// Reasons are values of the enum, except for those of the client itself.
#[test]
fn reasons_are_no_bare_strings() {
    for folder in ["crates/mesh/src", "crates/media/src", "services", "gateway/src"] {
        let mut bare = BTreeSet::new();
        read_sources(&root().join(folder), &mut |text| bare.extend(reason_literals(text)));
        assert!(bare.is_empty(), "{folder}: {bare:?}");
    }
}

#[test]
fn every_reason_of_the_client_is_documented() {
    let [contract, documented] = documented_reasons();
    let documented: BTreeSet<_> = documented.into_iter().filter(|reason| reason.contains('_')).collect();
    let mut used = BTreeSet::new();
    read_sources(&root().join("cli/client/src"), &mut |text| used.extend(reason_literals(text)));
    let missing: Vec<_> = used.iter().filter(|reason| !documented.contains(*reason)).collect();
    assert!(missing.iter().all(|reason| contract.contains(*reason)), "not in docs/ERRORS.md: {missing:?}");
    let gone: Vec<_> = documented.difference(&used).collect();
    assert!(gone.is_empty(), "in docs/ERRORS.md but not in the code: {gone:?}");
}

fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every value of the enum but the unspecified one.
fn contract_reasons() -> Vec<Reason> {
    (1..).map_while(|number| Reason::try_from(number).ok()).collect()
}

/// Literals that look like reasons and are something else: gRPC's own codes, and variables.
const NO_REASONS: [&str; 9] = [
    "ALREADY_EXISTS",
    "CARGO_PKG_VERSION",
    "DATA_LOSS",
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "XDG_CONFIG_HOME",
];

/// Passes on the code of each source file below a folder, without its unit tests and without `tests/` folders.
fn read_sources(folder: &std::path::Path, receive: &mut dyn FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "tests") {
                read_sources(&path, receive);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            receive(text.split("#[cfg(test)]").next().unwrap());
        }
    }
}

/// String literals that look like reasons of two or more words, or that end with one in brackets.
fn reason_literals(code: &str) -> BTreeSet<String> {
    let literals = code.split('"').skip(1).step_by(2);
    let literals =
        literals.map(|text| text.rsplit_once('(').map_or(text, |(_, end)| end.trim_end_matches(')')));
    let is_reason = |text: &&str| {
        text.contains('_')
            && text.len() > 6
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            && !text.starts_with("REELMILL")
            // Names of enum values in the databases.
            && !text.ends_with("_UNSPECIFIED")
            && !NO_REASONS.contains(text)
    };
    literals.filter(is_reason).map(str::to_owned).collect()
}
