//! The end of a job: final playlists, files to download, verdicts, and what is removed.

use reelmill_proto::transcode::{
    CompleteTaskRequest, FailTaskRequest, Failure, Job, ListSegmentsRequest, Warning, job::State, output,
    rendition,
};

use crate::{
    fake::{Encoding, complete, init, job_of, listed, progressive, segment, source},
    jobs::on_every_database,
    world::{World, reason, start},
};

/// Makes a job of a minute up to where its files are to be joined.
async fn encoded(world: &World, request_id: &str, segments: i32) -> (String, String) {
    let first = world.planned(request_id, &source(60.0, true)).await;
    world.make(&first, segments).await;
    world.make_rest(&first.lease.task, segments).await;
    (job_of(&first.lease), first.lease.task)
}

fn warnings(job: &Job) -> Vec<&str> {
    job.warnings.iter().map(|warning| warning.reason.as_str()).collect()
}

async fn a_long_video_ends_with_all_it_promised(world: World) {
    let (name, hint) = encoded(&world, "v1", 15).await;
    assert_eq!(world.look(&name).await.state(), State::Running);
    world.transcode.sweep().await.unwrap();
    let playlist = world.text("v1", &name, "360p.m3u8").await.unwrap();
    assert!(playlist.contains("#EXT-X-ENDLIST"), "final before the files are joined");
    assert_eq!(world.look(&name).await.state(), State::Running);
    assert_eq!(world.package(&hint).await, ["240p", "360p"]);
    world.transcode.sweep().await.unwrap();
    let told = world.told(&name).await;
    let job = told.job.unwrap();
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec![]));
    let folder = crate::fake::folder("v1", &name);
    assert_eq!(told.master_playlist_key, format!("{folder}master.m3u8"));
    assert_eq!(told.dash_manifest_key, format!("{folder}manifest.mpd"));
    assert_eq!(told.thumbnails_key, format!("{folder}thumbnails.vtt"));
    assert_eq!(told.download_keys["360p"], format!("{folder}0.6.1/360p/video.mp4"));
    assert_eq!(told.download_keys.len(), 2);
    for key in told.download_keys.values().chain([&told.poster_key]) {
        assert!(world.objects.head(key).await.unwrap().is_some(), "{key}");
    }
    // 45 segments, 3 initialisation segments, 2 files, 5 sheets and a poster of 9 bytes.
    assert_eq!(told.output_size_bytes, 56 * 9);
    let top = &job.renditions[0];
    assert_eq!((top.state(), top.codecs.as_str()), (rendition::State::Ready, "avc1.64001e,mp4a.40.2"));
    assert_eq!((top.bandwidth_bps, top.size_bytes), (36, 9));
    let progress = top.progress.unwrap();
    assert_eq!((progress.percent, progress.frames, progress.segments_ready), (100.0, 1500, 15));
    let thumbnails = world.text("v1", &name, "thumbnails.vtt").await.unwrap();
    assert_eq!(thumbnails.matches("-->").count(), 10);
    assert!(world.text("v1", &name, "manifest.mpd").await.unwrap().contains("0.0.1/360p/seg_0.m4s"));
}

async fn a_short_video_needs_no_more_tasks(world: World) {
    let made = world.job("ann", "v1").await;
    let started = world.start().await;
    world.make_single(&started).await;
    let told = world.told(&made.name).await;
    assert_eq!(told.job.unwrap().state(), State::Succeeded);
    assert_eq!(told.download_keys.len(), 2);
    // One whose file is missing needs a task for it.
    let task = world.planned("v2", &source(16.0, true)).await;
    world.record(&task, vec![progressive("360p")]).await;
    world.make(&task, 4).await;
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.package(&task.lease.task).await, ["240p"]);
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.look(&job_of(&task.lease)).await.state(), State::Succeeded);
}

async fn a_file_that_cannot_be_joined_does_not_keep_the_video(world: World) {
    let (name, hint) = encoded(&world, "v1", 15).await;
    world.transcode.sweep().await.unwrap();
    let large = Warning { reason: "DOWNLOAD_TOO_LARGE".to_owned(), message: "too large".to_owned() };
    for _ in 0..2 {
        let started = world.worker().start_task(start(&hint)).await.unwrap().into_inner();
        let warnings = vec![large.clone(), large.clone()];
        let request = CompleteTaskRequest { warnings, ..complete(&started.lease.unwrap()) };
        world.worker().complete_task(request).await.unwrap();
    }
    world.transcode.sweep().await.unwrap();
    let told = world.told(&name).await;
    let job = told.job.unwrap();
    assert_eq!((job.state(), job.warnings), (State::Succeeded, vec![large]), "said once");
    assert!(told.download_keys.is_empty());
}

