//! How far a job is, from the reports of several workers.

use std::time::Duration;

use futures::channel::mpsc;
use reelmill_proto::transcode::{
    GetJobRequest, Job, Lease, Progress, ReportProgressRequest, ReportProgressResponse, WatchJobRequest,
    WatchJobResponse, WatchJobsRequest, rendition::Kind,
};
use tokio::time::timeout;
use tonic::Streaming;

use crate::{
    fake::{init, job_of, segment, source},
    jobs::on_every_database,
    world::World,
};

const SOON: Duration = Duration::from_secs(5);

/// A worker that reports.
struct Reporter {
    lease: Lease,
    reports: mpsc::UnboundedSender<ReportProgressRequest>,
    _answers: Streaming<ReportProgressResponse>,
}

impl Reporter {
    async fn of(world: &World, lease: &Lease) -> Self {
        let (reports, sent) = mpsc::unbounded();
        let answers = world.worker().report_progress(sent).await.unwrap().into_inner();
        Self { lease: lease.clone(), reports, _answers: answers }
    }

    fn report(&self, percent: f64, frames: i64) {
        let progress = Progress { percent, frames, fps: 50.0, speed: 2.0, ..Progress::default() };
        let report = ReportProgressRequest { lease: Some(self.lease.clone()), progress: Some(progress) };
        self.reports.unbounded_send(report).unwrap();
    }
}

/// The next that is told of a job for which `wanted` holds, when nothing told meanwhile goes back.
async fn told(
    changes: &mut Streaming<WatchJobResponse>,
    last: &mut f64,
    wanted: impl Fn(&Job) -> bool,
) -> Job {
    timeout(SOON, async {
        loop {
            let job = changes.message().await.unwrap().unwrap().job.unwrap();
            let percent = job.progress.unwrap().percent;
            assert!(percent >= *last, "{percent} after {last}");
            *last = percent;
            if wanted(&job) {
                return job;
            }
        }
    })
    .await
    .expect("it is told")
}

fn percent(job: &Job, id: &str) -> f64 {
    job.renditions.iter().find(|one| one.rendition_id == id).unwrap().progress.unwrap().percent
}

async fn progress_is_put_together_and_never_goes_back(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    let watch = WatchJobRequest { name: name.clone(), revision: 0 };
    let mut changes = world.user("ann").watch_job(watch).await.unwrap().into_inner();
    let mut last = 0.0;
    let sound = world.encoding(&first.lease.task).await;
    let chunk = world.encoding(&first.lease.task).await;
    let one = Reporter::of(&world, &first.lease).await;
    one.report(50.0, 50);
    let weight = |work_unit: &reelmill_media::plan::WorkUnit| first.plan.weight(work_unit) * 100.0;
    let expected = weight(&first.work_unit) / 2.0;
    let job = told(&mut changes, &mut last, |job| job.progress.unwrap().percent > 0.0).await;
    assert!((job.progress.unwrap().percent - expected).abs() < 1e-6);
    // 50 of 1,500 frames of both rungs, none of the sound.
    assert!((percent(&job, "360p") - 100.0 / 30.0).abs() < 1e-6, "{}", percent(&job, "360p"));
    assert_eq!((percent(&job, "audio-0"), job.progress.unwrap().fps), (0.0, 50.0));
    assert_eq!(job.renditions.iter().filter(|one| one.kind() == Kind::Video).count(), 2);
    // A second worker adds its part.
    world.pass(2);
    let two = Reporter::of(&world, &sound.lease).await;
    two.report(40.0, 0);
    let both = expected + weight(&sound.work_unit) * 0.4;
    let job = told(&mut changes, &mut last, |job| percent(job, "audio-0") > 0.0).await;
    assert!((job.progress.unwrap().percent - both).abs() < 1e-6);
    assert_eq!((percent(&job, "audio-0"), job.progress.unwrap().fps), (40.0, 100.0));
    assert!(job.progress.unwrap().eta.is_some());
    assert!(job.renditions.iter().all(|one| one.progress.unwrap().eta.is_some()), "{:?}", job.renditions);
    // The first is killed: what was told stays, and what its successor does counts once it is more.
    drop(one);
    world.pass(2);
    two.report(41.0, 0);
    told(&mut changes, &mut last, |job| percent(job, "audio-0") == 41.0).await;
    let row = world.look(&name).await;
    assert_eq!(row.progress.unwrap().percent, last, "a look at the job tells the same");
    // A task that is done counts whole.
    world.make(&chunk, 15).await;
    world.pass(2);
    two.report(42.0, 0);
    let job = told(&mut changes, &mut last, |job| percent(job, "audio-0") == 42.0).await;
    assert!(percent(&job, "360p") >= 200.0 / 15.0, "{}", percent(&job, "360p"));
}

