//! Compiles the .proto files without a protoc binary, and keeps their descriptor set.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use prost_reflect::DescriptorPool;

const FILES: [&str; 7] = [
    "reelmill/error/v1/reason.proto",
    "reelmill/policy/v1/policy.proto",
    "reelmill/auth/v1/auth.proto",
    "reelmill/upload/v1/upload.proto",
    "reelmill/upload/v1/video.proto",
    "reelmill/transcode/v1/transcode.proto",
    "reelmill/transcode/v1/worker.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=reelmill");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    // The encoding by the compiler keeps the method options; prost's own types would drop them.
    let described = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), &described)?;

    // Fail the build here, with a name, rather than at the gateway's start.
    let pool = DescriptorPool::decode(described.as_slice())?;
    let option = pool.get_extension_by_name("reelmill.policy.v1.method").ok_or("policy option missing")?;
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        if !method.options().has_extension(&option) {
            return Err(format!("{} declares no policy", method.full_name()).into());
        }
    }

    let files = prost_types_of(&described)?;
    tonic_prost_build::configure().build_transport(false).compile_fds(files)?;
    Ok(())
}

fn prost_types_of(described: &[u8]) -> Result<prost_types::FileDescriptorSet, prost::DecodeError> {
    prost_types::FileDescriptorSet::decode(described)
}
