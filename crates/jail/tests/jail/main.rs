//! Confined programs on a real kernel: what they can do, and what they cannot.
#![cfg(target_os = "linux")]

mod encoders;
mod files;
mod limits;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod modes;
mod network;
mod processes;
mod support;
