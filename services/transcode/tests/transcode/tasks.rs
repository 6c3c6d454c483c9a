//! Leases, fencing, lost workers, lost queues and garbage.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use reelmill_proto::transcode::{
    FailTaskRequest, Failure, Job, Lease, Progress, ReportProgressRequest, ReportProgressResponse,
    SignOutputsRequest, job::State,
};
use tokio::{sync::oneshot, time::timeout};
use tonic::Streaming;

use crate::{
    fake::{complete, plan_request, source},
    jobs::on_every_database,
    world::{World, reason, start},
};

const SOON: Duration = Duration::from_secs(5);
/// How long it takes at most to see that a stream has ended.
const NOTICE: Duration = Duration::from_millis(500);
const NONE: Duration = Duration::from_millis(100);

/// Opens a report stream with one report on it, and keeps it open.
pub async fn report(world: &World, lease: &Lease) -> Streaming<ReportProgressResponse> {
    let (answers, open) = report_until_dropped(world, lease).await;
    std::mem::forget(open);
    answers
}

/// The same, open for as long as both of what is returned live.
async fn report_until_dropped(
    world: &World,
    lease: &Lease,
) -> (Streaming<ReportProgressResponse>, oneshot::Sender<()>) {
    let progress = Some(Progress { percent: 12.5, ..Progress::default() });
    let first = ReportProgressRequest { lease: Some(lease.clone()), progress };
    let (open, ended) = oneshot::channel::<()>();
    let end = futures::stream::once(ended).filter_map(async |_| None);
    let reports = futures::stream::once(async { first }).chain(end);
    let answers = world.worker().report_progress(Box::pin(reports)).await.unwrap().into_inner();
    (answers, open)
}

async fn job(world: &World, name: &str) -> Job {
    world.look(name).await
}

async fn a_lease_keeps_others_out_until_it_ends(world: World) {
    world.job("ann", "v1").await;
    let first = world.start().await;
    let old = first.lease.unwrap();
    assert_eq!(reason(world.worker().start_task(start(&old.task)).await), "TASK_LEASED");
    world.pass(16);
    let second = world.worker().start_task(start(&old.task)).await.unwrap().into_inner();
    let new = second.lease.clone().unwrap();
    assert!(new.fencing_token > old.fencing_token);
    assert_ne!(first.output_prefix, second.output_prefix);
    let sign = SignOutputsRequest { lease: Some(old.clone()), names: vec!["a.mp4".to_owned()] };
    assert_eq!(reason(world.worker().sign_outputs(sign).await), "LEASE_LOST");
    assert_eq!(reason(world.worker().complete_task(complete(&old)).await), "LEASE_LOST");
    let mut answers = report(&world, &old).await;
    assert_eq!(reason(timeout(SOON, answers.message()).await.unwrap()), "LEASE_LOST");
    assert_eq!(reason(world.worker().plan_job(plan_request(&old, &source(16.0, true))).await), "LEASE_LOST");
    assert_eq!(reason(world.worker().complete_task(complete(&new)).await), "FIELD_INVALID", "not planned");
    let task = world.plan(&second, &source(16.0, true)).await;
    assert_eq!(reason(world.worker().complete_task(complete(&old)).await), "LEASE_LOST");
    world.make(&task, 4).await;
    world.worker().complete_task(complete(&new)).await.expect("a repeated call is answered the same");
    assert_eq!(reason(world.worker().start_task(start(&old.task)).await), "TASK_ENDED");
}

async fn a_lost_worker_has_a_successor_and_its_leavings_go(world: World) {
    let made = world.job("ann", "v1").await;
    let first = world.start().await;
    let stray = format!("{}720p/init.mp4", first.output_prefix);
    world.objects.put(&stray, Bytes::from_static(b"lost"), "video/mp4").await.unwrap();
    world.pass(16);
    let second = world.start().await;
    assert_eq!(second.attempt, 2);
    world.make_single(&second).await;
    assert_eq!(world.objects.head(&stray).await.unwrap(), None);
    let kept = format!("{}360p/init.mp4", second.output_prefix);
    assert!(world.objects.head(&kept).await.unwrap().is_some());
    assert_eq!(job(&world, &made.name).await.state(), State::Succeeded);
    // A stale worker's address still worked for a while: the second sweep finds what it put.
    world.objects.put(&stray, Bytes::from_static(b"late"), "video/mp4").await.unwrap();
    world.pass(21 * 60);
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.objects.head(&stray).await.unwrap(), None);
}

async fn a_broken_report_stream_shortens_the_lease(world: World) {
    world.job("ann", "v1").await;
    let started = world.start().await;
    let lease = started.lease.unwrap();
    let (mut answers, open) = report_until_dropped(&world, &lease).await;
    timeout(SOON, answers.message()).await.unwrap().unwrap().unwrap();
    drop((answers, open));
    // The lease ends four seconds after the break rather than fifteen. The break is noticed a moment after the drop: ten
    // seconds are enough even if five of them have passed by then.
    for _ in 0..2 {
        tokio::time::sleep(NOTICE).await;
        world.pass(5);
    }
    let claimed = world.worker().start_task(start(&lease.task)).await.unwrap().into_inner();
    assert_eq!(claimed.attempt, 2);
}

