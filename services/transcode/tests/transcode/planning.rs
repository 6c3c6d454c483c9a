//! Plans, priorities, and encoder builds.

use reelmill_media::probe::Source;
use reelmill_proto::transcode::{
    CancelJobRequest, CreateJobRequest, RecordOutputsRequest, StartTaskRequest, TranscodeOptions, rendition,
    start_task_response::Work, transcode_options::Profile,
};
use rstest::rstest;

use crate::support::{
    Backend, EMPTY_QUEUE_WAIT, LeasedEncodeTask, TestSystem, init, job_name, listed_uris, plan_request,
    poster, progressive, reason, segment, sheet, source, start_request,
};

fn with_build(task: &str, build: &str) -> StartTaskRequest {
    StartTaskRequest { encoder_build: build.to_owned(), ..start_request(task) }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn plan_job_twice_returns_same_plan(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(60.0, true)).await;
    let job = system.get_job(&job_name(&task.lease)).await;
    let renditions: Vec<_> =
        job.renditions.iter().map(|one| (one.rendition_id.as_str(), one.kind())).collect();
    let (video, audio) = (rendition::Kind::Video, rendition::Kind::Audio);
    assert_eq!(renditions, [("360p", video), ("240p", video), ("audio-0", audio)]);
    assert_eq!((job.renditions[0].height, job.renditions[0].frame_rate), (360, 25.0));
    assert_eq!(job.source.unwrap().width, 640);
    // A repeated call, even with another source, returns the same plan and task, and creates no more tasks.
    let again = plan_request(&task.lease, &source(3600.0, false));
    let again = system.worker_client().plan_job(again).await.unwrap().into_inner().encode.unwrap();
    assert_eq!(serde_json::from_slice::<reelmill_media::plan::Plan>(&again.plan).unwrap(), task.plan);
    assert_eq!(
        serde_json::from_slice::<reelmill_media::plan::WorkUnit>(&again.work_unit).unwrap(),
        task.work_unit
    );
    system.advance_clock(1);
    system.transcode.sweep().await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = system.receive_message(EMPTY_QUEUE_WAIT).await {
        messages.push(message.body);
    }
    messages.sort();
    let name = job_name(&task.lease);
    let id = name.trim_start_matches("jobs/");
    let expected: Vec<_> = (1..=5).map(|ordinal| format!("{name}/tasks/{id}g0t{ordinal}")).collect();
    assert_eq!((messages, task.plan.work_units.len()), (expected, 6), "one wake-up for each other work unit");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn plan_job_applies_requested_options(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let options =
        TranscodeOptions { profile: Profile::Hevc.into(), rungs: vec![240], ..TranscodeOptions::default() };
    let request = |options: TranscodeOptions| CreateJobRequest {
        video: "videos/v1".to_owned(),
        owner: "users/ann".to_owned(),
        request_id: "v1".to_owned(),
        source_key: "sources/v1/x".to_owned(),
        source_size_bytes: 1000,
        output_prefix: "outputs/v1/".to_owned(),
        options: Some(options),
    };
    let bad = TranscodeOptions { rungs: vec![-1], ..TranscodeOptions::default() };
    assert_eq!(reason(system.upload_client().create_job(request(bad)).await), "FIELD_INVALID");
    let created =
        system.upload_client().create_job(request(options.clone())).await.unwrap().into_inner().job.unwrap();
    assert_eq!(created.options, Some(options));
    let started = system.start_next_task().await;
    let task = system.plan_job(&started, &source(16.0, true)).await;
    let rungs: Vec<_> = task.plan.video.unwrap().rungs;
    assert_eq!(rungs.len(), 1);
    assert_eq!((rungs[0].id.as_str(), rungs[0].encoding.codec), ("240p", reelmill_media::plan::Codec::Hevc));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn plan_job_invalid_source_is_rejected(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.create_job("ann", "v1").await;
    let lease = system.start_next_task().await.lease.unwrap();
    let endless = Source { duration: Some(1e9), ..source(16.0, true) };
    let endless = plan_request(&lease, &endless);
    assert_eq!(reason(system.worker_client().plan_job(endless).await), "FIELD_INVALID");
    let mut broken = plan_request(&lease, &source(16.0, true));
    broken.source.truncate(20);
    assert_eq!(reason(system.worker_client().plan_job(broken).await), "FIELD_INVALID");
    let outputs = RecordOutputsRequest { lease: Some(lease), outputs: vec![init("360p")] };
    assert_eq!(
        reason(system.worker_client().record_outputs(outputs).await),
        "FIELD_INVALID",
        "not planned yet"
    );
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_leases_most_urgent_task(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    let last = format!("{name}/tasks/{}g0t4", name.trim_start_matches("jobs/"));
    let audio = system.start_encode_task(&last).await;
    assert_eq!((audio.work_unit.chunk, audio.work_unit.audio.len()), (None, 1));
    let chunk = system.start_encode_task(&last).await;
    assert_eq!(chunk.work_unit.chunk, Some(1));
    // The probe of a new upload goes before the remaining chunks of another video.
    system.advance_clock(1);
    system.create_job("bob", "v2").await;
    let started = system.worker_client().start_task(start_request(&last)).await.unwrap().into_inner();
    assert!(matches!(started.work, Some(Work::Prepare(_))));
    assert_ne!(job_name(started.lease.as_ref().unwrap()), name);
    // Then the oldest job continues.
    assert_eq!(system.start_encode_task(&last).await.work_unit.chunk, Some(2));
    assert_eq!(system.start_encode_task(&last).await.work_unit.chunk, Some(3));
    assert_eq!(system.start_encode_task(&last).await.work_unit.chunk, Some(4));
    assert_eq!(reason(system.worker_client().start_task(start_request(&last)).await), "TASK_LEASED");
    assert_eq!(
        reason(system.worker_client().start_task(start_request("jobs/x/tasks/y")).await),
        "TASK_NOT_FOUND"
    );
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_concurrently_leases_each_task_once(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let calls = (0..8).map(|_| {
        let mut worker = system.worker_client();
        let request = start_request(&first.lease.task);
        async move { worker.start_task(request).await }
    });
    let responses = futures::future::join_all(calls).await;
    let mut leases: Vec<_> =
        responses.iter().flatten().map(|one| one.get_ref().lease.clone().unwrap()).collect();
    assert_eq!(leases.len(), 5, "five tasks, five leases");
    leases.sort_by(|a, b| a.task.cmp(&b.task));
    leases.dedup_by(|a, b| a.task == b.task);
    assert_eq!(leases.len(), 5);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_with_other_build_is_rejected_until_first_build_is_gone(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let old = system.create_planned_job("v1", &source(60.0, true)).await;
    system.record(&old, vec![init("240p"), segment("240p", 0), init("360p"), segment("360p", 0)]).await;
    let audio = system.start_encode_task(&old.lease.task).await;
    system.encode_and_complete(&audio, 15).await;
    system.transcode.sweep().await.unwrap();
    let name = job_name(&old.lease);
    let playable_since = system.get_job(&name).await.playable_time.expect("playable");
    let last = format!("{name}/tasks/{}g0t4", name.trim_start_matches("jobs/"));
    let new = || with_build(&last, "new");
    assert_eq!(reason(system.worker_client().start_task(new()).await), "TASK_OTHER_BUILD");
    for _ in 0..3 {
        system.advance_clock(300);
        system.transcode.sweep().await.unwrap();
    }
    // Wake-ups were not answered, but a worker with the first build starts another task.
    let alive = system.start_encode_task(&last).await;
    assert_eq!(alive.lease.task, old.lease.task);
    assert_eq!(reason(system.worker_client().start_task(new()).await), "TASK_OTHER_BUILD");
    system.advance_clock(16);
    system.transcode.sweep().await.unwrap();
    // The job is not restarted while workers with its build are busy with a more urgent job.
    system.create_job("ann", "v2").await;
    let busy = system.start_next_task().await.lease.unwrap();
    assert!(!busy.task.starts_with(&name), "{}", busy.task);
    assert_eq!(reason(system.worker_client().start_task(new()).await), "TASK_OTHER_BUILD");
    let cancel = CancelJobRequest { name: job_name(&busy) };
    system.upload_client().cancel_job(cancel).await.unwrap();
    let started = system.worker_client().start_task(new()).await.unwrap().into_inner();
    assert!(started.output_prefix.ends_with("/1.0.1/"), "{}", started.output_prefix);
    assert_eq!(reason(system.try_record(&old, vec![segment("360p", 0)]).await), "LEASE_LOST");
    assert_eq!(reason(system.worker_client().start_task(start_request(&last)).await), "TASK_NOT_FOUND");
    let job = system.get_job(&name).await;
    assert_eq!(job.playable_time, Some(playable_since), "what was published stays playable");
    assert!(system.read_text("v1", &name, "240p.m3u8").await.is_some());
    // The new build encodes everything, and nothing of the old build remains.
    let task = system.plan_job(&started, &source(60.0, true)).await;
    let hint = task.lease.task.clone();
    system.encode_and_complete(&task, 15).await;
    while let Ok(started) = system.worker_client().start_task(with_build(&hint, "new")).await {
        system.encode_and_complete(&LeasedEncodeTask::from_response(started.into_inner()), 15).await;
    }
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.run_package_tasks(&hint).await, ["240p", "360p"], "any build may run PACKAGE tasks");
    system.transcode.sweep().await.unwrap();
    let playlist = system.read_text("v1", &name, "240p.m3u8").await.unwrap();
    assert_eq!(listed_uris(&playlist).len(), 15, "{playlist} {:?}", system.get_job(&name).await);
    assert!(listed_uris(&playlist).iter().all(|uri| uri.starts_with("1.")), "{playlist}");
    assert!(!system.list_keys("v1", &name).await.iter().any(|key| key.starts_with("0.")));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn record_outputs_of_other_task_is_rejected(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let audio = system.start_encode_task(&first.lease.task).await;
    let bad = [
        (&first, segment("360p", 1), "the next chunk's"),
        (&first, segment("720p", 0), "not in the plan"),
        (&first, segment("360p", -1), "before the first"),
        (&first, init("audio-0"), "the audio task's"),
        (&first, segment("audio-0", 0), "the audio task's"),
        (&first, progressive("360p"), "packaged later"),
        (&audio, poster(), "another chunk's"),
        (&audio, sheet(0), "no video"),
        (&audio, segment("audio-0", 1_000_000), "too far"),
    ];
    for (task, output, why) in bad {
        let request = RecordOutputsRequest { lease: Some(task.lease.clone()), outputs: vec![output] };
        assert_eq!(reason(system.worker_client().record_outputs(request).await), "FIELD_INVALID", "{why}");
    }
    let mut strange = segment("360p", 0);
    strange.name = "../x.m4s".to_owned();
    assert_eq!(reason(system.try_record(&first, vec![strange]).await), "FIELD_INVALID");
    system.record(&first, vec![init("360p"), segment("360p", 0), sheet(0)]).await;
}