async fn watchers_hear_of_a_job_at_most_four_times_a_second(world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let watch = WatchJobRequest { name: job_of(&first.lease), revision: 0 };
    let mut changes = world.user("ann").watch_job(watch).await.unwrap().into_inner();
    changes.message().await.unwrap().unwrap();
    let reporter = Reporter::of(&world, &first.lease).await;
    for percent in 1..=50 {
        reporter.report(f64::from(percent), i64::from(percent));
    }
    // The clock stands still: of the fifty only the first is told, and another with each second that passes.
    let mut last = 0.0;
    let job = told(&mut changes, &mut last, |_| true).await;
    assert!((percent(&job, "360p") - 1.0 / 15.0).abs() < 1e-6, "{}", percent(&job, "360p"));
    let mut passed = 0;
    while last < first.plan.weight(&first.work_unit) * 60.0 - 1e-6 {
        passed += 1;
        world.pass(1);
        reporter.report(60.0, 60);
        told(&mut changes, &mut last, |_| true).await;
    }
    assert!(passed < 5, "{passed}");
    assert!(timeout(Duration::from_millis(300), changes.message()).await.is_err(), "more was told");
}

/// All that is told of a job's progress that only grows.
fn reached(job: &Job) -> Vec<(String, f64, i64, i64)> {
    let of = |id: &str, progress: Option<Progress>| {
        let progress = progress.unwrap();
        (id.to_owned(), progress.percent, progress.frames, progress.segments_ready)
    };
    let renditions = job.renditions.iter().map(|one| of(&one.rendition_id, one.progress));
    std::iter::once(of("job", job.progress)).chain(renditions).collect()
}

fn assert_no_less(now: &Job, before: &Job) {
    assert_eq!(now.renditions.len(), before.renditions.len());
    for (now, before) in reached(now).iter().zip(&reached(before)) {
        assert_eq!(now.0, before.0);
        assert!(now.1 >= before.1 && now.2 >= before.2 && now.3 >= before.3, "{now:?} after {before:?}");
    }
}

async fn what_was_told_is_not_taken_back_by_the_next_process(mut world: World) {
    let first = world.planned("v1", &source(60.0, true)).await;
    let name = job_of(&first.lease);
    let sound = world.encoding(&first.lease.task).await;
    world.record(&sound, vec![init("audio-0"), segment("audio-0", 0)]).await;
    world.record(&first, vec![init("360p"), segment("360p", 0), init("240p"), segment("240p", 0)]).await;
    world.transcode.sweep().await.unwrap();
    let watch = WatchJobRequest { name: name.clone(), revision: 0 };
    let mut changes = world.user("ann").watch_job(watch).await.unwrap().into_inner();
    let reporter = Reporter::of(&world, &first.lease).await;
    let mut last = 0.0;
    for part in 1..=20 {
        world.pass(1);
        reporter.report(f64::from(part) * 4.3, i64::from(part) * 4);
        told(&mut changes, &mut last, |job| percent(job, "360p") > f64::from(part) * 4.0 / 15.0 - 1e-9).await;
    }
    // Not news, so that its revision tells nothing of it.
    world.record(&sound, vec![segment("audio-0", 1)]).await;
    world.pass(1);
    world.transcode.sweep().await.unwrap();
    reporter.report(87.0, 81);
    let before = told(&mut changes, &mut last, |job| percent(job, "360p") > 81.0 / 15.0 - 1e-9).await;
    let heard = before.renditions.iter().map(|one| one.progress.unwrap().segments_ready).max();
    assert_eq!(heard, Some(2));

    drop((reporter, changes));
    let mut first_process = world.jobs();
    world.restart().await;
    let seen = world.look(&name).await;
    assert_no_less(&seen, &before);
    let (now, then) = (seen.progress.unwrap(), before.progress.unwrap());
    assert!(now.percent <= then.percent + 1.0 && now.frames <= then.frames + 50, "{now:?} after {then:?}");
    // Its followers hear of it without a report, though nothing has changed since.
    let revision = seen.revision;
    let mut feed = world.jobs().watch_jobs(WatchJobsRequest { revision }).await.unwrap().into_inner();
    let job = timeout(SOON, feed.message()).await.expect("told").unwrap().unwrap().job.unwrap();
    assert_no_less(&job, &before);
    // The task begins before where it was.
    let again = Reporter::of(&world, &first.lease).await;
    again.report(10.0, 10);
    let mut last = before.progress.unwrap().percent;
    let watch = WatchJobRequest { name: name.clone(), revision: 0 };
    let mut changes = world.user("ann").watch_job(watch).await.unwrap().into_inner();
    let job = told(&mut changes, &mut last, |job| job.progress.unwrap().fps > 0.0).await;
    assert_no_less(&job, &before);
    again.report(95.0, 95);
    world.pass(1);
    again.report(95.0, 95);
    let job = told(&mut changes, &mut last, |job| percent(job, "360p") > percent(&seen, "360p")).await;
    assert_no_less(&job, &seen);
    // Nor does a process that told less before fall behind another.
    let request = GetJobRequest { name };
    let there = first_process.get_job(request).await.unwrap().into_inner().job.unwrap();
    assert_no_less(&there, &job);
}

on_every_database!(
    what_was_told_is_not_taken_back_by_the_next_process,
    progress_is_put_together_and_never_goes_back,
    watchers_hear_of_a_job_at_most_four_times_a_second,
);
