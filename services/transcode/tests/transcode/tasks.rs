//! Leases, fencing tokens, lost workers, lost queue messages, and unreferenced objects.

use std::collections::HashMap;

use bytes::Bytes;
use reelmill_proto::transcode::{
    CompleteTaskRequest, FailTaskRequest, Failure, FailureCause, Progress, SignOutputsRequest,
    StartTaskRequest, job::State,
};
use rstest::rstest;
use tokio::time::timeout;

use crate::support::{
    Backend, LeasedEncodeTask, OpenReportStream, RESPONSE_TIMEOUT, START_TIME_MS, TestSystem,
    complete_request, init, open_report_stream, plan_request, reason, segment, source, start_request,
};

/// Calls on the connection of a dropped stream, within which the server notices the end of the stream.
const ROUND_TRIPS_AFTER_DROP: usize = 20;

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_of_leased_task_is_rejected_until_sweeper_releases_expired_lease(
    #[case] backend: Backend,
) {
    let system = TestSystem::start(backend).await;
    system.create_job("ann", "v1").await;
    let first = system.start_next_task().await;
    let old = first.lease.unwrap();
    assert_eq!(system.try_start_task().await, None);
    system.advance_clock(16);
    // Perhaps this role was unavailable and the worker could not renew its lease: only the sweeper knows.
    assert_eq!(system.try_start_task().await, None);
    system.transcode.sweep().await.unwrap();
    let second = system.start_task().await;
    let new = second.lease.clone().unwrap();
    assert!(new.fencing_token > old.fencing_token);
    assert_ne!(first.output_prefix, second.output_prefix);
    let sign = SignOutputsRequest { lease: Some(old.clone()), names: vec!["a.mp4".to_owned()] };
    assert_eq!(reason(system.worker_client().sign_outputs(sign).await), "LEASE_LOST");
    assert_eq!(reason(system.worker_client().complete_task(complete_request(&old)).await), "LEASE_LOST");
    let mut reports = open_report_stream(&system, &old).await;
    assert_eq!(reason(timeout(RESPONSE_TIMEOUT, reports.response()).await.unwrap()), "LEASE_LOST");
    assert_eq!(
        reason(system.worker_client().plan_job(plan_request(&old, &source(16.0, true))).await),
        "LEASE_LOST"
    );
    assert_eq!(
        reason(system.worker_client().complete_task(complete_request(&new)).await),
        "FIELD_INVALID",
        "not planned"
    );
    let task = system.plan_job(&second, &source(16.0, true)).await;
    assert_eq!(reason(system.worker_client().complete_task(complete_request(&old)).await), "LEASE_LOST");
    system.encode_and_complete(&task, 4).await;
    system.worker_client().complete_task(complete_request(&new)).await.expect("a repeated call succeeds");
    assert_eq!(system.try_start_task().await, None);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_repeated_with_same_nonce_returns_same_lease(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    system.create_job("ann", "v2").await;
    system.transcode.queue_tasks().await.unwrap();
    let request = start_request();
    let (mut one, mut two) = (system.worker_client(), system.worker_client());
    // The response of the first call is lost, and the repeated call may overtake it.
    let (first, second) = tokio::join!(one.start_task(request.clone()), two.start_task(request.clone()));
    let (first, second) = (first.unwrap().into_inner(), second.unwrap().into_inner());
    assert_eq!((first.lease.clone(), first.attempt), (second.lease, second.attempt));
    let third = system.worker_client().start_task(request.clone()).await.unwrap().into_inner();
    assert_eq!(third.lease, first.lease);
    let next = system.start_task().await;
    assert_ne!(next.lease.unwrap().task, first.lease.unwrap().task, "one lease, one task");

    let failure = Failure { reason: "ENCODER_CRASHED".to_owned(), message: "crashed".to_owned() };
    let request_of_lost =
        FailTaskRequest { lease: third.lease, failure: Some(failure), cause: FailureCause::Encoder.into() };
    system.worker_client().fail_task(request_of_lost).await.unwrap();
    assert_eq!(reason(system.worker_client().start_task(request.clone()).await), "LEASE_LOST", "too late");
    let unnamed = StartTaskRequest { nonce: String::new(), ..request };
    assert_eq!(reason(system.worker_client().start_task(unnamed).await), "FIELD_INVALID");
    assert_eq!(system.get_job(&created.name).await.state(), State::Running);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_after_lost_worker_succeeds_and_its_objects_are_removed(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let first = system.start_next_task().await;
    let stray = format!("{}720p/init.mp4", first.output_prefix);
    system.objects.put(&stray, Bytes::from_static(b"lost"), "video/mp4").await.unwrap();
    system.advance_clock(16);
    let second = system.start_next_task().await;
    assert_eq!(second.attempt, 2);
    system.complete_single_task_job(&second).await;
    assert_eq!(system.objects.head(&stray).await.unwrap(), None);
    let kept = format!("{}360p/init.mp4", second.output_prefix);
    assert!(system.objects.head(&kept).await.unwrap().is_some());
    assert_eq!(system.get_job(&created.name).await.state(), State::Succeeded);
    // A stale worker's presigned URL stays valid for a while: the second cleanup removes what it uploaded.
    system.objects.put(&stray, Bytes::from_static(b"late"), "video/mp4").await.unwrap();
    system.advance_clock(21 * 60);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.objects.head(&stray).await.unwrap(), None);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn report_progress_broken_stream_shortens_lease(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.create_job("ann", "v1").await;
    let started = system.start_next_task().await;
    let lease = started.lease.unwrap();
    let mut reports = open_report_stream(&system, &lease).await;
    timeout(RESPONSE_TIMEOUT, reports.response()).await.unwrap().unwrap().unwrap();
    let renewed = system.lease_expire_time(&lease.task).await;
    drop(reports);
    let shortened = async {
        while system.lease_expire_time(&lease.task).await == renewed {
            tokio::task::yield_now().await;
        }
    };
    timeout(RESPONSE_TIMEOUT, shortened).await.expect("the lease is shortened");
    // Four seconds instead of fifteen.
    system.advance_clock(5);
    system.transcode.sweep().await.unwrap();
    let claimed = system.start_task().await;
    assert_eq!(claimed.attempt, 2);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn report_progress_broken_stream_keeps_lease_renewed_by_newer_stream(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.create_job("ann", "v1").await;
    let lease = system.start_next_task().await.lease.unwrap();
    let mut client = system.worker_client();
    let mut old = OpenReportStream::open_on(&mut client, &lease).await;
    old.report(Progress::default());
    timeout(RESPONSE_TIMEOUT, old.response()).await.unwrap().unwrap().unwrap();
    system.advance_clock(1);
    let mut new = open_report_stream(&system, &lease).await;
    timeout(RESPONSE_TIMEOUT, new.response()).await.unwrap().unwrap().unwrap();
    let renewed = system.lease_expire_time(&lease.task).await;
    drop(old);
    // The server notices the end of the old stream before it responds to later calls on the same connection.
    for _ in 0..ROUND_TRIPS_AFTER_DROP {
        let request = SignOutputsRequest { lease: Some(lease.clone()), names: vec!["a.mp4".to_owned()] };
        client.sign_outputs(request).await.unwrap();
        assert_eq!(system.lease_expire_time(&lease.task).await, renewed);
    }
    system.advance_clock(6);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.try_start_task().await, None);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn sweep_task_lost_on_every_attempt_fails_job(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    for _ in 0..5 {
        assert!(!matches!(system.get_job(&created.name).await.state(), State::Failed));
        system.start_next_task().await;
        system.advance_clock(60);
        system.transcode.sweep().await.unwrap();
        system.advance_clock(60);
    }
    let failed = system.get_job(&created.name).await;
    assert_eq!(failed.state(), State::Failed);
    assert_eq!(failed.failure.unwrap().reason, "WORKER_LOST");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn sweep_task_lost_on_every_attempt_but_getting_ahead_does_not_fail_job(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let started = system.start_next_task().await;
    let mut task = system.plan_job(&started, &source(30.0, false)).await;
    for sequence in 0..7 {
        system.register_worker("w", "ffmpeg test").await;
        system.record(&task, vec![init("360p"), segment("360p", sequence)]).await;
        system.advance_clock(60);
        system.transcode.sweep().await.unwrap();
        system.advance_clock(60);
        system.register_worker("w", "ffmpeg test").await;
        task = LeasedEncodeTask::from_response(system.start_next_task().await);
        assert_eq!(task.recorded["360p"], sequence + 1);
    }
    assert_eq!(system.get_job(&created.name).await.state(), State::Running);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn fail_task_because_of_file_fails_job_once_a_second_attempt_agrees(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let first = system.start_next_task().await.lease.unwrap();
    let failure = Failure { reason: "FILE_NOT_VIDEO".to_owned(), message: "not a video".to_owned() };
    let fail = |lease| FailTaskRequest {
        lease: Some(lease),
        failure: Some(failure.clone()),
        cause: FailureCause::File.into(),
    };
    let response = system.worker_client().fail_task(fail(first.clone())).await.unwrap().into_inner();
    assert!(response.will_retry, "one worker does not decide");
    assert_eq!(system.get_job(&created.name).await.state(), State::Running);
    assert_eq!(system.try_start_task().await, None, "for two seconds only another worker can start it");

    let other = StartTaskRequest { worker: "other".to_owned(), ..start_request() };
    let second = system.start_as(other).await.unwrap().lease.unwrap();
    assert_eq!(second.task, first.task);
    let response = system.worker_client().fail_task(fail(second.clone())).await.unwrap().into_inner();
    assert!(!response.will_retry);
    let failed = system.get_job(&created.name).await;
    assert_eq!((failed.state(), failed.failure), (State::Failed, Some(failure.clone())));
    assert_eq!(reason(system.worker_client().fail_task(fail(second)).await), "LEASE_LOST");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn fail_task_because_of_file_can_be_confirmed_by_the_only_worker(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let failure = Failure { reason: "FILE_NOT_VIDEO".to_owned(), message: "not a video".to_owned() };
    for will_retry in [true, false] {
        let lease = system.start_next_task().await.lease;
        let request =
            FailTaskRequest { lease, failure: Some(failure.clone()), cause: FailureCause::File.into() };
        let response = system.worker_client().fail_task(request).await.unwrap().into_inner();
        assert_eq!(response.will_retry, will_retry);
        system.advance_clock(3);
    }
    assert_eq!(system.get_job(&created.name).await.state(), State::Failed);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn fail_task_because_of_dependency_never_fails_job_and_shows_what_it_waits_for(
    #[case] backend: Backend,
) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let failure = Failure { reason: "SOURCE_UNREADABLE".to_owned(), message: "responded 403".to_owned() };
    for _ in 0..20 {
        let lease = system.start_next_task().await.lease;
        let cause = FailureCause::Dependency.into();
        let request = FailTaskRequest { lease, failure: Some(failure.clone()), cause };
        assert!(system.worker_client().fail_task(request).await.unwrap().into_inner().will_retry);
        system.advance_clock(121);
    }
    let waiting = system.get_job(&created.name).await.waiting.expect("it waits");
    assert_eq!((waiting.reason, waiting.message), (failure.reason, failure.message));
    assert_eq!(waiting.since_time.unwrap().seconds, START_TIME_MS / 1000, "since the first failure");

    let started = system.start_next_task().await;
    system.complete_single_task_job(&started).await;
    let job = system.get_job(&created.name).await;
    assert_eq!((job.state(), job.waiting), (State::Succeeded, None));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn fail_task_without_cause_is_rejected(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.create_job("ann", "v1").await;
    let lease = system.start_next_task().await.lease;
    let failure = Some(Failure { reason: "FILE_NOT_VIDEO".to_owned(), message: "not a video".to_owned() });
    let request = FailTaskRequest { lease, failure, ..FailTaskRequest::default() };
    assert_eq!(reason(system.worker_client().fail_task(request).await), "FIELD_INVALID");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn fail_task_because_of_encoder_is_retried_immediately(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let lease = system.start_next_task().await.lease;
    let failure = Failure { reason: "ENCODER_CRASHED".to_owned(), message: "crashed".to_owned() };
    let request = FailTaskRequest { lease, failure: Some(failure), cause: FailureCause::Encoder.into() };
    assert!(system.worker_client().fail_task(request).await.unwrap().into_inner().will_retry);
    assert_eq!(system.start_next_task().await.attempt, 2);
    assert_eq!(system.get_job(&created.name).await.state(), State::Running);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn fail_task_worker_stopped_is_retried_without_limit(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    for _ in 0..7 {
        let lease = system.start_next_task().await.lease;
        let failure = Failure { reason: "WORKER_STOPPED".to_owned(), message: "stopping".to_owned() };
        let request = FailTaskRequest { lease, failure: Some(failure), cause: FailureCause::Worker.into() };
        assert!(system.worker_client().fail_task(request).await.unwrap().into_inner().will_retry);
    }
    assert_eq!(system.get_job(&created.name).await.state(), State::Running);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn sign_outputs_name_outside_prefix_is_rejected(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.create_job("ann", "v1").await;
    let started = system.start_next_task().await;
    let lease = started.lease;
    for bad in ["../x", "/x", "a//b", ""] {
        let request = SignOutputsRequest { lease: lease.clone(), names: vec![bad.to_owned()] };
        assert_eq!(reason(system.worker_client().sign_outputs(request).await), "FIELD_INVALID", "{bad}");
    }
    let request = SignOutputsRequest { lease, names: vec!["720p/init.mp4".to_owned()] };
    let uris = system.worker_client().sign_outputs(request).await.unwrap().into_inner().uris;
    assert!(uris[0].contains(&format!("{}720p/init.mp4", started.output_prefix)), "{}", uris[0]);
}

/// What a worker has encoded must be recorded, whichever calls were lost.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn complete_task_without_all_segments_is_refused(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(60.0, true)).await;
    let early = system.start_encode_task().await;
    assert_eq!(early.segment_range(15), 1..3);
    system.record(&early, vec![init("360p"), segment("360p", 2)]).await;
    let complete = |count: i32| CompleteTaskRequest {
        segments: HashMap::from([("360p".to_owned(), count)]),
        ..complete_request(&early.lease)
    };
    for count in [1, 2] {
        assert_eq!(reason(system.worker_client().complete_task(complete(count)).await), "SEGMENTS_MISSING");
    }
    system.record(&early, vec![segment("360p", 1)]).await;
    assert_eq!(reason(system.worker_client().complete_task(complete(3)).await), "SEGMENTS_MISSING");
    system.worker_client().complete_task(complete(2)).await.unwrap();
    drop(task);
}
