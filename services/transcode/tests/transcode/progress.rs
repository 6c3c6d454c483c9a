//! Published progress of jobs, from the reports of several workers.

use std::time::Duration;

use reelmill_proto::transcode::{
    GetJobRequest, Job, Progress, WatchJobRequest, WatchJobResponse, WatchJobsRequest, rendition::Kind,
};
use rstest::rstest;
use tokio::time::timeout;
use tonic::Streaming;

use crate::support::{
    Backend, OpenReportStream, RESPONSE_TIMEOUT, TestSystem, init, job_name, segment, source,
};

/// Reports percent and frames, at 50 frames per second and twice the playback speed.
fn report(stream: &OpenReportStream, percent: f64, frames: i64) {
    stream.report(Progress { percent, frames, fps: 50.0, speed: 2.0, ..Progress::default() });
}

/// The next published state of a job for which `is_wanted` holds. Asserts that percent never decreases, starting at
/// `last`.
async fn next_published(
    changes: &mut Streaming<WatchJobResponse>,
    last: &mut f64,
    is_wanted: impl Fn(&Job) -> bool,
) -> Job {
    timeout(RESPONSE_TIMEOUT, async {
        loop {
            let job = changes.message().await.unwrap().unwrap().job.unwrap();
            let percent = job.progress.unwrap().percent;
            assert!(percent >= *last, "{percent} after {last}");
            *last = percent;
            if is_wanted(&job) {
                return job;
            }
        }
    })
    .await
    .expect("it is published")
}

