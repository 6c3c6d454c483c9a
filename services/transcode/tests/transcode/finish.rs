//! The end of a job: final playlists, downloads, warnings, failures, and cleanup.

use reelmill_proto::transcode::{
    CompleteTaskRequest, FailTaskRequest, Failure, FailureCause, Job, ListSegmentsRequest,
    RecordOutputsRequest, Warning, job::State, output, rendition,
};
use rstest::rstest;

use crate::support::{
    Backend, LeasedEncodeTask, TestSystem, complete_request, init, job_folder, job_name, listed_uris,
    outputs_of, progressive, reason, segment, source,
};

/// Encodes a job of one minute; its PACKAGE tasks are not created yet. Returns the job.
async fn encoded(system: &TestSystem, request_id: &str, segments: i32) -> String {
    let first = system.create_planned_job(request_id, &source(60.0, true)).await;
    system.encode_and_complete(&first, segments).await;
    system.encode_remaining(segments).await;
    job_name(&first.lease)
}

fn warnings(job: &Job) -> Vec<&str> {
    job.warnings.iter().map(|warning| warning.reason.as_str()).collect()
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn long_video_succeeds_with_all_outputs(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let name = encoded(&system, "v1", 15).await;
    assert_eq!(system.get_job(&name).await.state(), State::Running);
    system.transcode.sweep().await.unwrap();
    let playlist = system.read_text("v1", &name, "360p.m3u8").await.unwrap();
    assert!(playlist.contains("#EXT-X-ENDLIST"), "final before the PACKAGE tasks");
    assert_eq!(system.get_job(&name).await.state(), State::Running);
    assert_eq!(system.run_package_tasks().await, ["240p", "360p"]);
    system.transcode.sweep().await.unwrap();
    let watched = system.watched_job(&name).await;
    let job = watched.job.unwrap();
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec![]));
    let folder = job_folder("v1", &name);
    assert_eq!(watched.master_playlist_key, format!("{folder}master.m3u8"));
    assert_eq!(watched.dash_manifest_key, format!("{folder}manifest.mpd"));
    assert_eq!(watched.thumbnails_key, format!("{folder}thumbnails.vtt"));
    assert_eq!(watched.download_keys["360p"], format!("{folder}0.6.1/360p/video.mp4"));
    assert_eq!(watched.download_keys.len(), 2);
    for key in watched.download_keys.values().chain([&watched.poster_key]) {
        assert!(system.objects.head(key).await.unwrap().is_some(), "{key}");
    }
    // 45 segments, 3 initialisation segments, 2 files, 5 sheets and a poster of 9 bytes.
    assert_eq!(watched.output_size_bytes, 56 * 9);
    let top = &job.renditions[0];
    assert_eq!((top.state(), top.codecs.as_str()), (rendition::State::Ready, "avc1.64001e,mp4a.40.2"));
    assert_eq!((top.bandwidth_bps, top.size_bytes), (36, 9));
    let progress = top.progress.unwrap();
    assert_eq!((progress.percent, progress.frames, progress.segments_ready), (100.0, 1500, 15));
    let thumbnails = system.read_text("v1", &name, "thumbnails.vtt").await.unwrap();
    assert_eq!(thumbnails.matches("-->").count(), 10);
    assert!(system.read_text("v1", &name, "manifest.mpd").await.unwrap().contains("0.0.1/360p/seg_0.m4s"));
}

