//! Admission of encoders by memory, and of joins by disk space: a task that this host has no room for is returned to the
//! dispatcher instead of failing halfway, or taking others with it.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reelmill_media::{
    Failure,
    plan::{Plan, WorkUnit},
};
use tokio::time::Instant;

use crate::engine::{failure::host_exhausted, host_memory};

/// Memory of an encoder apart from its pictures, bytes.
const ENCODER_BASE_BYTES: u64 = 160 << 20;
/// Pictures that a decoder, the filters and an encoder keep, of the source and of each rung: as many as make the estimate a
/// little more than what was measured (docs/BENCHMARKS.md, memory).
const KEPT_PICTURES: u64 = 36;
/// Bytes of a pixel (4:2:0): 8 bits and more.
const BYTES_PER_2_PIXELS: u64 = 3;
/// Memory that is left free, bytes.
const FREE_MEMORY_BYTES: u64 = 256 << 20;
/// Disk space that is left free, bytes.
const FREE_DISK_BYTES: u64 = 256 << 20;
/// Time in which a started encoder allocates its memory: until then its estimate is reserved.
const ALLOCATION_TIME: Duration = Duration::from_secs(10);
/// How long an encoder waits for memory before its task is returned.
const MEMORY_WAIT: Duration = Duration::from_secs(60);
const MEMORY_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// What the tasks of this worker have reserved. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<Mutex<Reserved>>);

#[derive(Debug, Default)]
struct Reserved {
    disk_bytes: u64,
    /// Running encoders: their start and their estimated memory, by an increasing id.
    encoders: Vec<(u64, Instant, u64)>,
    next_id: u64,
}

/// Disk space reserved until it is dropped.
#[derive(Debug)]
pub(crate) struct DiskReservation {
    admission: Admission,
    bytes: u64,
}

impl Drop for DiskReservation {
    fn drop(&mut self) {
        self.admission.reserved().disk_bytes -= self.bytes;
    }
}

/// An admitted encoder, until it is dropped.
#[derive(Debug)]
pub(crate) struct AdmittedEncoder {
    admission: Admission,
    id: u64,
}

impl Drop for AdmittedEncoder {
    fn drop(&mut self) {
        self.admission.reserved().encoders.retain(|(id, ..)| *id != self.id);
    }
}

impl Admission {
    fn reserved(&self) -> MutexGuard<'_, Reserved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves disk space in the file system of a folder.
    pub(crate) fn reserve_disk(&self, folder: &Path, bytes: u64) -> Result<DiskReservation, Failure> {
        let free = free_disk_bytes(folder).unwrap_or_else(|error| {
            tracing::debug!(%error, "the free disk space is unknown");
            u64::MAX
        });
        self.reserve_disk_of(free, bytes).ok_or_else(|| host_exhausted(&"disk space"))
    }

    fn reserve_disk_of(&self, free: u64, bytes: u64) -> Option<DiskReservation> {
        let mut reserved = self.reserved();
        let needed = reserved.disk_bytes.saturating_add(bytes).saturating_add(FREE_DISK_BYTES);
        if needed > free {
            return None;
        }
        reserved.disk_bytes += bytes;
        Some(DiskReservation { admission: self.clone(), bytes })
    }

    /// Admits an encoder, at once or when there is memory for it.
    pub(crate) async fn admit_encoder(&self, bytes: u64) -> Result<AdmittedEncoder, Failure> {
        let give_up = Instant::now() + MEMORY_WAIT;
        loop {
            let available = host_memory::available_bytes().unwrap_or(u64::MAX);
            if let Some(admitted) = self.admit_encoder_of(available, bytes, Instant::now()) {
                return Ok(admitted);
            }
            if Instant::now() >= give_up {
                return Err(host_exhausted(&"memory"));
            }
            tokio::time::sleep(MEMORY_POLL_INTERVAL).await;
        }
    }

    /// The only encoder of a worker is always admitted: it would find no more memory later.
    fn admit_encoder_of(&self, available: u64, bytes: u64, now: Instant) -> Option<AdmittedEncoder> {
        let mut reserved = self.reserved();
        let is_allocating = |start: Instant| now.saturating_duration_since(start) < ALLOCATION_TIME;
        let allocating: u64 = reserved
            .encoders
            .iter()
            .filter(|(_, start, _)| is_allocating(*start))
            .map(|(.., bytes)| bytes)
            .sum();
        let needed = allocating.saturating_add(bytes).saturating_add(FREE_MEMORY_BYTES);
        if needed > available && !reserved.encoders.is_empty() {
            return None;
        }
        let id = reserved.next_id;
        reserved.next_id += 1;
        reserved.encoders.push((id, now, bytes));
        Some(AdmittedEncoder { admission: self.clone(), id })
    }
}

/// Estimated memory of the encoder of a work unit, bytes.
pub(crate) fn encoder_bytes(plan: &Plan, work_unit: &WorkUnit) -> u64 {
    let source = plan.source.video.as_ref().filter(|_| work_unit.chunk.is_some());
    let rungs = plan.video.iter().flat_map(|video| {
        work_unit.rungs.iter().filter_map(|&rung| video.rungs.get(rung)).map(|rung| rung.size.pixels())
    });
    let pixels = source.map_or(0, |video| video.stored.pixels()) + rungs.sum::<u64>();
    ENCODER_BASE_BYTES + pixels * BYTES_PER_2_PIXELS / 2 * KEPT_PICTURES
}

fn free_disk_bytes(folder: &Path) -> io::Result<u64> {
    let file_system = rustix::fs::statvfs(folder)?;
    Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn reserve_disk_counts_all_reservations() {
        let admission = Admission::default();
        let first = admission.reserve_disk_of(3 * GIB, 2 * GIB).unwrap();
        assert!(
            admission.reserve_disk_of(3 * GIB, GIB).is_none(),
            "what the first one reserved is not used yet"
        );
        drop(first);
        assert!(admission.reserve_disk_of(3 * GIB, GIB).is_some());
        assert!(admission.reserve_disk_of(GIB, GIB).is_none());
        let folder = tempfile::tempdir().unwrap();
        assert!(admission.reserve_disk(folder.path(), 1 << 60).is_err());
        assert!(admission.reserve_disk(folder.path(), 0).is_ok());
    }

    #[test]
    fn admit_encoder_leaves_memory_for_those_that_start() {
        let (admission, now) = (Admission::default(), Instant::now());
        let first = admission.admit_encoder_of(GIB, 4 * GIB, now).expect("the only one");
        assert!(admission.admit_encoder_of(4 * GIB, GIB, now).is_none(), "the first one is allocating");
        assert!(admission.admit_encoder_of(6 * GIB, GIB, now).is_some());
        let later = now + ALLOCATION_TIME;
        let second = admission.admit_encoder_of(2 * GIB, GIB, later).expect("there is memory");
        assert!(admission.admit_encoder_of(2 * GIB, GIB, later).is_none());
        drop((first, second));
        assert!(admission.admit_encoder_of(0, GIB, later).is_some());
    }
}
