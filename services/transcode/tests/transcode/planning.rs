//! Plans, the order of tasks, and encoder builds.

use std::time::Duration;

use reelmill_media::probe::Source;
use reelmill_proto::transcode::{
    CreateJobRequest, GetQueueRequest, RecordOutputsRequest, SetJobPriorityRequest, StartTaskRequest,
    TaskClass, TranscodeOptions, job::Priority, rendition, start_task_response::Work,
    transcode_options::Profile,
};
use rstest::rstest;

use crate::support::{
    Backend, EMPTY_QUEUE_WAIT, LeasedEncodeTask, TestSystem, init, job_name, listed_uris, plan_request,
    poster, progressive, reason, segment, sheet, source, start_request,
};

fn with_build(build: &str) -> StartTaskRequest {
    StartTaskRequest { encoder_build: build.to_owned(), ..start_request() }
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
    let source_info = job.source.unwrap();
    assert_eq!(
        (source_info.width, source_info.tracks[0].index, source_info.programs[0].number),
        (640, 1, 12)
    );
    // A repeated call, even with another source, returns the same plan and task, and creates no more tasks.
    let again = plan_request(&task.lease, &source(3600.0, false));
    let again = system.worker_client().plan_job(again).await.unwrap().into_inner().encode.unwrap();
    assert_eq!(serde_json::from_slice::<reelmill_media::plan::Plan>(&again.plan).unwrap(), task.plan);
    assert_eq!(
        serde_json::from_slice::<reelmill_media::plan::WorkUnit>(&again.work_unit).unwrap(),
        task.work_unit
    );
    system.transcode.queue_tasks().await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = system.receive_message(EMPTY_QUEUE_WAIT).await {
        messages.push(message.body);
    }
    let mut expected = vec!["any"];
    expected.extend(["ffmpeg test"; 5]);
    assert_eq!(
        (messages, task.plan.work_units.len()),
        (expected.iter().map(ToString::to_string).collect(), 6)
    );
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn plan_job_applies_requested_options(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let options = TranscodeOptions {
        profile: Profile::Hevc.into(),
        rungs: vec![240],
        source_program: 12,
        ..TranscodeOptions::default()
    };
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
    assert!(matches!(&started.work, Some(Work::Prepare(task)) if task.program == 12), "{started:?}");
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
async fn start_task_leases_tasks_of_its_slots_class(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    system.create_job("bob", "v2").await;
    // EXPRESS: the sound of a short video, and the probe of a new upload.
    let sound = system.start_express_encode_task().await;
    assert_eq!((sound.work_unit.chunk, sound.work_unit.audio.len()), (None, 1));
    let probe = system.start_express_task().await;
    assert!(matches!(probe.work, Some(Work::Prepare(_))));
    assert_ne!(job_name(probe.lease.as_ref().unwrap()), job_name(&first.lease));
    let express = StartTaskRequest { slot_class: TaskClass::Express.into(), ..start_request() };
    assert_eq!(system.start_as(express).await, None);
    // BULK: the chunks, in order.
    for chunk in 1..=4 {
        assert_eq!(system.start_encode_task().await.work_unit.chunk, Some(chunk));
    }
    assert_eq!(system.try_start_task().await, None);
    // A BULK slot runs an EXPRESS task if there is no other.
    system.create_job("eve", "v3").await;
    assert!(matches!(system.start_task().await.work, Some(Work::Prepare(_))));
    let unspecified = StartTaskRequest { slot_class: TaskClass::Unspecified.into(), ..start_request() };
    assert_eq!(reason(system.worker_client().start_task(unspecified).await), "FIELD_INVALID");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_waits_for_a_task_that_is_queued_meanwhile(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let express = StartTaskRequest {
        slot_class: TaskClass::Express.into(),
        wait: Some(reelmill_proto::duration(Duration::from_secs(10))),
        ..start_request()
    };
    let mut worker = system.worker_client();
    let waiting = tokio::spawn(async move { worker.start_task(express).await });
    tokio::time::sleep(EMPTY_QUEUE_WAIT).await;
    system.create_job("ann", "v1").await;
    system.transcode.queue_tasks().await.unwrap();
    // Well before the call asks again by itself.
    let started = tokio::time::timeout(Duration::from_secs(2), waiting).await.unwrap().unwrap();
    assert!(matches!(started.unwrap().into_inner().work, Some(Work::Prepare(_))));
}

/// An owner with one video waits for one task of another owner with many, not for all.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_alternates_between_owners(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    for video in 0..30 {
        system.create_job("ann", &format!("a{video}")).await;
    }
    for _ in 0..5 {
        system.start_express_task().await;
    }
    for video in 0..3 {
        system.create_job("bob", &format!("b{video}")).await;
    }
    let mut owners = Vec::new();
    for _ in 0..6 {
        let started = system.start_express_task().await;
        let job = system.get_job(&job_name(&started.lease.unwrap())).await;
        owners.push(job.video.trim_start_matches("videos/").chars().next().unwrap());
    }
    assert_eq!(owners.iter().filter(|owner| **owner == 'b').count(), 3, "{owners:?}");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_starts_a_bounded_number_of_jobs_of_an_owner(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    for video in 0..20 {
        system.create_job("ann", &format!("v{video}")).await;
    }
    let mut started = Vec::new();
    while let Some(task) = system.try_start_task().await {
        started.push(job_name(&task.lease.unwrap()));
    }
    assert_eq!(started.len(), 16);
    system.create_job("bob", "w1").await;
    assert!(system.try_start_task().await.is_some(), "another owner's job starts");
    assert_eq!(system.try_start_task().await, None);
    system.cancel_job(&started[0].clone()).await;
    assert!(system.try_start_task().await.is_some(), "an ended job makes room for one");
    assert_eq!(system.try_start_task().await, None);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_keeps_the_running_tasks_of_an_owner_within_the_limit(#[case] backend: Backend) {
    let system = TestSystem::start_with(backend, |config| config.max_running_tasks_per_owner = Some(2)).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let second = system.start_task().await;
    assert_eq!(system.try_start_task().await, None, "two of six tasks");
    system.create_job("bob", "w1").await;
    assert!(system.try_start_task().await.is_some(), "another owner has a limit of its own");
    system.encode_and_complete(&first, 15).await;
    assert!(system.try_start_task().await.is_some());
    assert_eq!(system.try_start_task().await, None);
    system.cancel_job(&job_name(&second.lease.unwrap())).await;
    assert_eq!(system.try_start_task().await, None);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_concurrently_leases_each_task_once(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    system.create_planned_job("v1", &source(60.0, true)).await;
    system.transcode.queue_tasks().await.unwrap();
    let calls = (0..8).map(|_| {
        let mut worker = system.worker_client();
        let request = start_request();
        async move { worker.start_task(request).await }
    });
    let responses = futures::future::join_all(calls).await;
    let mut leases: Vec<_> =
        responses.iter().flatten().filter_map(|one| one.get_ref().lease.clone()).collect();
    assert_eq!(leases.len(), 5, "five tasks, five leases");
    leases.sort_by(|a, b| a.task.cmp(&b.task));
    leases.dedup_by(|a, b| a.task == b.task);
    assert_eq!(leases.len(), 5);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn job_is_planned_again_once_its_encoder_build_is_gone(#[case] backend: Backend) {
    let system = TestSystem::start_with(backend, |config| config.max_started_jobs_per_owner = 1).await;
    system.register_worker("w", "ffmpeg test").await;
    let old = system.create_planned_job("v1", &source(60.0, true)).await;
    system.record(&old, vec![init("240p"), segment("240p", 0), init("360p"), segment("360p", 0)]).await;
    let sound = system.start_express_encode_task().await;
    system.encode_and_complete(&sound, 15).await;
    system.transcode.sweep().await.unwrap();
    let name = job_name(&old.lease);
    let playable_since = system.get_job(&name).await.playable_time.expect("playable");
    assert_eq!(system.start_as(with_build("new")).await, None, "no worker mixes builds");

    // The worker with the old build stops. For ten minutes another one may come.
    system.advance_clock(300);
    system.transcode.sweep().await.unwrap();
    system.transcode.sweep().await.unwrap();
    system.advance_clock(31);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.start_as(with_build("new")).await, None);
    let waiting = system.get_job(&name).await.waiting.expect("it waits");
    assert_eq!(waiting.reason, "ENCODER_BUILD_UNAVAILABLE");
    let queue = system.admin_client().get_queue(GetQueueRequest {}).await.unwrap().into_inner();
    assert!(queue.classes.iter().all(|load| load.queued_tasks == 0), "its tasks are in nobody's way");
    // It comes, and goes.
    system.register_worker("w2", "ffmpeg test").await;
    system.transcode.queue_tasks().await.unwrap();
    let queue = system.admin_client().get_queue(GetQueueRequest {}).await.unwrap().into_inner();
    assert!(queue.classes.iter().any(|load| load.queued_tasks > 0), "it can start them at once");
    system.advance_clock(500);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.start_as(with_build("new")).await, None, "seen 500 seconds ago");
    // A twelfth of the work is done: that is worth a longer wait.
    system.advance_clock(400);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.start_as(with_build("new")).await, None, "seen 900 seconds ago");
    system.advance_clock(300);
    system.transcode.sweep().await.unwrap();

    // A priority does not hold back the task that plans the job again.
    let high = SetJobPriorityRequest { name: name.clone(), priority: Priority::High.into() };
    system.user_client("ann").set_job_priority(high).await.unwrap();
    let started = system.start_as(with_build("new")).await.expect("the job is planned again");
    assert!(started.output_prefix.ends_with("/1.0.1/"), "{}", started.output_prefix);
    assert_eq!(reason(system.try_record(&old, vec![segment("360p", 0)]).await), "LEASE_LOST");
    let job = system.get_job(&name).await;
    assert_eq!(job.playable_time, Some(playable_since), "what was published stays playable");
    assert_eq!(job.waiting, None);
    assert!(system.read_text("v1", &name, "240p.m3u8").await.is_some());
    // The new build encodes everything, and nothing of the old build remains.
    let task = system.plan_job(&started, &source(60.0, true)).await;
    system.encode_and_complete(&task, 15).await;
    while let Some(started) = system.start_as(with_build("new")).await {
        system.encode_and_complete(&LeasedEncodeTask::from_response(started), 15).await;
    }
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.run_package_tasks().await, ["240p", "360p"], "any build may run PACKAGE tasks");
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
    let audio = system.start_express_encode_task().await;
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