/// Two hours: 227 tasks and 5,400 segments.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn long_video_keeps_few_rows(#[case] backend: Backend) {
    const SEGMENTS: i32 = 1800;
    let system = TestSystem::start(backend).await;
    let mut task = system.create_planned_job("v1", &source(7200.0, true)).await;
    let (name, mut most_rows, mut tasks) = (job_name(&task.lease), 0, 0);
    loop {
        // The second and the third task are the sound: the fourth one is lost with its worker after it has recorded all.
        for batch in outputs_of(&task, SEGMENTS).chunks(1000) {
            let outputs = batch.to_vec();
            let request = RecordOutputsRequest { lease: Some(task.lease.clone()), outputs };
            system.worker_client().record_outputs(request).await.unwrap();
        }
        if tasks % 10 == 0 {
            most_rows = most_rows.max(system.job_rows().await);
        }
        if tasks != 3 {
            system.complete(&task.lease).await;
        } else {
            system.advance_clock(16);
            system.transcode.sweep().await.unwrap();
        }
        tasks += 1;
        if tasks % 100 == 0 {
            system.transcode.sweep().await.unwrap();
            let playlist = system.read_text("v1", &name, "240p.m3u8").await.unwrap();
            assert!(playlist.matches(".m4s").count() >= 3 * tasks as usize, "{tasks} tasks");
        }
        let Some(started) = system.try_start_task().await else { break };
        task = LeasedEncodeTask::from_response(started);
    }
    assert!(tasks > 200, "{tasks} tasks");
    assert!(most_rows < 250, "{most_rows} rows of {tasks} tasks");
    system.transcode.sweep().await.unwrap();
    let playlist = system.read_text("v1", &name, "360p.m3u8").await.unwrap();
    assert_eq!(playlist.matches(".m4s").count(), SEGMENTS as usize);
    assert!(playlist.contains("#EXT-X-ENDLIST"));
    system.run_package_tasks().await;
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.get_job(&name).await.state(), State::Succeeded);
    // The manifest and three renditions.
    assert_eq!(system.job_rows().await, 4);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn short_video_succeeds_with_single_task(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let created = system.create_job("ann", "v1").await;
    let started = system.start_next_task().await;
    system.complete_single_task_job(&started).await;
    let watched = system.watched_job(&created.name).await;
    assert_eq!(watched.job.unwrap().state(), State::Succeeded);
    assert_eq!(watched.download_keys.len(), 2);
    // A missing progressive file needs a PACKAGE task.
    let task = system.create_planned_job("v2", &source(16.0, true)).await;
    system.record(&task, vec![progressive("360p")]).await;
    system.encode_and_complete(&task, 4).await;
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.run_package_tasks().await, ["240p"]);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.get_job(&job_name(&task.lease)).await.state(), State::Succeeded);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn package_task_without_file_succeeds_with_warning(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let name = encoded(&system, "v1", 15).await;
    system.transcode.sweep().await.unwrap();
    let large = Warning { reason: "DOWNLOAD_TOO_LARGE".to_owned(), message: "too large".to_owned() };
    for _ in 0..2 {
        let started = system.start_task().await;
        let warnings = vec![large.clone(), large.clone()];
        let request = CompleteTaskRequest { warnings, ..complete_request(&started.lease.unwrap()) };
        system.worker_client().complete_task(request).await.unwrap();
    }
    system.transcode.sweep().await.unwrap();
    let watched = system.watched_job(&name).await;
    let job = watched.job.unwrap();
    assert_eq!((job.state(), job.warnings), (State::Succeeded, vec![large]), "reported once");
    assert!(watched.download_keys.is_empty());
}

/// A PACKAGE task is retried like any other; when it fails permanently, the job succeeds without the download.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn package_task_failing_permanently_leaves_job_succeeded(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let name = encoded(&system, "v1", 15).await;
    system.transcode.sweep().await.unwrap();
    let failure = |reason: &str| Some(Failure { reason: reason.to_owned(), message: "no room".to_owned() });
    let mut given_up = 0;
    while given_up < 2 {
        let started = system.start_task().await;
        let request = FailTaskRequest {
            lease: started.lease,
            failure: failure("ENCODER_CRASHED"),
            cause: FailureCause::Encoder.into(),
        };
        let will_retry = system.worker_client().fail_task(request).await.unwrap().into_inner().will_retry;
        given_up += i32::from(!will_retry);
        system.advance_clock(60);
    }
    system.transcode.sweep().await.unwrap();
    let watched = system.watched_job(&name).await;
    let job = watched.job.unwrap();
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec!["DOWNLOAD_FAILED"; 2]));
    assert!(watched.download_keys.is_empty());
    let top = &job.renditions[0];
    assert_eq!((top.state(), top.size_bytes), (rendition::State::Ready, 15 * 9), "the segments together");
}

