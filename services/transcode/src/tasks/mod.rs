//! What workers do with tasks, one file per verb.
//!
//! Every verb but `start` begins in [`lease`]: it loads the task once, inside the transaction that locks its job, and
//! asks the domain whether the lease is valid.

mod complete;
mod fail;
mod lease;
mod output_rows;
mod plan;
mod planned_renditions;
mod record;
mod release;
mod renew;
mod report_stream;
mod start;
mod urls;
mod work;

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
