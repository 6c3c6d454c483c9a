//! Progress of jobs: aggregated from the reports of their workers, persisted as a watermark, and published.
//!
//! [`publish`] receives each report, limits the rate, and uses the other two. Three stages:
//! 1. [`aggregate`]: the pure computation of a job's progress from the latest report of each task.
//! 2. [`watermark`]: an upper bound of what is published, persisted before it is published. With head-room, so that not
//!    every report is written. A process that takes over starts there, so that published progress never decreases.
//! 3. [`publish`]: the rate limit, and what callers of this process see.
//!
//! That progress never decreases is one rule, `Progress::raise` of the contract's crate, which [`marks::JobProgress`]
//! applies to a job and its renditions. The upload role applies the same rule to what it holds.

mod aggregate;
mod marks;
mod publish;
mod watermark;

pub(crate) use self::{
    marks::JobProgress,
    publish::{ProgressTracker, TaskReport},
    watermark::raise_segments,
};
