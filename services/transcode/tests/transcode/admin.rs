//! AdminService: what the operator sees and does.

use std::time::Duration;

use reelmill_proto::transcode::{
    DrainWorkerRequest, FailTaskRequest, Failure, FailureCause, GetQueueRequest, ListAllJobsRequest,
    ListDeadLettersRequest, ListWorkersRequest, ReconcileRequest, RedriveDeadLettersRequest,
    SetPausedRequest, TaskClass, job::State,
};
use rstest::rstest;

use crate::support::{Backend, EMPTY_QUEUE_WAIT, RESPONSE_TIMEOUT, TestSystem, reason, source};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn get_queue_counts_tasks_owners_and_messages(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    for video in 0..20 {
        system.create_job("bob", &format!("b{video}")).await;
    }
    system.transcode.queue_tasks().await.unwrap();
    let queue = system.admin_client().get_queue(GetQueueRequest {}).await.unwrap().into_inner();
    let load = |class: TaskClass| {
        let load = queue.classes.iter().find(|load| load.task_class() == class).unwrap();
        (load.waiting_tasks, load.queued_tasks, load.running_tasks)
    };
    assert_eq!(load(TaskClass::Express), (4, 16 + 1, 1), "sixteen jobs of an owner are started");
    assert_eq!(load(TaskClass::Bulk), (0, 4, 0));
    let owners: Vec<_> = queue
        .owners
        .iter()
        .map(|load| (load.owner.as_str(), load.waiting_tasks, load.running_tasks))
        .collect();
    assert_eq!(owners, [("users/bob", 20, 0), ("users/ann", 5, 1)]);
    assert_eq!((queue.paused, queue.waiting_jobs, queue.dead_letters), (false, 0, 0));
    assert_eq!(queue.visible_messages, 1 + 16 + 5);

    let failure = Failure { reason: "SOURCE_UNREADABLE".to_owned(), message: "responded 403".to_owned() };
    let request = FailTaskRequest {
        lease: Some(first.lease),
        failure: Some(failure),
        cause: FailureCause::Dependency.into(),
    };
    system.worker_client().fail_task(request).await.unwrap();
    let queue = system.admin_client().get_queue(GetQueueRequest {}).await.unwrap().into_inner();
    assert_eq!(queue.waiting_jobs, 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn set_paused_stops_leasing_until_it_is_undone(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.create_job("ann", "v1").await;
    let set = |paused| SetPausedRequest { paused };
    system.admin_client().set_paused(set(true)).await.unwrap();
    assert!(system.admin_client().get_queue(GetQueueRequest {}).await.unwrap().into_inner().paused);
    assert_eq!(system.try_start_task().await, None);
    system.admin_client().set_paused(set(false)).await.unwrap();
    assert!(system.try_start_task().await.is_some());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn drain_worker_leases_it_nothing_until_it_is_undone(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.register_worker("w", "ffmpeg test").await;
    system.create_job("ann", "v1").await;
    let lease = system.start_task().await.lease.unwrap();
    system.create_job("ann", "v2").await;
    let drain = |name: &str, draining| DrainWorkerRequest { name: name.to_owned(), draining };
    let unknown = system.admin_client().drain_worker(drain("nobody", true)).await;
    assert_eq!(reason(unknown), "WORKER_NOT_FOUND");
    system.admin_client().drain_worker(drain("w", true)).await.unwrap();
    assert_eq!(system.try_start_task().await, None);
    system.register_worker("w", "ffmpeg test").await;
    system.advance_clock(34);
    let workers = system.admin_client().list_workers(ListWorkersRequest {}).await.unwrap().into_inner();
    let [worker] = &workers.workers[..] else { panic!("{workers:?}") };
    assert_eq!((worker.name.as_str(), worker.draining, worker.gone), ("w", true, false));
    assert_eq!(worker.tasks, [lease.task]);
    system.advance_clock(2);
    let workers = system.admin_client().list_workers(ListWorkersRequest {}).await.unwrap().into_inner();
    assert!(workers.workers[0].gone, "it has not called for more than three intervals");
    system.admin_client().drain_worker(drain("w", false)).await.unwrap();
    assert!(system.try_start_task().await.is_some());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn list_all_jobs_shows_unfinished_jobs_of_all_owners(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let ended = system.create_job("ann", "v0").await;
    let started = system.start_next_task().await;
    system.complete_single_task_job(&started).await;
    system.advance_clock(1);
    system.create_planned_job("v1", &source(60.0, true)).await;
    system.advance_clock(1);
    system.create_job("bob", "w1").await;
    system.transcode.queue_tasks().await.unwrap();
    let list = async |request| system.admin_client().list_all_jobs(request).await.unwrap().into_inner();
    let open = list(ListAllJobsRequest::default()).await.jobs;
    let shown: Vec<_> = open
        .iter()
        .map(|job| (job.owner.as_str(), job.queued_tasks, job.running_tasks, job.workers.join(" ")))
        .collect();
    assert_eq!(shown, [("users/bob", 1, 0, String::new()), ("users/ann", 5, 1, "w".to_owned())]);
    let of_state =
        |state: State| ListAllJobsRequest { states: vec![state.into()], ..ListAllJobsRequest::default() };
    let succeeded = list(of_state(State::Succeeded)).await.jobs;
    assert_eq!(succeeded.len(), 1);
    assert_eq!(succeeded[0].job.as_ref().unwrap().name, ended.name);
    let page = list(ListAllJobsRequest { page_size: 1, ..ListAllJobsRequest::default() }).await;
    let next = ListAllJobsRequest { page_token: page.next_page_token, ..ListAllJobsRequest::default() };
    assert_eq!((page.jobs.len(), list(next).await.jobs.len()), (1, 1));
    let unspecified = system.admin_client().list_all_jobs(of_state(State::Unspecified)).await;
    assert_eq!(reason(unspecified), "FIELD_INVALID");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn redrive_dead_letters_moves_them_back(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.queue.send("any", Duration::ZERO).await.unwrap();
    for _ in 0..20 {
        let message = system.receive_message(RESPONSE_TIMEOUT).await.expect("a message");
        system.queue.extend(&message.receipt, Duration::ZERO).await.unwrap();
    }
    assert!(system.receive_message(EMPTY_QUEUE_WAIT).await.is_none());
    let queue = system.admin_client().get_queue(GetQueueRequest {}).await.unwrap().into_inner();
    assert_eq!((queue.visible_messages, queue.dead_letters), (0, 1));
    let moved = system.admin_client().redrive_dead_letters(RedriveDeadLettersRequest {}).await.unwrap();
    assert_eq!(moved.into_inner().moved_messages, 1);
    assert!(system.receive_message(RESPONSE_TIMEOUT).await.is_some());
    let left = system.admin_client().list_dead_letters(ListDeadLettersRequest {}).await.unwrap();
    assert_eq!(left.into_inner().dead_letters, []);
}

/// Whatever the queue has lost: the number of wake-ups follows the number of queued tasks.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn reconcile_replaces_lost_wake_ups(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    for video in 0..3 {
        system.create_job("ann", &format!("v{video}")).await;
    }
    let reconcile =
        async || system.admin_client().reconcile(ReconcileRequest {}).await.unwrap().into_inner().wake_ups;
    assert_eq!(reconcile().await, 0);
    for _ in 0..3 {
        let message = system.receive_message(RESPONSE_TIMEOUT).await.expect("a message");
        system.queue.delete(&message.receipt).await.unwrap();
    }
    assert_eq!(reconcile().await, 3);
    assert_eq!(reconcile().await, 0);
}
