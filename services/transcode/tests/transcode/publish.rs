//! Playlists of a video that is being encoded.

use reelmill_proto::transcode::{RecordOutputsRequest, job::State};
use rstest::rstest;

use crate::support::{
    Backend, TestSystem, complete_request, init, job_name, listed_uris, open_report_stream, poster, reason,
    segment, source,
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn playlists_are_written_by_processes_in_turn(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let second = system.second_process().await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    let early = system.start_encode_task().await;
    system.record(&first, vec![init("360p"), segment("360p", 0)]).await;
    system.transcode.sweep().await.unwrap();
    system.record(&early, vec![segment("360p", 1)]).await;
    second.sweep().await.unwrap();
    let written = system.read_text("v1", &name, "360p.m3u8").await.unwrap();
    assert_eq!(listed_uris(&written).len(), 2, "{written}");
    system.record(&early, vec![segment("360p", 2)]).await;
    system.transcode.sweep().await.unwrap();
    let written = system.read_text("v1", &name, "360p.m3u8").await.unwrap();
    assert_eq!(listed_uris(&written).len(), 3, "{written}");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn growing_playlists_list_recorded_segments_without_gaps(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    let audio = system.start_express_encode_task().await;
    let early = system.start_encode_task().await;
    let late = system.start_encode_task().await;
    assert_eq!((early.segment_range(15), late.segment_range(15)), (1..3, 3..7));
    system.record(&audio, vec![init("audio-0"), segment("audio-0", 0)]).await;
    system.record(&late, vec![init("360p"), segment("360p", 3), segment("360p", 4)]).await;
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.read_text("v1", &name, "360p.m3u8").await, None, "the beginning is missing");
    let steps = [
        (&first, 0, 1),
        // Out of order: the third segment is listed after the second is recorded.
        (&early, 2, 1),
        (&early, 1, 5),
        (&late, 6, 5),
        (&late, 5, 7),
    ];
    let mut before = String::new();
    for (task, sequence, length) in steps {
        system.record(task, vec![segment("360p", sequence)]).await;
        system.transcode.sweep().await.unwrap();
        let now = system.read_text("v1", &name, "360p.m3u8").await.unwrap();
        assert_eq!(listed_uris(&now).len(), length, "{now}");
        assert!(now.starts_with(&before), "playlists only grow");
        assert!(!now.contains("ENDLIST"));
        before = now;
    }
    let uris = listed_uris(&before);
    let expected = [
        "0.0.1/360p/seg_0.m4s",
        "0.2.1/360p/seg_1.m4s",
        "0.2.1/360p/seg_2.m4s",
        "0.3.1/360p/seg_3.m4s",
        "0.3.1/360p/seg_4.m4s",
        "0.3.1/360p/seg_5.m4s",
        "0.3.1/360p/seg_6.m4s",
    ];
    assert_eq!(uris, expected);
    for uri in &uris {
        assert!(system.list_keys("v1", &name).await.contains(&(*uri).to_owned()), "{uri}");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn record_outputs_twice_keeps_first(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&task.lease);
    system.record(&task, vec![init("360p"), segment("360p", 0)]).await;
    let mut twice = segment("360p", 0);
    twice.name = "360p/other.m4s".to_owned();
    system.record(&task, vec![twice.clone()]).await;
    system.transcode.sweep().await.unwrap();
    let playlist = system.read_text("v1", &name, "360p.m3u8").await.unwrap();
    assert_eq!(listed_uris(&playlist), ["0.0.1/360p/seg_0.m4s"]);
    // The same within one call.
    system.record(&task, vec![init("240p"), segment("240p", 0), segment("240p", 0), twice]).await;
    system.transcode.sweep().await.unwrap();
    let playlist = system.read_text("v1", &name, "240p.m3u8").await.unwrap();
    assert_eq!(listed_uris(&playlist), ["0.0.1/240p/seg_0.m4s"]);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn job_is_playable_with_first_video_and_audio_segments(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&task.lease);
    let audio = system.start_express_encode_task().await;
    system.record(&task, vec![init("240p"), segment("240p", 0)]).await;
    system.advance_clock(2);
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.get_job(&name).await.playable_time, None, "without its audio");
    assert_eq!(system.read_text("v1", &name, "master.m3u8").await, None);
    system.record(&audio, vec![init("audio-0"), segment("audio-0", 0)]).await;
    assert_eq!(system.get_job(&name).await.playable_time, None, "not before the playlists are written");
    system.advance_clock(1);
    system.transcode.sweep().await.unwrap();
    let watched = system.watched_job(&name).await;
    let job = watched.job.unwrap();
    assert_eq!(job.playable_time.map(|time| time.seconds), Some(1_700_000_003));
    assert!(watched.master_playlist_key.ends_with("/master.m3u8") && watched.dash_manifest_key.is_empty());
    let master = system.objects.get(&watched.master_playlist_key, None, None).await.unwrap();
    let master = String::from_utf8(master.body.collect().await.unwrap().to_vec()).unwrap();
    assert!(master.contains("240p.m3u8") && master.contains("audio-0.m3u8"), "{master}");
    assert!(!master.contains("360p.m3u8"), "{master}");
    // A further rung changes the revision, a further segment does not.
    system.record(&task, vec![init("360p"), segment("360p", 0)]).await;
    system.transcode.sweep().await.unwrap();
    let now = system.get_job(&name).await;
    assert!(now.revision > job.revision);
    assert_eq!(now.playable_time, job.playable_time);
    let ready = |id: &str| {
        let rendition = now.renditions.iter().find(|one| one.rendition_id == id).unwrap();
        rendition.progress.unwrap().segments_ready
    };
    assert_eq!((ready("360p"), ready("240p"), ready("audio-0")), (1, 1, 1));
    assert!(system.read_text("v1", &name, "master.m3u8").await.unwrap().contains("360p.m3u8"));
    system.record(&audio, vec![segment("audio-0", 1)]).await;
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.get_job(&name).await.revision, now.revision);
    let playlist = system.read_text("v1", &name, "audio-0.m3u8").await.unwrap();
    assert_eq!(listed_uris(&playlist).len(), 2);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn job_is_playable_without_audio_that_failed(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(60.0, true)).await;
    let audio = system.start_express_encode_task().await;
    system.record(&task, vec![init("240p"), segment("240p", 0)]).await;
    system.complete(&audio.lease).await;
    system.transcode.sweep().await.unwrap();
    assert!(system.get_job(&job_name(&task.lease)).await.playable_time.is_some());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn poster_is_announced_once_recorded(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(16.0, true)).await;
    let name = job_name(&task.lease);
    let before = system.get_job(&name).await.revision;
    system.record(&task, vec![poster()]).await;
    system.transcode.sweep().await.unwrap();
    let watched = system.watched_job(&name).await;
    assert!(watched.poster_key.ends_with("/0.0.1/images/poster.jpg"), "{}", watched.poster_key);
    assert!(watched.job.unwrap().revision > before);
    assert!(watched.master_playlist_key.is_empty());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn start_task_after_lost_worker_returns_recorded_segments(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    system.encode_and_complete(&first, 15).await;
    let audio = system.start_express_encode_task().await;
    system.record(&audio, vec![init("audio-0"), segment("audio-0", 0), segment("audio-0", 1)]).await;
    system.record(&audio, vec![segment("audio-0", 3)]).await;
    system.advance_clock(16);
    system.transcode.sweep().await.unwrap();
    let next = system.start_express_encode_task().await;
    assert_eq!(next.lease.task, audio.lease.task);
    assert_eq!(next.recorded, [("audio-0".to_owned(), 2)].into());
    assert_eq!(reason(system.try_record(&audio, vec![segment("audio-0", 2)]).await), "LEASE_LOST");
    assert_eq!(
        reason(system.worker_client().complete_task(complete_request(&audio.lease)).await),
        "LEASE_LOST"
    );
    // It encodes everything again; recorded segments stay.
    system.encode_and_complete(&next, 15).await;
    system.transcode.sweep().await.unwrap();
    let playlist = system.read_text("v1", &name, "audio-0.m3u8").await.unwrap();
    let of = |attempt: &str| listed_uris(&playlist).iter().filter(|uri| uri.starts_with(attempt)).count();
    assert_eq!((of("0.1.1/"), of("0.1.2/"), listed_uris(&playlist).len()), (3, 12, 15), "{playlist}");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn fail_task_ends_job_and_stops_other_workers(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    let audio = system.start_express_encode_task().await;
    system.record(&first, vec![init("360p"), segment("360p", 0)]).await;
    let mut reports = open_report_stream(&system, &audio.lease).await;
    reports.response().await.unwrap().unwrap();
    let failure = reelmill_proto::transcode::Failure {
        reason: "LIMIT_EXCEEDED".to_owned(),
        message: "too much".to_owned(),
    };
    system.fail_task_twice(&first.lease, &failure).await;
    let response = tokio::time::timeout(std::time::Duration::from_secs(5), reports.response()).await;
    assert!(response.unwrap().unwrap().unwrap().cancel, "the other worker is stopped");
    let outputs = RecordOutputsRequest { lease: Some(audio.lease.clone()), outputs: vec![init("audio-0")] };
    assert_eq!(reason(system.worker_client().record_outputs(outputs).await), "LEASE_LOST");
    assert_eq!(system.try_start_task().await, None);
    let job = system.get_job(&name).await;
    assert_eq!((job.state(), job.failure), (State::Failed, Some(failure)));
    system.transcode.sweep().await.unwrap();
    assert_eq!(system.list_keys("v1", &name).await, Vec::<String>::new());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn playlists_of_two_processes_contain_all_segments(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let task = system.create_planned_job("v1", &source(60.0, false)).await;
    let name = job_name(&task.lease);
    let other_process = system.second_process().await;
    system.record(&task, vec![init("360p"), segment("360p", 0)]).await;
    system.transcode.sweep().await.unwrap();
    let next = system.start_encode_task().await;
    // Each process caches what it has written, and still publishes what the other has written since.
    for (process, sequence) in [(&other_process, 1), (&system.transcode, 2)] {
        system.record(&next, vec![segment("360p", sequence)]).await;
        process.sweep().await.unwrap();
        let playlist = system.read_text("v1", &name, "360p.m3u8").await.unwrap();
        assert_eq!(listed_uris(&playlist).len(), sequence as usize + 1, "{playlist}");
    }
}