/// Joining is tried again for as long as any task is; in the end the video is there without it.
async fn a_file_that_is_never_joined_does_not_cost_the_video(world: World) {
    let (name, hint) = encoded(&world, "v1", 15).await;
    world.transcode.sweep().await.unwrap();
    let failure = |reason: &str| Some(Failure { reason: reason.to_owned(), message: "no room".to_owned() });
    let mut ended = 0;
    while ended < 2 {
        let started = world.worker().start_task(start(&hint)).await.unwrap().into_inner();
        let request =
            FailTaskRequest { lease: started.lease, failure: failure("ENCODER_CRASHED"), retryable: true };
        let again = world.worker().fail_task(request).await.unwrap().into_inner().will_retry;
        ended += i32::from(!again);
        world.pass(60);
    }
    world.transcode.sweep().await.unwrap();
    let told = world.told(&name).await;
    let job = told.job.unwrap();
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec!["DOWNLOAD_FAILED"; 2]));
    assert!(told.download_keys.is_empty());
    let top = &job.renditions[0];
    assert_eq!((top.state(), top.size_bytes), (rendition::State::Ready, 15 * 9), "the segments together");
}

/// A file that says nothing of its length, or something else, is as long as what was made of it.
async fn the_length_is_what_was_made(world: World) {
    let length = |told: &Job| told.source.as_ref().unwrap().duration.unwrap().seconds;
    let task = world.planned("v1", &source(16.0, true)).await;
    world.record(&task, vec![progressive("360p"), progressive("240p")]).await;
    world.make(&task, 3).await;
    world.transcode.sweep().await.unwrap();
    let told = world.told(&job_of(&task.lease)).await.job.unwrap();
    assert_eq!((told.state(), length(&told)), (State::Succeeded, 12));
}

async fn segments_are_listed_for_joining_in_pages(world: World) {
    // 2,100 seconds: 525 segments in one page of 500 and one of 25.
    let first = world.planned("v1", &source(2100.0, true)).await;
    let hint = first.lease.task.clone();
    let mut task = first;
    loop {
        let renditions = task.renditions();
        let outputs = renditions
            .iter()
            .flat_map(|id| std::iter::once(init(id)).chain(task.places(525).map(|place| segment(id, place))));
        let outputs: Vec<_> = outputs.collect();
        for batch in outputs.chunks(1000) {
            let request = reelmill_proto::transcode::RecordOutputsRequest {
                lease: Some(task.lease.clone()),
                outputs: batch.to_vec(),
            };
            world.worker().record_outputs(request).await.unwrap();
        }
        world.complete(&task.lease).await;
        let Ok(started) = world.worker().start_task(start(&hint)).await else { break };
        task = Encoding::started(started.into_inner());
    }
    world.transcode.sweep().await.unwrap();
    let lease = world.worker().start_task(start(&hint)).await.unwrap().into_inner().lease;
    let page = |from_sequence| {
        let lease = lease.clone();
        let mut worker = world.worker();
        let request = ListSegmentsRequest { lease, rendition_id: "240p".to_owned(), from_sequence };
        async move { worker.list_segments(request).await.unwrap().into_inner() }
    };
    let (one, two, none) = (page(0).await, page(500).await, page(525).await);
    assert_eq!((one.segments.len(), two.segments.len(), none.segments.len()), (500, 25, 0));
    assert!(one.init.unwrap().uri.contains("/240p/init.mp4"));
    assert!(one.segments[0].uri.contains("/0.0.1/240p/seg_0.m4s"), "{}", one.segments[0].uri);
    assert!(two.segments[24].uri.contains("seg_524.m4s") && two.segments[24].size_bytes == 9);
    world.complete(lease.as_ref().unwrap()).await;
    let late = ListSegmentsRequest { lease, rendition_id: "240p".to_owned(), from_sequence: 0 };
    assert_eq!(reason(world.worker().list_segments(late).await), "LEASE_LOST");
}