async fn a_stream_that_is_seen_to_break_late_takes_nothing_from_the_next_one(world: World) {
    world.job("ann", "v1").await;
    let lease = world.start().await.lease.unwrap();
    let (mut old, open) = report_until_dropped(&world, &lease).await;
    timeout(SOON, old.message()).await.unwrap().unwrap().unwrap();
    world.pass(1);
    let mut new = report(&world, &lease).await;
    timeout(SOON, new.message()).await.unwrap().unwrap().unwrap();
    drop((old, open));
    tokio::time::sleep(NOTICE).await;
    world.pass(6);
    assert_eq!(reason(world.worker().start_task(start(&lease.task)).await), "TASK_LEASED");
}

async fn a_task_that_keeps_failing_fails_its_job(world: World) {
    let made = world.job("ann", "v1").await;
    for _ in 0..5 {
        assert!(!matches!(job(&world, &made.name).await.state(), State::Failed));
        world.start().await;
        world.pass(60);
        world.transcode.sweep().await.unwrap();
        world.pass(60);
    }
    let failed = job(&world, &made.name).await;
    assert_eq!(failed.state(), State::Failed);
    assert_eq!(failed.failure.unwrap().reason, "WORKER_LOST");
}

async fn a_file_that_cannot_be_served_fails_at_once(world: World) {
    let made = world.job("ann", "v1").await;
    let lease = world.start().await.lease;
    let failure = Failure { reason: "FILE_NOT_VIDEO".to_owned(), message: "not a video".to_owned() };
    let request = FailTaskRequest { lease: lease.clone(), failure: Some(failure.clone()), retryable: false };
    let answer = world.worker().fail_task(request.clone()).await.unwrap().into_inner();
    assert!(!answer.will_retry);
    let failed = job(&world, &made.name).await;
    assert_eq!((failed.state(), failed.failure), (State::Failed, Some(failure)));
    assert_eq!(reason(world.worker().fail_task(request).await), "LEASE_LOST");
}

async fn a_fault_of_the_worker_is_tried_again_at_once(world: World) {
    let made = world.job("ann", "v1").await;
    let lease = world.start().await.lease;
    let failure = Failure { reason: "ENCODER_CRASHED".to_owned(), message: "crashed".to_owned() };
    let request = FailTaskRequest { lease, failure: Some(failure), retryable: true };
    assert!(world.worker().fail_task(request).await.unwrap().into_inner().will_retry);
    assert_eq!(world.start().await.attempt, 2);
    assert_eq!(job(&world, &made.name).await.state(), State::Running);
}

async fn a_task_may_be_handed_back_any_number_of_times(world: World) {
    let made = world.job("ann", "v1").await;
    for _ in 0..7 {
        let lease = world.start().await.lease;
        let failure = Failure { reason: "WORKER_STOPPED".to_owned(), message: "stopping".to_owned() };
        let request = FailTaskRequest { lease, failure: Some(failure), retryable: true };
        assert!(world.worker().fail_task(request).await.unwrap().into_inner().will_retry);
    }
    assert_eq!(job(&world, &made.name).await.state(), State::Running);
}

async fn a_lost_queue_loses_no_job(world: World) {
    let made = world.job("ann", "v1").await;
    world.transcode.sweep().await.unwrap();
    let lost = world.message(SOON).await.expect("the first message");
    world.queue.delete(&lost.receipt).await.unwrap();
    world.transcode.sweep().await.unwrap();
    assert!(world.message(NONE).await.is_none(), "not sent twice at once");
    world.pass(61);
    let started = world.start().await;
    assert!(started.lease.unwrap().task.starts_with(&made.name));
}

async fn outputs_cannot_leave_their_prefix(world: World) {
    world.job("ann", "v1").await;
    let started = world.start().await;
    let lease = started.lease;
    for bad in ["../x", "/x", "a//b", ""] {
        let request = SignOutputsRequest { lease: lease.clone(), names: vec![bad.to_owned()] };
        assert_eq!(reason(world.worker().sign_outputs(request).await), "FIELD_INVALID", "{bad}");
    }
    let request = SignOutputsRequest { lease, names: vec!["720p/init.mp4".to_owned()] };
    let uris = world.worker().sign_outputs(request).await.unwrap().into_inner().uris;
    assert!(uris[0].contains(&format!("{}720p/init.mp4", started.output_prefix)), "{}", uris[0]);
}

on_every_database!(
    a_lease_keeps_others_out_until_it_ends,
    a_lost_worker_has_a_successor_and_its_leavings_go,
    a_broken_report_stream_shortens_the_lease,
    a_stream_that_is_seen_to_break_late_takes_nothing_from_the_next_one,
    a_task_that_keeps_failing_fails_its_job,
    a_file_that_cannot_be_served_fails_at_once,
    a_fault_of_the_worker_is_tried_again_at_once,
    a_task_may_be_handed_back_any_number_of_times,
    a_lost_queue_loses_no_job,
    outputs_cannot_leave_their_prefix,
);
