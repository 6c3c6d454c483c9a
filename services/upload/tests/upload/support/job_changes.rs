//! Changes of a job, as transcode reports them.

use std::time::Duration;

use reelmill_proto::{
    duration, timestamp,
    transcode::{
        Progress, Rendition, SourceInfo, SourceProgram, SourceTrack, WatchJobsResponse, job, rendition,
    },
};

use super::Deployment;

/// RUNNING, with a probed source and two renditions.
pub fn set_running(report: &mut WatchJobsResponse) {
    let job = report.job.as_mut().unwrap();
    job.state = job::State::Running.into();
    job.source = Some(SourceInfo {
        container: "mov,mp4".to_owned(),
        width: 1280,
        height: 720,
        duration: Some(duration(Duration::from_millis(1500))),
        tracks: vec![SourceTrack { index: 1, used: true, ..Default::default() }],
        programs: vec![SourceProgram { number: 12, ..Default::default() }],
        ..Default::default()
    });
    job.renditions = ["720p", "360p"].map(encoding_rendition).to_vec();
}

fn encoding_rendition(rendition_id: &str) -> Rendition {
    Rendition {
        rendition_id: rendition_id.to_owned(),
        kind: rendition::Kind::Video.into(),
        state: rendition::State::Encoding.into(),
        ..Default::default()
    }
}

/// SUCCEEDED, with outputs below attempt `a1`.
pub fn set_succeeded(report: &mut WatchJobsResponse) {
    let job = report.job.as_mut().unwrap();
    job.state = job::State::Succeeded.into();
    for rendition in &mut job.renditions {
        rendition.state = rendition::State::Ready.into();
    }
    let video = &job.video;
    report.master_playlist_key = output_key(video, "a1", "master.m3u8");
    report.poster_key = output_key(video, "a1", "poster.jpg");
    report.download_keys = job
        .renditions
        .iter()
        .map(|rendition| {
            let id = &rendition.rendition_id;
            (id.clone(), output_key(video, "a1", &format!("{id}.mp4")))
        })
        .collect();
    report.output_size_bytes = 4711;
}

/// Playable since `playable_time` (Unix milliseconds), with a playlist below `attempt`.
pub fn set_playable(attempt: &str, playable_time: i64) -> impl FnOnce(&mut WatchJobsResponse) {
    move |report| {
        let job = report.job.as_mut().unwrap();
        job.playable_time = Some(timestamp(playable_time));
        report.master_playlist_key = output_key(&job.video, attempt, "master.m3u8");
    }
}

/// Key of an output of `videos/{video}`.
pub fn output_key(video: &str, attempt: &str, name: &str) -> String {
    format!("{}/{attempt}/{name}", video.replace("videos/", "outputs/"))
}

/// Reports progress without a new revision.
pub fn report_progress(deployment: &Deployment, video: &str, percent: f64) {
    let mut report = deployment.transcode.report_of(video);
    let job = report.job.as_mut().unwrap();
    job.progress = Some(Progress { percent, ..Default::default() });
    for rendition in &mut job.renditions {
        rendition.progress = Some(Progress { percent: percent / 2.0, ..Default::default() });
    }
    deployment.transcode.send(report);
}
