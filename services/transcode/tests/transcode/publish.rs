//! Playlists while a video is encoded.

use reelmill_proto::transcode::{RecordOutputsRequest, job::State};

use crate::{
    fake::{init, job_of, listed, poster, segment, source},
    jobs::on_every_database,
    world::{World, reason, start},
};

async fn growing_playlists_list_what_is_recorded_without_gaps(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    let sound = world.encoding(&first.lease.task).await;
    let early = world.encoding(&first.lease.task).await;
    let late = world.encoding(&first.lease.task).await;
    assert_eq!((early.places(15), late.places(15)), (1..3, 3..7));
    world.record(&sound, vec![init("audio-0"), segment("audio-0", 0)]).await;
    world.record(&late, vec![init("360p"), segment("360p", 3), segment("360p", 4)]).await;
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.text("v1", &name, "360p.m3u8").await, None, "the beginning is missing");
    let steps = [
        (&first, 0, 1),
        // Out of their order: the third waits for the second.
        (&early, 2, 1),
        (&early, 1, 5),
        (&late, 6, 5),
        (&late, 5, 7),
    ];
    let mut before = String::new();
    for (task, place, length) in steps {
        world.record(task, vec![segment("360p", place)]).await;
        world.transcode.sweep().await.unwrap();
        let now = world.text("v1", &name, "360p.m3u8").await.unwrap();
        assert_eq!(listed(&now).len(), length, "{now}");
        assert!(now.starts_with(&before), "it only grows");
        assert!(!now.contains("ENDLIST"));
        before = now;
    }
    let uris = listed(&before);
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
        assert!(world.keys("v1", &name).await.contains(&(*uri).to_owned()), "{uri}");
    }
}

async fn what_is_recorded_never_changes(world: World) {
    let task = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&task.lease);
    world.record(&task, vec![init("360p"), segment("360p", 0)]).await;
    let mut twice = segment("360p", 0);
    twice.name = "360p/other.m4s".to_owned();
    world.record(&task, vec![twice.clone()]).await;
    world.transcode.sweep().await.unwrap();
    let playlist = world.text("v1", &name, "360p.m3u8").await.unwrap();
    assert_eq!(listed(&playlist), ["0.0.1/360p/seg_0.m4s"]);
    // In one call, too.
    world.record(&task, vec![init("240p"), segment("240p", 0), segment("240p", 0), twice]).await;
    world.transcode.sweep().await.unwrap();
    let playlist = world.text("v1", &name, "240p.m3u8").await.unwrap();
    assert_eq!(listed(&playlist), ["0.0.1/240p/seg_0.m4s"]);
}

async fn a_video_is_playable_once_there_is_picture_and_sound(world: World) {
    let task = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&task.lease);
    let sound = world.encoding(&task.lease.task).await;
    world.record(&task, vec![init("240p"), segment("240p", 0)]).await;
    world.pass(2);
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.look(&name).await.playable_time, None, "without its sound");
    assert_eq!(world.text("v1", &name, "master.m3u8").await, None);
    world.record(&sound, vec![init("audio-0"), segment("audio-0", 0)]).await;
    assert_eq!(world.look(&name).await.playable_time, None, "not before the playlists are there");
    world.pass(1);
    world.transcode.sweep().await.unwrap();
    let told = world.told(&name).await;
    let job = told.job.unwrap();
    assert_eq!(job.playable_time.map(|time| time.seconds), Some(1_700_000_003));
    assert!(told.master_playlist_key.ends_with("/master.m3u8") && told.dash_manifest_key.is_empty());
    let master = world.objects.get(&told.master_playlist_key, None, None).await.unwrap();
    let master = String::from_utf8(master.body.collect().await.unwrap().to_vec()).unwrap();
    assert!(master.contains("240p.m3u8") && master.contains("audio-0.m3u8"), "{master}");
    assert!(!master.contains("360p.m3u8"), "{master}");
    // Another rung: watchers hear of it; another segment: they need not.
    world.record(&task, vec![init("360p"), segment("360p", 0)]).await;
    world.transcode.sweep().await.unwrap();
    let now = world.look(&name).await;
    assert!(now.revision > job.revision);
    assert_eq!(now.playable_time, job.playable_time);
    let ready = |id: &str| {
        let rendition = now.renditions.iter().find(|one| one.rendition_id == id).unwrap();
        rendition.progress.unwrap().segments_ready
    };
    assert_eq!((ready("360p"), ready("240p"), ready("audio-0")), (1, 1, 1));
    assert!(world.text("v1", &name, "master.m3u8").await.unwrap().contains("360p.m3u8"));
    world.record(&sound, vec![segment("audio-0", 1)]).await;
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.look(&name).await.revision, now.revision);
    let playlist = world.text("v1", &name, "audio-0.m3u8").await.unwrap();
    assert_eq!(listed(&playlist).len(), 2);
}

