//! Compiles the .proto files without a protoc binary and writes their descriptor set.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use prost_reflect::DescriptorPool;

const FILES: [&str; 9] = [
    "reelmill/error/v1/reason.proto",
    "reelmill/policy/v1/policy.proto",
    "reelmill/auth/v1/auth.proto",
    "reelmill/upload/v1/maintenance.proto",
    "reelmill/upload/v1/upload.proto",
    "reelmill/upload/v1/video.proto",
    "reelmill/transcode/v1/transcode.proto",
    "reelmill/transcode/v1/worker.proto",
    "reelmill/transcode/v1/admin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=reelmill");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    // Encoded by the compiler, because prost's own types would drop the method options.
    let descriptors = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), &descriptors)?;

    // A method without a policy fails the build instead of the gateway's start.
    let pool = DescriptorPool::decode(descriptors.as_slice())?;
    let option = pool.get_extension_by_name("reelmill.policy.v1.method").ok_or("policy option missing")?;
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        if !method.options().has_extension(&option) {
            return Err(format!("{} declares no policy", method.full_name()).into());
        }
    }

    let files = prost_types::FileDescriptorSet::decode(descriptors.as_slice())?;
    tonic_prost_build::configure().build_transport(false).compile_fds(files)?;
    Ok(())
}
