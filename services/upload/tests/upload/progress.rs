//! Progress of a video.

use reelmill_proto::{transcode::Progress, upload::Video};
use rstest::rstest;

use crate::support::{Backend, Deployment, set_running};

/// Reports progress of a job and its first rendition. `marker` is sent as `fps`, which may decrease.
fn report(deployment: &Deployment, video: &str, marker: f64, frames: i64, segments_ready: i64) {
    let mut report = deployment.transcode.report_of(video);
    let job = report.job.as_mut().unwrap();
    let progress = Progress { percent: marker, frames, segments_ready, fps: marker, ..Progress::default() };
    job.progress = Some(progress);
    job.renditions[0].progress = Some(progress);
    deployment.transcode.send(report);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread")]
async fn progress_reported_lower_never_decreases(#[case] backend: Backend) {
    let deployment = Deployment::start(backend).await;
    let uploaded = deployment.upload("ada").await;
    let name = uploaded.name.as_str();
    deployment.transcode.change(name, set_running);
    let wait_for_marker = |marker: f64| {
        let deployment = &deployment;
        async move {
            let has_marker = |video: &Video| video.progress.is_some_and(|progress| progress.fps == marker);
            deployment.wait_for_video("ada", name, has_marker).await
        }
    };
    report(&deployment, name, 40.0, 400, 3);
    wait_for_marker(40.0).await;
    // From a worker that took over a task.
    report(&deployment, name, 25.0, 450, 2);
    let video = wait_for_marker(25.0).await;
    for progress in [video.progress, video.renditions[0].progress] {
        let progress = progress.unwrap();
        assert_eq!((progress.percent, progress.frames, progress.segments_ready), (40.0, 450, 3));
    }
    // A rendition without progress in a report keeps its progress.
    let mut without_rendition = deployment.transcode.report_of(name);
    without_rendition.job.as_mut().unwrap().progress =
        Some(Progress { percent: 50.0, fps: 1.0, ..Progress::default() });
    deployment.transcode.send(without_rendition);
    let video = wait_for_marker(1.0).await;
    assert_eq!(video.renditions[0].progress.unwrap().segments_ready, 3);
    assert!(video.renditions[1].progress.is_none());
}