fn percent(job: &Job, id: &str) -> f64 {
    job.renditions.iter().find(|one| one.rendition_id == id).unwrap().progress.unwrap().percent
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn published_progress_aggregates_tasks_and_never_decreases(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    let watch = WatchJobRequest { name: name.clone(), revision: 0 };
    let mut changes = system.user_client("ann").watch_job(watch).await.unwrap().into_inner();
    let mut last = 0.0;
    let audio = system.start_express_encode_task().await;
    let chunk = system.start_encode_task().await;
    let one = OpenReportStream::open(&system, &first.lease).await;
    report(&one, 50.0, 50);
    let weight = |work_unit: &reelmill_media::plan::WorkUnit| first.plan.weight(work_unit) * 100.0;
    let expected = weight(&first.work_unit) / 2.0;
    let job = next_published(&mut changes, &mut last, |job| job.progress.unwrap().percent > 0.0).await;
    assert!((job.progress.unwrap().percent - expected).abs() < 1e-6);
    // 50 of 1,500 frames of both rungs, nothing of the audio.
    assert!((percent(&job, "360p") - 100.0 / 30.0).abs() < 1e-6, "{}", percent(&job, "360p"));
    assert_eq!((percent(&job, "audio-0"), job.progress.unwrap().fps), (0.0, 50.0));
    assert_eq!(job.renditions.iter().filter(|one| one.kind() == Kind::Video).count(), 2);
    // A second worker adds its part.
    system.advance_clock(2);
    let two = OpenReportStream::open(&system, &audio.lease).await;
    report(&two, 40.0, 0);
    let both = expected + weight(&audio.work_unit) * 0.4;
    let job = next_published(&mut changes, &mut last, |job| percent(job, "audio-0") > 0.0).await;
    assert!((job.progress.unwrap().percent - both).abs() < 1e-6);
    assert_eq!((percent(&job, "audio-0"), job.progress.unwrap().fps), (40.0, 100.0));
    assert!(job.progress.unwrap().eta.is_some());
    assert!(job.renditions.iter().all(|one| one.progress.unwrap().eta.is_some()), "{:?}", job.renditions);
    // The first worker is killed: published progress stays.
    drop(one);
    system.advance_clock(2);
    report(&two, 41.0, 0);
    next_published(&mut changes, &mut last, |job| percent(job, "audio-0") == 41.0).await;
    let row = system.get_job(&name).await;
    assert_eq!(row.progress.unwrap().percent, last, "GetJob returns the same");
    // A completed task counts with all its frames.
    system.encode_and_complete(&chunk, 15).await;
    system.advance_clock(2);
    report(&two, 42.0, 0);
    let job = next_published(&mut changes, &mut last, |job| percent(job, "audio-0") == 42.0).await;
    assert!(percent(&job, "360p") >= 200.0 / 15.0, "{}", percent(&job, "360p"));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn published_progress_is_rate_limited(#[case] backend: Backend) {
    let system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let watch = WatchJobRequest { name: job_name(&first.lease), revision: 0 };
    let mut changes = system.user_client("ann").watch_job(watch).await.unwrap().into_inner();
    changes.message().await.unwrap().unwrap();
    let reporter = OpenReportStream::open(&system, &first.lease).await;
    for percent in 1..=50 {
        report(&reporter, f64::from(percent), i64::from(percent));
    }
    // The clock is stopped: only the first of the fifty reports is published, and another one per second that passes.
    let mut last = 0.0;
    let job = next_published(&mut changes, &mut last, |_| true).await;
    assert!((percent(&job, "360p") - 1.0 / 15.0).abs() < 1e-6, "{}", percent(&job, "360p"));
    let mut passed = 0;
    while last < first.plan.weight(&first.work_unit) * 60.0 - 1e-6 {
        passed += 1;
        system.advance_clock(1);
        report(&reporter, 60.0, 60);
        next_published(&mut changes, &mut last, |_| true).await;
    }
    assert!(passed < 5, "{passed}");
    assert!(timeout(Duration::from_millis(300), changes.message()).await.is_err(), "more was published");
}

/// Id, percent, frames and segments of a job and its renditions.
fn marks(job: &Job) -> Vec<(String, f64, i64, i64)> {
    let of = |id: &str, progress: Option<Progress>| {
        let progress = progress.unwrap();
        (id.to_owned(), progress.percent, progress.frames, progress.segments_ready)
    };
    let renditions = job.renditions.iter().map(|one| of(&one.rendition_id, one.progress));
    std::iter::once(of("job", job.progress)).chain(renditions).collect()
}

fn assert_not_decreased(now: &Job, before: &Job) {
    assert_eq!(now.renditions.len(), before.renditions.len());
    for (now, before) in marks(now).iter().zip(&marks(before)) {
        assert_eq!(now.0, before.0);
        assert!(now.1 >= before.1 && now.2 >= before.2 && now.3 >= before.3, "{now:?} after {before:?}");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn published_progress_never_decreases_after_restart(#[case] backend: Backend) {
    let mut system = TestSystem::start(backend).await;
    let first = system.create_planned_job("v1", &source(60.0, true)).await;
    let name = job_name(&first.lease);
    let audio = system.start_express_encode_task().await;
    system.record(&audio, vec![init("audio-0"), segment("audio-0", 0)]).await;
    system.record(&first, vec![init("360p"), segment("360p", 0), init("240p"), segment("240p", 0)]).await;
    system.transcode.sweep().await.unwrap();
    let watch = WatchJobRequest { name: name.clone(), revision: 0 };
    let mut changes = system.user_client("ann").watch_job(watch).await.unwrap().into_inner();
    let reporter = OpenReportStream::open(&system, &first.lease).await;
    let mut last = 0.0;
    for part in 1..=20 {
        system.advance_clock(1);
        report(&reporter, f64::from(part) * 4.3, i64::from(part) * 4);
        next_published(&mut changes, &mut last, |job| {
            percent(job, "360p") > f64::from(part) * 4.0 / 15.0 - 1e-9
        })
        .await;
    }
    // A further segment does not change the job's revision.
    system.record(&audio, vec![segment("audio-0", 1)]).await;
    system.advance_clock(1);
    system.transcode.sweep().await.unwrap();
    report(&reporter, 87.0, 81);
    let before =
        next_published(&mut changes, &mut last, |job| percent(job, "360p") > 81.0 / 15.0 - 1e-9).await;
    let most_segments = before.renditions.iter().map(|one| one.progress.unwrap().segments_ready).max();
    assert_eq!(most_segments, Some(2));

    drop((reporter, changes));
    let mut first_process = system.user_client("ann");
    system.restart().await;
    let seen = system.get_job(&name).await;
    assert_not_decreased(&seen, &before);
    let (now, then) = (seen.progress.unwrap(), before.progress.unwrap());
    assert!(now.percent <= then.percent + 1.0 && now.frames <= then.frames + 50, "{now:?} after {then:?}");
    // A watch receives it without a report, although nothing has changed since.
    let shard = system.watched_job(&name).await.shard as usize;
    let mut revisions = vec![0; shard];
    revisions.push(seen.revision);
    let mut feed =
        system.upload_client().watch_jobs(WatchJobsRequest { revisions }).await.unwrap().into_inner();
    let job = timeout(RESPONSE_TIMEOUT, feed.message())
        .await
        .expect("it is published")
        .unwrap()
        .unwrap()
        .job
        .unwrap();
    assert_not_decreased(&job, &before);
    // The task restarts with less progress than before.
    let again = OpenReportStream::open(&system, &first.lease).await;
    report(&again, 10.0, 10);
    let mut last = before.progress.unwrap().percent;
    let watch = WatchJobRequest { name: name.clone(), revision: 0 };
    let mut changes = system.user_client("ann").watch_job(watch).await.unwrap().into_inner();
    let job = next_published(&mut changes, &mut last, |job| job.progress.unwrap().fps > 0.0).await;
    assert_not_decreased(&job, &before);
    report(&again, 95.0, 95);
    system.advance_clock(1);
    report(&again, 95.0, 95);
    let job =
        next_published(&mut changes, &mut last, |job| percent(job, "360p") > percent(&seen, "360p")).await;
    assert_not_decreased(&job, &seen);
    // The first process does not return less than the second has published.
    let request = GetJobRequest { name };
    let there = first_process.get_job(request).await.unwrap().into_inner().job.unwrap();
    assert_not_decreased(&there, &job);
}