async fn a_missing_tail_is_warned_of(world: World) {
    let (name, hint) = encoded(&world, "v1", 10).await;
    world.transcode.sweep().await.unwrap();
    world.package(&hint).await;
    world.transcode.sweep().await.unwrap();
    let job = world.look(&name).await;
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec!["FILE_TRUNCATED"]));
    assert!(job.warnings[0].message.contains("0:40 of 1:00"), "{}", job.warnings[0].message);
}

async fn a_hole_or_nothing_at_all_fails_the_job(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    world.make(&first, 15).await;
    let mut skipped = false;
    while let Ok(started) = world.worker().start_task(start(&first.lease.task)).await {
        let task = Encoding::started(started.into_inner());
        // The second chunk comes to nothing, what follows is there.
        if task.work_unit.chunk == Some(1) {
            world.complete(&task.lease).await;
            skipped = true;
        } else {
            world.make(&task, 15).await;
        }
    }
    assert!(skipped);
    world.transcode.sweep().await.unwrap();
    let job = world.look(&job_of(&first.lease)).await;
    assert_eq!((job.state(), job.failure.unwrap().reason.as_str()), (State::Failed, "DECODE_FAILED"));
    let empty = world.planned("v2", &source(16.0, true)).await;
    world.complete(&empty.lease).await;
    world.transcode.sweep().await.unwrap();
    let job = world.look(&job_of(&empty.lease)).await;
    assert_eq!((job.state(), job.failure.unwrap().reason.as_str()), (State::Failed, "DECODE_FAILED"));
}

async fn sound_that_came_to_nothing_is_left_out(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    world.make(&first, 15).await;
    let sound = world.encoding(&first.lease.task).await;
    world.complete(&sound.lease).await;
    world.make_rest(&first.lease.task, 15).await;
    world.transcode.sweep().await.unwrap();
    world.package(&first.lease.task).await;
    world.transcode.sweep().await.unwrap();
    let job = world.look(&name).await;
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec!["TRACK_SKIPPED"]));
    let ids: Vec<_> = job.renditions.iter().map(|one| one.rendition_id.as_str()).collect();
    assert_eq!((ids, job.renditions[0].codecs.as_str()), (vec!["360p", "240p"], "avc1.64001e"));
    assert!(!world.text("v1", &name, "master.m3u8").await.unwrap().contains("audio"));
    // What the worker said of it is not said again.
    let task = world.planned("v2", &source(16.0, true)).await;
    let silent = ["360p", "240p"].into_iter().flat_map(|id| {
        [init(id), progressive(id)].into_iter().chain((0..4).map(move |place| segment(id, place)))
    });
    world.record(&task, silent.collect()).await;
    let warning = Warning { reason: "TRACK_SKIPPED".to_owned(), message: "no decoder".to_owned() };
    let request = CompleteTaskRequest { warnings: vec![warning.clone()], ..complete(&task.lease) };
    world.worker().complete_task(request).await.unwrap();
    world.transcode.sweep().await.unwrap();
    let job = world.look(&job_of(&task.lease)).await;
    assert_eq!((job.state(), job.warnings), (State::Succeeded, vec![warning]));
}

async fn a_text_of_unknown_length_lasts_as_long_as_the_video(world: World) {
    let mut read = source(16.0, true);
    let text = serde_json::json!([
        { "index": 2, "language": "eng", "title": "", "default": true, "forced": false },
    ]);
    read.subtitles = serde_json::from_value(text).unwrap();
    let task = world.planned("v1", &read).await;
    let name = job_of(&task.lease);
    let mut whole = segment("subtitles-0", 0);
    whole.name = "subtitles-0/text.vtt".to_owned();
    if let Some(output::Role::Segment(segment)) = &mut whole.role {
        (segment.seconds, segment.frames) = (0.0, 1);
    }
    world.record(&task, vec![whole, progressive("360p"), progressive("240p")]).await;
    world.make(&task, 4).await;
    world.transcode.sweep().await.unwrap();
    let job = world.look(&name).await;
    assert_eq!(job.state(), State::Succeeded);
    let text = job.renditions.iter().find(|one| one.kind() == rendition::Kind::Subtitles).unwrap();
    assert_eq!((text.rendition_id.as_str(), text.language.as_str()), ("subtitles-0", "eng"));
    let playlist = world.text("v1", &name, "subtitles-0.m3u8").await.unwrap();
    assert!(playlist.contains("#EXTINF:16.000000,\n0.0.1/subtitles-0/text.vtt"), "{playlist}");
    assert!(world.text("v1", &name, "master.m3u8").await.unwrap().contains("subtitles-0.m3u8"));
}

