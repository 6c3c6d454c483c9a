//! The rules of jobs and tasks, without I/O.

mod job;
mod names;
mod task;

pub use job::{JobEvent, JobState, advance as advance_job};
pub use names::{job_id, job_name, output_key, task_id, task_name};
pub use task::{Lease, LeaseRefusal, Task, TaskState, Verdict};
