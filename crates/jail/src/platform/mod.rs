//! The operating system's confinement: Landlock and seccomp on Linux, none elsewhere.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod unsupported;

#[cfg(target_os = "linux")]
pub(crate) use linux::confine;
#[cfg(target_os = "linux")]
pub use linux::support;
#[cfg(not(target_os = "linux"))]
pub(crate) use unsupported::confine;
#[cfg(not(target_os = "linux"))]
pub use unsupported::support;
