//! Fixtures: the system under test, a fake worker, report streams.

mod fake_worker;
mod report_stream;
mod test_system;

pub use self::{
    fake_worker::{
        LeasedEncodeTask, complete_request, init, job_folder, job_name, listed_uris, outputs_of,
        plan_request, poster, progressive, segment, sheet, source,
    },
    report_stream::{OpenReportStream, open_report_stream},
    test_system::{
        Backend, EMPTY_QUEUE_WAIT, RESPONSE_TIMEOUT, START_TIME_MS, TestSystem, reason, start_request,
    },
};
