//! Tasks and their leases, one file per verb. Rules are methods of [`crate::domain::TaskRules`].
//!
//! | call | file | task loaded by | rule |
//! |---|---|---|---|
//! | StartTask | `start` | `Db::lease`, one statement | its conditions |
//! | PlanJob | `plan` | [`Leases::lock`] | `check` |
//! | RecordOutputs | `record` | [`Leases::lock`] | `check` |
//! | CompleteTask | `complete` | [`Leases::lock`] | `may_complete` |
//! | FailTask | `fail` | [`Leases::lock`] | `check`, then `decide_failed` |
//! | SignOutputs, ListSegments | `urls` | `Leases::check`, without a lock: nothing is changed | `check` |
//! | ReportProgress, each renewal | `report_stream`, `renew` | `Db::renew`, one statement | its conditions |
//! | ReportProgress, end of the stream | `report_stream`, `release` | `Db::shorten`, one statement | its conditions |
//! | the sweeper, for expired leases | `release` | the job's lock; no lease is presented | `is_expired`, then `decide_lost` |
//!
//! [`Leases::lock`] loads the task once, in the transaction that locks its job, and applies the rule to the presented
//! lease.

mod complete;
mod fail;
mod lease;
mod plan;
mod planned_renditions;
mod record;
mod recorded_outputs;
mod release;
mod renew;
mod report_stream;
pub(crate) mod start;
mod urls;
mod work;
mod work_unit_tasks;

pub(crate) use self::{
    complete::TaskCompleter,
    fail::TaskFailer,
    lease::Leases,
    plan::JobPlanner,
    record::OutputRecorder,
    release::LeaseReleaser,
    renew::LeaseRenewer,
    report_stream::{ReportResponses, ReportStreams},
    start::TaskStarter,
    urls::PresignedUrls,
    work::WorkMessages,
};
