//! The API's descriptors.

/// The encoded `FileDescriptorSet` of all files, for reflection and access policies.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
