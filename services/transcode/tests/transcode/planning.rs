//! Plans, urgency, and encoder builds.

use std::time::Duration;

use reelmill_media::probe::Source;
use reelmill_proto::transcode::{
    CreateJobRequest, FailTaskRequest, Failure, RecordOutputsRequest, StartTaskRequest, TranscodeOptions,
    rendition, start_task_response::Work, transcode_options::Profile,
};

use crate::{
    fake::{Encoding, init, job_of, listed, plan_request, poster, progressive, segment, sheet, source},
    jobs::on_every_database,
    world::{World, reason, start},
};

const NONE: Duration = Duration::from_millis(100);

fn with_build(task: &str, build: &str) -> StartTaskRequest {
    StartTaskRequest { encoder_build: build.to_owned(), ..start(task) }
}

async fn a_job_is_planned_once(world: World) {
    let task = world.planned("v1", &source(60.0, true)).await;
    let job = world.look(&job_of(&task.lease)).await;
    let told: Vec<_> = job.renditions.iter().map(|one| (one.rendition_id.as_str(), one.kind())).collect();
    let (video, audio) = (rendition::Kind::Video, rendition::Kind::Audio);
    assert_eq!(told, [("360p", video), ("240p", video), ("audio-0", audio)]);
    assert_eq!((job.renditions[0].height, job.renditions[0].frame_rate), (360, 25.0));
    assert_eq!(job.source.unwrap().width, 640);
    // Repeated, even with another source, it is the same plan and the same task, and no more tasks.
    let again = plan_request(&task.lease, &source(3600.0, false));
    let again = world.worker().plan_job(again).await.unwrap().into_inner().encode.unwrap();
    assert_eq!(serde_json::from_slice::<reelmill_media::plan::Plan>(&again.plan).unwrap(), task.plan);
    assert_eq!(
        serde_json::from_slice::<reelmill_media::plan::WorkUnit>(&again.share).unwrap(),
        task.work_unit
    );
    world.pass(1);
    world.transcode.sweep().await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = world.message(NONE).await {
        messages.push(message.body);
    }
    messages.sort();
    let name = job_of(&task.lease);
    let id = name.trim_start_matches("jobs/");
    let expected: Vec<_> = (1..=5).map(|ordinal| format!("{name}/tasks/{id}g0t{ordinal}")).collect();
    assert_eq!((messages, task.plan.work_units.len()), (expected, 6), "one message for each other share");
}

async fn a_plan_follows_the_wishes(world: World) {
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
    assert_eq!(reason(world.jobs().create_job(request(bad)).await), "FIELD_INVALID");
    let made = world.jobs().create_job(request(options.clone())).await.unwrap().into_inner().job.unwrap();
    assert_eq!(made.options, Some(options));
    let started = world.start().await;
    let task = world.plan(&started, &source(16.0, true)).await;
    let rungs: Vec<_> = task.plan.video.unwrap().rungs;
    assert_eq!(rungs.len(), 1);
    assert_eq!((rungs[0].id.as_str(), rungs[0].encoding.codec), ("240p", reelmill_media::plan::Codec::Hevc));
}

async fn what_no_plan_can_be_made_of_is_refused(world: World) {
    world.job("ann", "v1").await;
    let lease = world.start().await.lease.unwrap();
    let endless = Source { duration: Some(1e9), ..source(16.0, true) };
    let endless = plan_request(&lease, &endless);
    assert_eq!(reason(world.worker().plan_job(endless).await), "FIELD_INVALID");
    let mut broken = plan_request(&lease, &source(16.0, true));
    broken.source.truncate(20);
    assert_eq!(reason(world.worker().plan_job(broken).await), "FIELD_INVALID");
    let outputs = RecordOutputsRequest { lease: Some(lease), outputs: vec![init("360p")] };
    assert_eq!(reason(world.worker().record_outputs(outputs).await), "FIELD_INVALID", "not planned yet");
}

async fn the_most_urgent_task_is_started_whatever_was_asked(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    let last = format!("{name}/tasks/{}g0t4", name.trim_start_matches("jobs/"));
    let sound = world.encoding(&last).await;
    assert_eq!((sound.work_unit.chunk, sound.work_unit.audio.len()), (None, 1));
    let chunk = world.encoding(&last).await;
    assert_eq!(chunk.work_unit.chunk, Some(1));
    // A new upload's first look goes before another's bulk, and its single task too.
    world.pass(1);
    world.job("bob", "v2").await;
    let started = world.worker().start_task(start(&last)).await.unwrap().into_inner();
    assert!(matches!(started.work, Some(Work::Prepare(_))));
    assert_ne!(job_of(started.lease.as_ref().unwrap()), name);
    // Then the oldest job goes on where it was.
    assert_eq!(world.encoding(&last).await.work_unit.chunk, Some(2));
    assert_eq!(world.encoding(&last).await.work_unit.chunk, Some(3));
    assert_eq!(world.encoding(&last).await.work_unit.chunk, Some(4));
    assert_eq!(reason(world.worker().start_task(start(&last)).await), "TASK_LEASED");
    assert_eq!(reason(world.worker().start_task(start("jobs/x/tasks/y")).await), "TASK_NOT_FOUND");
}