async fn sound_that_cannot_be_made_is_not_waited_for(world: World) {
    let task = world.planned("v1", &source(60.0, true)).await;
    let sound = world.encoding(&task.lease.task).await;
    world.record(&task, vec![init("240p"), segment("240p", 0)]).await;
    world.complete(&sound.lease).await;
    world.transcode.sweep().await.unwrap();
    assert!(world.look(&job_of(&task.lease)).await.playable_time.is_some());
}

async fn the_poster_is_told_as_soon_as_it_is_there(world: World) {
    let task = world.planned("v1", &source(16.0, true)).await;
    let name = job_of(&task.lease);
    let before = world.look(&name).await.revision;
    world.record(&task, vec![poster()]).await;
    world.transcode.sweep().await.unwrap();
    let told = world.told(&name).await;
    assert!(told.poster_key.ends_with("/0.0.1/images/poster.jpg"), "{}", told.poster_key);
    assert!(told.job.unwrap().revision > before);
    assert!(told.master_playlist_key.is_empty());
}

async fn a_successor_goes_on_where_a_killed_worker_was(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    world.make(&first, 15).await;
    let sound = world.encoding(&first.lease.task).await;
    world.record(&sound, vec![init("audio-0"), segment("audio-0", 0), segment("audio-0", 1)]).await;
    world.record(&sound, vec![segment("audio-0", 3)]).await;
    world.pass(16);
    let next = world.encoding(&sound.lease.task).await;
    assert_eq!(next.lease.task, sound.lease.task);
    assert_eq!(next.recorded, [("audio-0".to_owned(), 2)].into());
    assert_eq!(reason(world.try_record(&sound, vec![segment("audio-0", 2)]).await), "LEASE_LOST");
    assert_eq!(reason(world.worker().complete_task(crate::fake::complete(&sound.lease)).await), "LEASE_LOST");
    // It makes everything anew; what was recorded stays.
    world.make(&next, 15).await;
    world.transcode.sweep().await.unwrap();
    let playlist = world.text("v1", &name, "audio-0.m3u8").await.unwrap();
    let of = |attempt: &str| listed(&playlist).iter().filter(|uri| uri.starts_with(attempt)).count();
    assert_eq!((of("0.1.1/"), of("0.1.2/"), listed(&playlist).len()), (3, 12, 15), "{playlist}");
}

async fn a_failed_task_ends_the_job_and_its_other_workers(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    let sound = world.encoding(&first.lease.task).await;
    world.record(&first, vec![init("360p"), segment("360p", 0)]).await;
    let mut answers = crate::tasks::report(&world, &sound.lease).await;
    answers.message().await.unwrap().unwrap();
    let failure = reelmill_proto::transcode::Failure {
        reason: "LIMIT_EXCEEDED".to_owned(),
        message: "too much".to_owned(),
    };
    let request = reelmill_proto::transcode::FailTaskRequest {
        lease: Some(first.lease.clone()),
        failure: Some(failure.clone()),
        retryable: false,
    };
    assert!(!world.worker().fail_task(request).await.unwrap().into_inner().will_retry);
    let told = tokio::time::timeout(std::time::Duration::from_secs(5), answers.message()).await;
    assert!(told.unwrap().unwrap().unwrap().cancel, "the other worker is told to stop");
    let outputs = RecordOutputsRequest { lease: Some(sound.lease.clone()), outputs: vec![init("audio-0")] };
    assert_eq!(reason(world.worker().record_outputs(outputs).await), "LEASE_LOST");
    assert_eq!(reason(world.worker().start_task(start(&first.lease.task)).await), "TASK_ENDED");
    let job = world.look(&name).await;
    assert_eq!((job.state(), job.failure), (State::Failed, Some(failure)));
    world.transcode.sweep().await.unwrap();
    assert_eq!(world.keys("v1", &name).await, Vec::<String>::new());
}

async fn one_process_at_a_time_puts_playlists(world: World) {
    let task = world.planned("v1", &source(60.0, false)).await;
    let name = job_of(&task.lease);
    let replica = world.replica().await;
    world.record(&task, vec![init("360p"), segment("360p", 0)]).await;
    world.transcode.sweep().await.unwrap();
    let next = world.encoding(&task.lease.task).await;
    // Each knows what itself put last, and must still see what the other put meanwhile.
    for (process, place) in [(&replica, 1), (&world.transcode, 2)] {
        world.record(&next, vec![segment("360p", place)]).await;
        process.sweep().await.unwrap();
        let playlist = world.text("v1", &name, "360p.m3u8").await.unwrap();
        assert_eq!(listed(&playlist).len(), place as usize + 1, "{playlist}");
    }
}

on_every_database!(
    growing_playlists_list_what_is_recorded_without_gaps,
    what_is_recorded_never_changes,
    a_video_is_playable_once_there_is_picture_and_sound,
    sound_that_cannot_be_made_is_not_waited_for,
    the_poster_is_told_as_soon_as_it_is_there,
    a_successor_goes_on_where_a_killed_worker_was,
    a_failed_task_ends_the_job_and_its_other_workers,
    one_process_at_a_time_puts_playlists,
);
