//! What a process may use, set by the process itself.

use crate::{JailError, Limits};
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};

/// Seconds of CPU between the signal that ffmpeg ends on by itself and the one that ends anything.
const GRACE_SECONDS: u64 = 10;
/// One byte, not none: a system that pipes core dumps into a collector dumps in spite of 0, while 1 is
/// Linux's sign for "not even into a pipe". No dump fits into one byte.
const CORE_BYTES: u64 = 1;

pub(crate) fn set(limits: &Limits, niceness: i32) -> Result<(), JailError> {
    let cpu = limits.cpu_seconds;
    lower(Resource::Cpu, cpu, cpu.saturating_add(GRACE_SECONDS), "CPU limit")?;
    lower(Resource::Fsize, limits.file_bytes, limits.file_bytes, "file size limit")?;
    lower(Resource::Nofile, limits.open_files, limits.open_files, "open files limit")?;
    lower(Resource::Core, CORE_BYTES, CORE_BYTES, "core dump limit")?;
    // Other systems have the constant, and refuse it or count differently.
    if cfg!(target_os = "linux") {
        lower(Resource::As, limits.memory_bytes, limits.memory_bytes, "memory limit")?;
    }
    nice(niceness.clamp(0, 19)).map_err(|error| JailError::refused("niceness", error))?;
    Ok(())
}

/// Sets both limits, leaving a lower one that is there already.
fn lower(resource: Resource, soft: u64, hard: u64, step: &'static str) -> Result<(), JailError> {
    let present = getrlimit(resource);
    let least = |wanted: u64, present: Option<u64>| Some(present.map_or(wanted, |there| there.min(wanted)));
    let limit = Rlimit { current: least(soft, present.maximum), maximum: least(hard, present.maximum) };
    setrlimit(resource, limit).map_err(|error| JailError::refused(step, error))
}