async fn a_task_is_leased_to_one_of_many_that_ask_at_once(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let asked = (0..8).map(|_| {
        let mut worker = world.worker();
        let request = start(&first.lease.task);
        async move { worker.start_task(request).await }
    });
    let answers = futures::future::join_all(asked).await;
    let mut given: Vec<_> =
        answers.iter().flatten().map(|one| one.get_ref().lease.clone().unwrap()).collect();
    assert_eq!(given.len(), 5, "five tasks, five leases");
    given.sort_by(|a, b| a.task.cmp(&b.task));
    given.dedup_by(|a, b| a.task == b.task);
    assert_eq!(given.len(), 5);
}

async fn another_build_is_refused_until_nobody_has_the_first(world: World) {
    let old = world.planned("v1", &source(60.0, true)).await;
    world.record(&old, vec![init("240p"), segment("240p", 0), init("360p"), segment("360p", 0)]).await;
    let sound = world.encoding(&old.lease.task).await;
    world.make(&sound, 15).await;
    world.transcode.sweep().await.unwrap();
    let name = job_of(&old.lease);
    let playable_since = world.look(&name).await.playable_time.expect("playable");
    let last = format!("{name}/tasks/{}g0t4", name.trim_start_matches("jobs/"));
    let new = || with_build(&last, "new");
    assert_eq!(reason(world.worker().start_task(new()).await), "TASK_OTHER_BUILD");
    for _ in 0..3 {
        world.pass(300);
        world.transcode.sweep().await.unwrap();
    }
    // Nobody came for it, but while a worker of the first build is at another task the job is its.
    let alive = world.encoding(&last).await;
    assert_eq!(alive.lease.task, old.lease.task);
    assert_eq!(reason(world.worker().start_task(new()).await), "TASK_OTHER_BUILD");
    world.pass(16);
    world.transcode.sweep().await.unwrap();
    // Nor does it begin anew while its build is only busy with another job, which is more urgent.
    world.job("ann", "v2").await;
    let busy = world.start().await.lease.unwrap();
    assert!(!busy.task.starts_with(&name), "{}", busy.task);
    assert_eq!(reason(world.worker().start_task(new()).await), "TASK_OTHER_BUILD");
    let failure = Failure { reason: "FILE_NOT_VIDEO".to_owned(), message: "not a video".to_owned() };
    let ended = FailTaskRequest { lease: Some(busy), failure: Some(failure), retryable: false };
    world.worker().fail_task(ended).await.unwrap();
    let started = world.worker().start_task(new()).await.unwrap().into_inner();
    assert!(started.output_prefix.ends_with("/1.0.1/"), "{}", started.output_prefix);
    assert_eq!(reason(world.try_record(&old, vec![segment("360p", 0)]).await), "LEASE_LOST");
    assert_eq!(reason(world.worker().start_task(start(&last)).await), "TASK_NOT_FOUND");
    let job = world.look(&name).await;
    assert_eq!(job.playable_time, Some(playable_since), "what was published plays on");
    assert!(world.text("v1", &name, "240p.m3u8").await.is_some());
    // The new build makes it all, and nothing of the old remains.
    let task = world.plan(&started, &source(60.0, true)).await;
    let hint = task.lease.task.clone();
    world.make(&task, 15).await;
    while let Ok(started) = world.worker().start_task(with_build(&hint, "new")).await {
        world.make(&Encoding::started(started.into_inner()), 15).await;
    }
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.package(&hint).await, ["240p", "360p"], "any build may join");
    world.transcode.sweep().await.unwrap();
    let playlist = world.text("v1", &name, "240p.m3u8").await.unwrap();
    assert_eq!(listed(&playlist).len(), 15, "{playlist} {:?}", world.look(&name).await);
    assert!(listed(&playlist).iter().all(|uri| uri.starts_with("1.")), "{playlist}");
    assert!(!world.keys("v1", &name).await.iter().any(|key| key.starts_with("0.")));
}

async fn a_task_records_what_is_its_own_and_no_more(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let sound = world.encoding(&first.lease.task).await;
    let bad = [
        (&first, segment("360p", 1), "the next chunk's"),
        (&first, segment("720p", 0), "not in the plan"),
        (&first, segment("360p", -1), "before the first"),
        (&first, init("audio-0"), "the sound's"),
        (&first, segment("audio-0", 0), "the sound's"),
        (&first, progressive("360p"), "packaged later"),
        (&sound, poster(), "another chunk's"),
        (&sound, sheet(0), "without a picture"),
        (&sound, segment("audio-0", 1_000_000), "too far"),
    ];
    for (task, output, why) in bad {
        let request = RecordOutputsRequest { lease: Some(task.lease.clone()), outputs: vec![output] };
        assert_eq!(reason(world.worker().record_outputs(request).await), "FIELD_INVALID", "{why}");
    }
    let mut strange = segment("360p", 0);
    strange.name = "../x.m4s".to_owned();
    assert_eq!(reason(world.try_record(&first, vec![strange]).await), "FIELD_INVALID");
    world.record(&first, vec![init("360p"), segment("360p", 0), sheet(0)]).await;
}

on_every_database!(
    a_job_is_planned_once,
    a_plan_follows_the_wishes,
    what_no_plan_can_be_made_of_is_refused,
    the_most_urgent_task_is_started_whatever_was_asked,
    a_task_is_leased_to_one_of_many_that_ask_at_once,
    another_build_is_refused_until_nobody_has_the_first,
    a_task_records_what_is_its_own_and_no_more,
);
