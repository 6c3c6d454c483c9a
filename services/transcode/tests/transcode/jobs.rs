//! TranscodeService: jobs as their owners and the upload role see them.

use reelmill_proto::timestamp;
use reelmill_proto::transcode::{
    CancelJobRequest, CheckJobsRequest, DeleteJobsRequest, FailTaskRequest, Failure, FailureCause,
    GetJobRequest, KnownJob, ListJobsRequest, RetryJobRequest, SetJobPriorityRequest, TranscodeOptions,
    WatchJobRequest, WatchJobsRequest,
    job::{Priority, State},
    transcode_options::Preset,
};
use rstest::rstest;
use tokio::time::timeout;

use crate::support::{
    Backend, EMPTY_QUEUE_WAIT, RESPONSE_TIMEOUT, START_TIME_MS, TestSystem, complete_request, init, job_name,
    open_report_stream, reason, segment, source,
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn create_job_twice_returns_one_job(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_job("ann", "v1").await;
    let again = system.create_job("ann", "v1").await;
    assert_eq!(first.name, again.name);
    system.transcode.sweep().await.unwrap();
    assert!(system.receive_message(RESPONSE_TIMEOUT).await.is_some());
    assert!(system.receive_message(EMPTY_QUEUE_WAIT).await.is_none(), "one task, one message");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn get_job_of_other_user_returns_not_found(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let job = system.create_job("ann", "v1").await;
    let get = |name: &str| GetJobRequest { name: name.to_owned() };
    assert!(system.user_client("ann").get_job(get(&job.name)).await.is_ok());
    assert_eq!(reason(system.user_client("bob").get_job(get(&job.name)).await), "JOB_NOT_FOUND");
    let cancel = CancelJobRequest { name: job.name.clone() };
    assert_eq!(reason(system.user_client("bob").cancel_job(cancel).await), "JOB_NOT_FOUND");
    let watch = WatchJobRequest { name: job.name.clone(), revision: 0 };
    assert_eq!(reason(system.user_client("bob").watch_job(watch).await), "JOB_NOT_FOUND");
    for bad in ["", "jobs/", "jobs/../x", "videos/1", "jobs/unknown"] {
        assert_eq!(reason(system.user_client("ann").get_job(get(bad)).await), "JOB_NOT_FOUND", "{bad}");
    }
    let listed = system.user_client("bob").list_jobs(ListJobsRequest::default()).await.unwrap().into_inner();
    assert!(listed.jobs.is_empty());
    // Users cannot watch all jobs, whatever the gateway allows.
    let feed = system.user_client("ann").watch_jobs(WatchJobsRequest::default()).await;
    assert_eq!(reason(feed), "METHOD_UNKNOWN");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn list_jobs_returns_pages_newest_first(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    for number in 0..5 {
        system.create_job("ann", &format!("v{number}")).await;
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest { page_size: 2, page_token, ..ListJobsRequest::default() };
        let page = system.user_client("ann").list_jobs(request).await.unwrap().into_inner();
        assert!(page.jobs.len() <= 2);
        names.extend(page.jobs.into_iter().map(|job| job.video));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["videos/v4", "videos/v3", "videos/v2", "videos/v1", "videos/v0"]);
    let bad = ListJobsRequest { page_token: "%%%".to_owned(), ..ListJobsRequest::default() };
    assert_eq!(reason(system.user_client("ann").list_jobs(bad).await), "PAGE_TOKEN_INVALID");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn watch_job_streams_every_state_until_end(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let job = system.create_job("ann", "v1").await;
    let watch = WatchJobRequest { name: job.name.clone(), revision: 0 };
    let mut changes = system.user_client("ann").watch_job(watch).await.unwrap().into_inner();
    let mut states = Vec::new();
    let first = timeout(RESPONSE_TIMEOUT, changes.message()).await.unwrap().unwrap().unwrap().job.unwrap();
    states.push(first.state());
    let started = system.start_next_task().await;
    system.complete_single_task_job(&started).await;
    let mut revision = first.revision;
    while let Some(change) = timeout(RESPONSE_TIMEOUT, changes.message()).await.unwrap().unwrap() {
        let job = change.job.unwrap();
        assert!(job.revision >= revision);
        revision = job.revision;
        states.push(job.state());
    }
    states.dedup();
    assert_eq!(states, [State::Queued, State::Running, State::Succeeded]);
    // A watch from the last revision ends at once.
    let again = WatchJobRequest { name: job.name, revision };
    let mut changes = system.user_client("ann").watch_job(again).await.unwrap().into_inner();
    assert!(timeout(RESPONSE_TIMEOUT, changes.message()).await.unwrap().unwrap().is_none());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn watch_jobs_resumes_after_revision(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_job("ann", "v1").await;
    let second = system.create_job("bob", "v2").await;
    let mut feed = system.upload_client().watch_jobs(WatchJobsRequest::default()).await.unwrap().into_inner();
    // In the order of their shards.
    let mut revisions = vec![0; 64];
    let mut names = Vec::new();
    for _ in 0..2 {
        let change = timeout(RESPONSE_TIMEOUT, feed.message()).await.unwrap().unwrap().unwrap();
        let job = change.job.unwrap();
        revisions[change.shard as usize] = job.revision;
        names.push(job.name);
    }
    names.sort();
    assert_eq!(names, [first.name, second.name.clone()]);
    let mut resumed =
        system.upload_client().watch_jobs(WatchJobsRequest { revisions }).await.unwrap().into_inner();
    let cancel = CancelJobRequest { name: second.name.clone() };
    system.user_client("bob").cancel_job(cancel).await.unwrap();
    let change = timeout(RESPONSE_TIMEOUT, resumed.message()).await.unwrap().unwrap().unwrap();
    let job = change.job.unwrap();
    assert_eq!((&job.name, job.state()), (&second.name, State::Cancelled));
}

/// More than a page of them: a watcher that has seen their last changes still gets each one, for its progress.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn watch_jobs_begins_with_all_running_jobs(#[case] backend: Backend) {
    const JOBS: usize = 203;
    let system = TestSystem::start(backend).await;
    let mut names = Vec::new();
    for number in 0..JOBS {
        names.push(system.create_job(&format!("owner{number}"), &format!("v{number}")).await.name);
        system.start_next_task().await;
    }
    names.sort();
    let mut revisions = vec![0; 64];
    for is_known in [false, true] {
        let watch = WatchJobsRequest { revisions: revisions.clone() };
        let mut feed = system.upload_client().watch_jobs(watch).await.unwrap().into_inner();
        let mut received = Vec::new();
        for _ in 0..JOBS {
            let change = timeout(RESPONSE_TIMEOUT, feed.message()).await.unwrap().unwrap().unwrap();
            let job = change.job.unwrap();
            let revision = &mut revisions[change.shard as usize];
            *revision = job.revision.max(*revision);
            received.push(job.name);
        }
        received.sort();
        assert_eq!(received, names, "known: {is_known}");
    }
}

/// A watcher that has seen more than there is: the database was restored from a backup.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn watch_jobs_after_restored_backup_sends_jobs_with_new_revisions(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let job = system.create_job("ann", "v1").await;
    let revisions = vec![1000; 64];
    let watch = WatchJobsRequest { revisions: revisions.clone() };
    let mut feed = system.upload_client().watch_jobs(watch).await.unwrap().into_inner();
    let change = timeout(RESPONSE_TIMEOUT, feed.message()).await.unwrap().unwrap().unwrap();
    let restored = change.job.unwrap();
    assert_eq!((restored.name, restored.revision), (job.name.clone(), 1001));
    // Also the changes that follow, and for other watchers.
    let cancel = CancelJobRequest { name: job.name };
    let cancelled = system.user_client("ann").cancel_job(cancel).await.unwrap().into_inner().job.unwrap();
    assert!(cancelled.revision > 1001);
    let mut again =
        system.upload_client().watch_jobs(WatchJobsRequest { revisions }).await.unwrap().into_inner();
    for feed in [&mut feed, &mut again] {
        let change = timeout(RESPONSE_TIMEOUT, feed.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(change.job.unwrap().revision, cancelled.revision);
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn delete_jobs_stops_watchers_and_workers_and_keeps_nothing(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(60.0, true)).await;
    system.record(&task, vec![init("360p"), segment("360p", 0)]).await;
    let other = system.create_job("ann", "v2").await;
    let name = job_name(&task.lease);
    let mut reports = open_report_stream(&system, &task.lease).await;
    timeout(RESPONSE_TIMEOUT, reports.response()).await.unwrap().unwrap().unwrap();
    let watch = WatchJobRequest { name: name.clone(), revision: 0 };
    let mut changes = system.user_client("ann").watch_job(watch).await.unwrap().into_inner();
    let delete = || DeleteJobsRequest { video: "videos/v1".to_owned() };
    for _ in 0..2 {
        system.upload_client().delete_jobs(delete()).await.unwrap();
    }
    assert!(timeout(RESPONSE_TIMEOUT, reports.response()).await.unwrap().unwrap().unwrap().cancel);
    let mut last = State::Unspecified;
    while let Some(change) = timeout(RESPONSE_TIMEOUT, changes.message()).await.unwrap().unwrap() {
        last = change.job.unwrap().state();
    }
    assert_eq!(last, State::Cancelled);
    let get = |name: &str| GetJobRequest { name: name.to_owned() };
    assert_eq!(reason(system.user_client("ann").get_job(get(&name)).await), "JOB_NOT_FOUND");
    assert_eq!(
        reason(system.worker_client().complete_task(complete_request(&task.lease)).await),
        "LEASE_LOST"
    );
    assert!(system.user_client("ann").get_job(get(&other.name)).await.is_ok());
    // The PREPARE task of the other video.
    assert_eq!(system.job_rows().await, 1);
    let denied = system.user_client("ann").delete_jobs(delete()).await;
    assert_eq!(denied.unwrap_err().code(), tonic::Code::Unimplemented);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn cancel_job_stops_worker_and_job(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let job = system.create_job("ann", "v1").await;
    let started = system.start_next_task().await;
    let lease = started.lease.unwrap();
    let mut reports = open_report_stream(&system, &lease).await;
    let first = timeout(RESPONSE_TIMEOUT, reports.response()).await.unwrap().unwrap().unwrap();
    assert!(!first.cancel);
    let cancelled =
        system.user_client("ann").cancel_job(CancelJobRequest { name: job.name.clone() }).await.unwrap();
    assert_eq!(cancelled.into_inner().job.unwrap().state(), State::Cancelled);
    let change = timeout(RESPONSE_TIMEOUT, reports.response()).await.unwrap().unwrap().unwrap();
    assert!(change.cancel);
    assert_eq!(reason(system.worker_client().complete_task(complete_request(&lease)).await), "LEASE_LOST");
    let again = system.user_client("ann").cancel_job(CancelJobRequest { name: job.name }).await.unwrap();
    assert_eq!(again.into_inner().job.unwrap().state(), State::Cancelled);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn retry_job_after_failure_transcodes_again_with_new_options(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    system.put_source("v1").await;
    let failed = system.start_next_task().await.lease.unwrap();
    let failure = Failure { reason: "FILE_TRUNCATED".to_owned(), message: "truncated".to_owned() };
    system.fail_task_twice(&failed, &failure).await;
    let ended = system.get_job(&created.name).await;
    assert_eq!((ended.state(), ended.failure), (State::Failed, Some(failure)));

    let retry = RetryJobRequest {
        name: created.name.clone(),
        options: Some(TranscodeOptions { preset: Preset::Small.into(), ..TranscodeOptions::default() }),
    };
    let other_user = system.user_client("bob").retry_job(retry.clone()).await;
    assert_eq!(reason(other_user), "JOB_NOT_FOUND");
    let retried = system.user_client("ann").retry_job(retry.clone()).await.unwrap().into_inner().job.unwrap();
    assert_eq!((retried.state(), retried.failure.clone(), retried.end_time), (State::Queued, None, None));
    assert_eq!(retried.options.as_ref().unwrap().preset(), Preset::Small);
    assert!(retried.revision > ended.revision);
    let repeated =
        system.user_client("ann").retry_job(retry.clone()).await.unwrap().into_inner().job.unwrap();
    assert_eq!(repeated.revision, retried.revision, "a repeated call changes nothing");
    let late = FailTaskRequest {
        lease: Some(failed),
        failure: retried.failure,
        cause: FailureCause::Encoder.into(),
    };
    assert!(system.worker_client().fail_task(late).await.is_err());

    let started = system.start_next_task().await;
    system.complete_single_task_job(&started).await;
    let job = system.get_job(&created.name).await;
    assert_eq!(job.state(), State::Succeeded);
    // The second cleanup of the failed attempt is not due any more.
    system.advance_clock(21 * 60);
    system.transcode.sweep().await.unwrap();
    let kept = format!("{}360p/init.mp4", started.output_prefix);
    assert!(system.objects.head(&kept).await.unwrap().is_some());
    assert_eq!(reason(system.user_client("ann").retry_job(retry).await), "JOB_SUCCEEDED");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn retry_job_whose_source_was_deleted_is_rejected(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let cancel = CancelJobRequest { name: created.name.clone() };
    system.user_client("ann").cancel_job(cancel).await.unwrap();
    let retry = || RetryJobRequest { name: created.name.clone(), options: None };
    assert_eq!(reason(system.user_client("ann").retry_job(retry()).await), "SOURCE_DELETED");
    system.put_source("v1").await;
    let retried = system.user_client("ann").retry_job(retry()).await.unwrap().into_inner().job.unwrap();
    assert_eq!(retried.state(), State::Queued);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn list_jobs_filters_by_state_video_and_time_in_either_order(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let start = START_TIME_MS;
    let mut names = Vec::new();
    for video in ["v0", "v1", "v2"] {
        names.push(system.create_job("ann", video).await.name);
        system.advance_clock(10);
    }
    system.cancel_job(&names[1].clone()).await;
    let list = async |request: ListJobsRequest| -> Vec<String> {
        let response = system.user_client("ann").list_jobs(request).await.unwrap().into_inner();
        response.jobs.into_iter().map(|job| job.name).collect()
    };
    let any = ListJobsRequest::default;
    let queued = list(ListJobsRequest { states: vec![State::Queued.into()], ..any() }).await;
    assert_eq!(queued, [names[2].clone(), names[0].clone()]);
    let of_video = list(ListJobsRequest { video: "videos/v1".to_owned(), ..any() }).await;
    assert_eq!(of_video, [names[1].clone()]);
    let after = Some(timestamp(start + 10_000));
    assert_eq!(list(ListJobsRequest { created_after: after, ..any() }).await.len(), 2);
    assert_eq!(list(ListJobsRequest { created_before: after, ..any() }).await, [names[0].clone()]);

    let oldest_first = || ListJobsRequest { order_by: "create_time".to_owned(), page_size: 2, ..any() };
    let page = system.user_client("ann").list_jobs(oldest_first()).await.unwrap().into_inner();
    let rest = list(ListJobsRequest { page_token: page.next_page_token, ..oldest_first() }).await;
    let listed: Vec<_> = page.jobs.into_iter().map(|job| job.name).chain(rest).collect();
    assert_eq!(listed, names);
    for bad in [
        ListJobsRequest { order_by: "size".to_owned(), ..any() },
        ListJobsRequest { states: vec![State::Unspecified.into()], ..any() },
    ] {
        assert_eq!(reason(system.user_client("ann").list_jobs(bad).await), "FIELD_INVALID");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn get_job_in_queue_returns_position_and_estimated_times(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    for video in ["v0", "v1"] {
        system.create_job("ann", video).await;
        let started = system.start_next_task().await;
        system.advance_clock(10);
        system.complete_single_task_job(&started).await;
    }
    let mut names = Vec::new();
    for video in 0..20 {
        names.push(system.create_job("ann", &format!("w{video}")).await.name);
    }
    system.transcode.queue_tasks().await.unwrap();
    let mut jobs = Vec::new();
    for name in &names {
        jobs.push(system.get_job(name).await);
    }
    let positions: Vec<_> = jobs.iter().map(|job| job.queue_position).collect();
    assert_eq!(positions, (1..=20).collect::<Vec<_>>(), "sixteen queued, four held back");
    // A job was started every ten seconds and took ten.
    let now = (START_TIME_MS + 20_000) / 1000;
    let (start, end) = (jobs[2].estimated_start_time.unwrap(), jobs[2].estimated_end_time.unwrap());
    assert_eq!((start.seconds - now, end.seconds - now), (30, 40));
    system.start_task().await;
    let running = system.get_job(&names[0]).await;
    assert_eq!((running.queue_position, running.estimated_start_time), (0, None));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn set_job_priority_reorders_the_owners_waiting_jobs(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let mut names = Vec::new();
    for video in 0..20 {
        names.push(system.create_job("ann", &format!("v{video}")).await.name);
    }
    system.transcode.queue_tasks().await.unwrap();
    let set = |name: &str, priority: Priority| SetJobPriorityRequest {
        name: name.to_owned(),
        priority: priority.into(),
    };
    let changed = system.user_client("ann").set_job_priority(set(&names[19], Priority::High)).await.unwrap();
    assert_eq!(changed.into_inner().job.unwrap().priority(), Priority::High);
    system.user_client("ann").set_job_priority(set(&names[0], Priority::Low)).await.unwrap();
    let mut order = Vec::new();
    while let Some(started) = system.try_start_task().await {
        order.push(job_name(&started.lease.unwrap()));
    }
    assert_eq!(order[..2], [names[19].clone(), names[1].clone()]);
    assert!(!order.contains(&names[0]), "the last one");
    // Queued tasks were announced before.
    let mut messages = 0;
    while system.receive_message(EMPTY_QUEUE_WAIT).await.is_some() {
        messages += 1;
    }
    assert!(messages <= 20, "{messages}");
    let cancel = CancelJobRequest { name: names[5].clone() };
    system.user_client("ann").cancel_job(cancel).await.unwrap();
    let ended = system.user_client("ann").set_job_priority(set(&names[5], Priority::High)).await;
    assert_eq!(reason(ended), "JOB_ENDED");
    let other = system.user_client("bob").set_job_priority(set(&names[3], Priority::High)).await;
    assert_eq!(reason(other), "JOB_NOT_FOUND");
    let unspecified = system.user_client("ann").set_job_priority(set(&names[3], Priority::Unspecified)).await;
    assert_eq!(reason(unspecified), "FIELD_INVALID");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn check_jobs_returns_differences(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let [same, other] = [system.create_job("ann", "v1").await, system.create_job("bob", "v2").await];
    let known = |name: &str, revision| KnownJob { name: name.to_owned(), revision };
    let jobs =
        vec![known(&same.name, same.revision), known(&other.name, other.revision + 1), known("jobs/gone", 1)];
    let checked = system.upload_client().check_jobs(CheckJobsRequest { jobs }).await.unwrap().into_inner();
    assert_eq!(checked.missing, ["jobs/gone"]);
    let changed: Vec<_> = checked.changed.into_iter().filter_map(|report| report.job).collect();
    assert_eq!((changed.len(), &changed[0].name), (1, &other.name));
    let jobs = vec![KnownJob::default(); 1001];
    assert_eq!(reason(system.upload_client().check_jobs(CheckJobsRequest { jobs }).await), "FIELD_INVALID");
    let denied = system.user_client("ann").check_jobs(CheckJobsRequest::default()).await;
    assert_eq!(denied.unwrap_err().code(), tonic::Code::Unimplemented);
}
