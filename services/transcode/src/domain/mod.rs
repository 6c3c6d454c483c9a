//! The rules of jobs and tasks, without I/O.

mod claims;
mod job;
mod names;
mod outcome;
#[cfg(test)]
mod sample;
mod task;

pub use claims::{Claims, Role};
pub use job::{JobEvent, JobState, advance as advance_job};
pub use names::{job_id, job_name, new_task_id, output_key, task_id, task_name};
pub use outcome::{Made, verdict};
pub use task::{Lease, LeaseError, Task, TaskKind, TaskState, Verdict};