async fn a_crash_before_the_end_is_repaired(world: World) {
    // The process that heard of the last task is gone: another finishes the job, from what is stored.
    let (name, hint) = encoded(&world, "v1", 15).await;
    let next = world.replica().await;
    next.sweep().await.unwrap();
    assert_eq!(world.package(&hint).await.len(), 2);
    let last = world.replica().await;
    last.sweep().await.unwrap();
    assert_eq!(world.look(&name).await.state(), State::Succeeded);
    let playlist = world.text("v1", &name, "240p.m3u8").await.unwrap();
    assert_eq!(listed(&playlist).len(), 15);
}

async fn jobs_are_finished_by_the_work_beside_the_methods(world: World) {
    let stop = tokio_util::sync::CancellationToken::new();
    let running = {
        let (transcode, stop) = (world.transcode.clone(), stop.clone());
        tokio::spawn(async move { transcode.run(stop).await })
    };
    let (name, hint) = encoded(&world, "v1", 15).await;
    let done = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            world.package(&hint).await;
            if world.look(&name).await.state() == State::Succeeded {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    done.await.expect("it ends without a sweep by hand");
    stop.cancel();
    running.await.unwrap();
}

async fn what_nobody_plays_is_removed(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    world.record(&first, vec![init("360p"), segment("360p", 0)]).await;
    // Killed: what it put and did not record is garbage, and so is its successor's copy of what it did.
    world.put(&first.prefix, &[segment("360p", 7), init("240p")]).await;
    world.pass(16);
    let next = world.encoding(&first.lease.task).await;
    world.make(&next, 15).await;
    world.make_rest(&next.lease.task, 15).await;
    world.transcode.sweep().await.unwrap();
    world.package(&next.lease.task).await;
    let before = world.keys("v1", &name).await;
    assert!(before.contains(&"0.0.1/360p/seg_7.m4s".to_owned()));
    assert!(before.contains(&"0.0.2/360p/seg_0.m4s".to_owned()));
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.look(&name).await.state(), State::Succeeded);
    let left = world.keys("v1", &name).await;
    let mut named = vec!["master.m3u8".to_owned(), "manifest.mpd".to_owned(), "thumbnails.vtt".to_owned()];
    for id in ["360p", "240p", "audio-0"] {
        named.push(format!("{id}.m3u8"));
        let playlist = world.text("v1", &name, &format!("{id}.m3u8")).await.unwrap();
        let map = playlist.split("URI=\"").nth(1).unwrap().split('"').next().unwrap();
        named.push(map.to_owned());
        named.extend(listed(&playlist).into_iter().map(str::to_owned));
        if id != "audio-0" {
            named.push(format!("{id}.iframes.m3u8"));
        }
    }
    let told = world.told(&name).await;
    let folder = crate::fake::folder("v1", &name);
    let keys = told.download_keys.values().chain([&told.poster_key]);
    named.extend(keys.map(|key| key[folder.len()..].to_owned()));
    let thumbnails = world.text("v1", &name, "thumbnails.vtt").await.unwrap();
    named.extend(thumbnails.lines().filter_map(|line| Some(line.split_once("#xywh")?.0.to_owned())));
    named.sort();
    named.dedup();
    assert_eq!(left, named, "exactly what the playlists name");
    // The addresses of the killed worker work for a while.
    world.put(&first.prefix, &[segment("360p", 8)]).await;
    world.pass(21 * 60);
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.keys("v1", &name).await, named);
}

on_every_database!(
    a_long_video_ends_with_all_it_promised,
    a_short_video_needs_no_more_tasks,
    a_file_that_cannot_be_joined_does_not_keep_the_video,
    a_file_that_is_never_joined_does_not_cost_the_video,
    the_length_is_what_was_made,
    segments_are_listed_for_joining_in_pages,
    a_missing_tail_is_warned_of,
    a_hole_or_nothing_at_all_fails_the_job,
    sound_that_came_to_nothing_is_left_out,
    a_text_of_unknown_length_lasts_as_long_as_the_video,
    a_crash_before_the_end_is_repaired,
    jobs_are_finished_by_the_work_beside_the_methods,
    what_nobody_plays_is_removed,
);
