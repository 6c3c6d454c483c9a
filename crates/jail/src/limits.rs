//! Resource limits, applied by the process to itself.

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

use crate::{confinement::Limits, error::JailError};

/// CPU seconds between SIGXCPU, on which ffmpeg exits by itself, and SIGKILL.
const CPU_GRACE_SECONDS: u64 = 10;
/// Core dump limit of one byte: a system that pipes core dumps into a collector ignores 0, while Linux
/// reads 1 as "no dump, not even into a pipe" (fs/coredump.c).
const CORE_BYTES: u64 = 1;

/// Sets the limits and adds `niceness` to the process's own.
pub(crate) fn apply(limits: &Limits, niceness: i32) -> Result<(), JailError> {
    let cpu = limits.cpu_seconds;
    lower(Resource::Cpu, cpu, cpu.saturating_add(CPU_GRACE_SECONDS), "CPU limit")?;
    lower(Resource::Fsize, limits.file_bytes, limits.file_bytes, "file size limit")?;
    lower(Resource::Nofile, limits.open_files, limits.open_files, "open files limit")?;
    lower(Resource::Core, CORE_BYTES, CORE_BYTES, "core dump limit")?;
    // Other systems define the constant, but refuse it or count differently.
    if cfg!(target_os = "linux") {
        lower(Resource::As, limits.memory_bytes, limits.memory_bytes, "memory limit")?;
    }
    nice(niceness.clamp(0, 19)).map_err(|error| JailError::step_failed("niceness", error))?;
    Ok(())
}

/// Sets the soft and the hard limit, but raises neither above the current hard limit.
fn lower(resource: Resource, soft: u64, hard: u64, step: &'static str) -> Result<(), JailError> {
    let current = getrlimit(resource);
    let least =
        |wanted: u64, current: Option<u64>| Some(current.map_or(wanted, |current| current.min(wanted)));
    let limit = Rlimit { current: least(soft, current.maximum), maximum: least(hard, current.maximum) };
    setrlimit(resource, limit).map_err(|error| JailError::step_failed(step, error))
}
