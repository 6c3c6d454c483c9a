//! The videos of a simulation: what is encoded for each, instead of a source and its plan.

use super::event_queue::Millis;
use crate::domain::{JobPriority, TaskClass};

/// Most segments of a work unit.
const MAX_SEGMENTS: u32 = 8;
/// Segments of a sound that is encoded apart from the picture.
const SOUND_SEGMENTS: u32 = 2;

/// Work units of a video whose sound is long: a BULK task.
const WORK_UNITS_WITH_LONG_SOUND: u32 = 10;

/// Where a file is faulty: every healthy worker finds it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileFault {
    None,
    /// It cannot be probed.
    Probe,
    /// This work unit cannot be decoded.
    WorkUnit(u32),
    /// Every encoder of this work unit crashes.
    Crashes(u32),
}

/// A video: its owner, and the work units of its plan.
#[derive(Debug, Clone)]
pub(super) struct JobSpec {
    pub(super) owner: u32,
    pub(super) priority: JobPriority,
    pub(super) create_time: Millis,
    pub(super) work_units: u32,
    /// Whether the last work unit is its sound.
    pub(super) has_sound: bool,
    /// Renditions that are joined into files.
    pub(super) packages: u32,
    pub(super) segment_cost: i64,
    /// Mean time to encode a segment.
    pub(super) segment_ms: i64,
    pub(super) fault: FileFault,
    /// When its owner cancels it.
    pub(super) cancel_time: Option<Millis>,
    /// When its owner retries it, if it has failed or was cancelled.
    pub(super) retry_time: Option<Millis>,
}

/// A work unit: what one ENCODE task encodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkUnit {
    pub(super) class: TaskClass,
    pub(super) stage: i32,
    pub(super) position: i32,
    pub(super) segments: u32,
}

impl JobSpec {
    /// A work unit of the plan, in the shape of real plans: a first segment, chunks that grow, and the sound.
    pub(super) fn work_unit(&self, index: u32) -> WorkUnit {
        let is_sound = self.has_sound && index + 1 == self.work_units && index > 0;
        let position = i32::try_from(index).unwrap_or(i32::MAX);
        match index {
            0 => WorkUnit { class: TaskClass::Express, stage: 1, position: 0, segments: 1 },
            _ if is_sound => {
                let is_long = self.work_units >= WORK_UNITS_WITH_LONG_SOUND;
                let class = if is_long { TaskClass::Bulk } else { TaskClass::Express };
                WorkUnit { class, stage: 0, position: 1, segments: SOUND_SEGMENTS }
            }
            _ => {
                let segments = (1 << index.min(3)).min(MAX_SEGMENTS);
                WorkUnit { class: TaskClass::Bulk, stage: 1, position, segments }
            }
        }
    }

    pub(super) fn cost(&self, unit: &WorkUnit) -> i64 {
        self.segment_cost * i64::from(unit.segments)
    }

    /// Number of tasks that the job has in all.
    pub(super) fn tasks(&self) -> u32 {
        self.work_units + self.packages
    }

    /// Mean time of all its tasks on one slot.
    pub(super) fn work_ms(&self) -> i64 {
        let segments: u32 = (0..self.work_units).map(|index| self.work_unit(index).segments).sum();
        i64::from(segments) * self.segment_ms
    }
}