/// The duration that the file states is replaced by the encoded one when they differ.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn source_duration_is_corrected_to_encoded_duration(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let length = |watched: &Job| watched.source.as_ref().unwrap().duration.unwrap().seconds;
    let task = system.create_planned_job("v1", &source(16.0, true)).await;
    system.record(&task, vec![progressive("360p"), progressive("240p")]).await;
    system.encode_and_complete(&task, 3).await;
    system.transcode.sweep().await.unwrap();
    let watched = system.watched_job(&job_name(&task.lease)).await.job.unwrap();
    assert_eq!((watched.state(), length(&watched)), (State::Succeeded, 12));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn list_segments_returns_pages(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    // 2,100 seconds: 525 segments in one page of 500 and one of 25.
    let first = system.create_planned_job("v1", &source(2100.0, true)).await;
    let mut task = first;
    loop {
        let renditions = task.renditions();
        let outputs = renditions.iter().flat_map(|id| {
            std::iter::once(init(id)).chain(task.segment_range(525).map(|sequence| segment(id, sequence)))
        });
        let outputs: Vec<_> = outputs.collect();
        for batch in outputs.chunks(1000) {
            let request = RecordOutputsRequest { lease: Some(task.lease.clone()), outputs: batch.to_vec() };
            system.worker_client().record_outputs(request).await.unwrap();
        }
        system.complete(&task.lease).await;
        let Some(started) = system.try_start_task().await else { break };
        task = LeasedEncodeTask::from_response(started);
    }
    system.transcode.sweep().await.unwrap();
    let lease = system.start_task().await.lease;
    let page = |from_sequence| {
        let lease = lease.clone();
        let mut worker = system.worker_client();
        let request = ListSegmentsRequest { lease, rendition_id: "240p".to_owned(), from_sequence };
        async move { worker.list_segments(request).await.unwrap().into_inner() }
    };
    let (one, two, none) = (page(0).await, page(500).await, page(525).await);
    assert_eq!((one.segments.len(), two.segments.len(), none.segments.len()), (500, 25, 0));
    assert!(one.init.unwrap().uri.contains("/240p/init.mp4"));
    assert!(one.segments[0].uri.contains("/0.0.1/240p/seg_0.m4s"), "{}", one.segments[0].uri);
    assert!(two.segments[24].uri.contains("seg_524.m4s") && two.segments[24].size_bytes == 9);
    system.complete(lease.as_ref().unwrap()).await;
    let late = ListSegmentsRequest { lease, rendition_id: "240p".to_owned(), from_sequence: 0 };
    assert_eq!(reason(system.worker_client().list_segments(late).await), "LEASE_LOST");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn truncated_video_succeeds_with_warning(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let name = encoded(&system, "v1", 10).await;
    system.transcode.sweep().await.unwrap();
    system.run_package_tasks().await;
    system.transcode.sweep().await.unwrap();
    let job = system.get_job(&name).await;
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec!["FILE_TRUNCATED"]));
    assert!(job.warnings[0].message.contains("0:40 of 1:00"), "{}", job.warnings[0].message);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn video_with_gap_or_without_segments_fails(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    system.encode_and_complete(&first, 15).await;
    let mut skipped = false;
    while let Some(started) = system.try_start_task().await {
        let task = LeasedEncodeTask::from_response(started);
        // The second chunk has no segments, the later ones do.
        if task.work_unit.chunk == Some(1) {
            system.complete(&task.lease).await;
            skipped = true;
        } else {
            system.encode_and_complete(&task, 15).await;
        }
    }
    assert!(skipped);
    system.transcode.sweep().await.unwrap();
    let job = system.get_job(&job_name(&first.lease)).await;
    assert_eq!((job.state(), job.failure.unwrap().reason.as_str()), (State::Failed, "DECODE_FAILED"));
    let empty = system.create_planned_job("v2", &source(16.0, true)).await;
    system.complete(&empty.lease).await;
    system.transcode.sweep().await.unwrap();
    let job = system.get_job(&job_name(&empty.lease)).await;
    assert_eq!((job.state(), job.failure.unwrap().reason.as_str()), (State::Failed, "DECODE_FAILED"));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn audio_without_segments_is_skipped_with_warning(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    system.encode_and_complete(&first, 15).await;
    let audio = system.start_express_encode_task().await;
    system.complete(&audio.lease).await;
    system.encode_remaining(15).await;
    system.transcode.sweep().await.unwrap();
    system.run_package_tasks().await;
    system.transcode.sweep().await.unwrap();
    let job = system.get_job(&name).await;
    assert_eq!((job.state(), warnings(&job)), (State::Succeeded, vec!["TRACK_SKIPPED"]));
    let ids: Vec<_> = job.renditions.iter().map(|one| one.rendition_id.as_str()).collect();
    assert_eq!((ids, job.renditions[0].codecs.as_str()), (vec!["360p", "240p"], "avc1.64001e"));
    assert!(!system.read_text("v1", &name, "master.m3u8").await.unwrap().contains("audio"));
    // A warning that the worker has reported is not repeated.
    let task = system.create_planned_job("v2", &source(16.0, true)).await;
    let silent = ["360p", "240p"].into_iter().flat_map(|id| {
        [init(id), progressive(id)].into_iter().chain((0..4).map(move |sequence| segment(id, sequence)))
    });
    system.record(&task, silent.collect()).await;
    let warning = Warning { reason: "TRACK_SKIPPED".to_owned(), message: "no decoder".to_owned() };
    let request = CompleteTaskRequest { warnings: vec![warning.clone()], ..complete_request(&task.lease) };
    system.worker_client().complete_task(request).await.unwrap();
    system.transcode.sweep().await.unwrap();
    let job = system.get_job(&job_name(&task.lease)).await;
    assert_eq!((job.state(), job.warnings), (State::Succeeded, vec![warning]));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn subtitles_of_unknown_duration_last_as_long_as_video(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let mut read = source(16.0, true);
    let text = serde_json::json!([
        { "index": 2, "language": "eng", "title": "", "default": true, "forced": false },
    ]);
    read.subtitles = serde_json::from_value(text).unwrap();
    let task = system.create_planned_job("v1", &read).await;
    let name = job_name(&task.lease);
    let mut whole = segment("subtitles-0", 0);
    whole.name = "subtitles-0/text.vtt".to_owned();
    if let Some(output::Kind::Segment(segment)) = &mut whole.kind {
        (segment.seconds, segment.frames) = (0.0, 1);
    }
    system.record(&task, vec![whole, progressive("360p"), progressive("240p")]).await;
    system.encode_and_complete(&task, 4).await;
    system.transcode.sweep().await.unwrap();
    let job = system.get_job(&name).await;
    assert_eq!(job.state(), State::Succeeded);
    let text = job.renditions.iter().find(|one| one.kind() == rendition::Kind::Subtitles).unwrap();
    assert_eq!((text.rendition_id.as_str(), text.language.as_str()), ("subtitles-0", "eng"));
    let playlist = system.read_text("v1", &name, "subtitles-0.m3u8").await.unwrap();
    assert!(playlist.contains("#EXTINF:16.000000,\n0.0.1/subtitles-0/text.vtt"), "{playlist}");
    assert!(system.read_text("v1", &name, "master.m3u8").await.unwrap().contains("subtitles-0.m3u8"));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn job_is_finished_by_other_process_after_crash(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    // The process that served the last task is gone: another one finishes the job.
    let name = encoded(&system, "v1", 15).await;
    let next = system.second_process().await;
    next.sweep().await.unwrap();
    assert_eq!(system.run_package_tasks().await.len(), 2);
    let last = system.second_process().await;
    last.sweep().await.unwrap();
    assert_eq!(system.get_job(&name).await.state(), State::Succeeded);
    let playlist = system.read_text("v1", &name, "240p.m3u8").await.unwrap();
    assert_eq!(listed_uris(&playlist).len(), 15);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn job_is_finished_by_background_work(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let running = {
        let (transcode, stop) = (system.transcode.clone(), stop.clone());
        tokio::spawn(async move { transcode.run(stop).await })
    };
    let name = encoded(&system, "v1", 15).await;
    let done = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            system.run_package_tasks().await;
            if system.get_job(&name).await.state() == State::Succeeded {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    done.await.expect("it ends without an explicit sweep");
    stop.cancel();
    running.await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn unreferenced_objects_are_removed(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    system.record(&first, vec![init("360p"), segment("360p", 0)]).await;
    // A killed worker: what it uploaded but did not record is unreferenced, and so is its successor's copy of what it
    // recorded.
    system.upload(&first.prefix, &[segment("360p", 7), init("240p")]).await;
    system.advance_clock(16);
    system.transcode.sweep().await.unwrap();
    let next = system.start_encode_task().await;
    system.encode_and_complete(&next, 15).await;
    system.encode_remaining(15).await;
    system.transcode.sweep().await.unwrap();
    system.run_package_tasks().await;
    let before = system.list_keys("v1", &name).await;
    assert!(before.contains(&"0.0.1/360p/seg_7.m4s".to_owned()));
    assert!(before.contains(&"0.0.2/360p/seg_0.m4s".to_owned()));
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.get_job(&name).await.state(), State::Succeeded);
    let left = system.list_keys("v1", &name).await;
    let mut named = vec!["master.m3u8".to_owned(), "manifest.mpd".to_owned(), "thumbnails.vtt".to_owned()];
    for id in ["360p", "240p", "audio-0"] {
        named.push(format!("{id}.m3u8"));
        let playlist = system.read_text("v1", &name, &format!("{id}.m3u8")).await.unwrap();
        let map = playlist.split("URI=\"").nth(1).unwrap().split('"').next().unwrap();
        named.push(map.to_owned());
        named.extend(listed_uris(&playlist).into_iter().map(str::to_owned));
        if id != "audio-0" {
            named.push(format!("{id}.iframes.m3u8"));
        }
    }
    let watched = system.watched_job(&name).await;
    let folder = job_folder("v1", &name);
    let keys = watched.download_keys.values().chain([&watched.poster_key]);
    named.extend(keys.map(|key| key[folder.len()..].to_owned()));
    let thumbnails = system.read_text("v1", &name, "thumbnails.vtt").await.unwrap();
    named.extend(thumbnails.lines().filter_map(|line| Some(line.split_once("#xywh")?.0.to_owned())));
    named.sort();
    named.dedup();
    assert_eq!(left, named, "exactly what the playlists refer to");
    // The presigned URLs of the killed worker stay valid for a while.
    system.upload(&first.prefix, &[segment("360p", 8)]).await;
    system.advance_clock(21 * 60);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.list_keys("v1", &name).await, named);
}
