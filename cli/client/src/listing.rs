//! The commands `videos` and `jobs`.

use std::time::{Duration, SystemTime};

use reelmill_proto::{
    transcode::{
        Job, ListJobsRequest, ListJobsResponse, job, transcode_service_client::TranscodeServiceClient,
    },
    upload::{
        ListVideosRequest, ListVideosResponse, Video, video::State, video_service_client::VideoServiceClient,
    },
};

use crate::{
    args::{JobState, JobsArgs},
    console::{Console, columns},
    error::ClientError,
    rendition::main_rendition_ids,
    server::Server,
    table::format_table,
    text,
};

const PAGE_SIZE: i32 = 200;

/// `videos`: lists all videos of the caller, newest first.
pub async fn videos(server: &Server, console: Console) -> Result<(), ClientError> {
    let mut all = ListVideosResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListVideosRequest { page_size: PAGE_SIZE, page_token };
        let page = server
            .call(async |channel| VideoServiceClient::new(channel).list_videos(request.clone()).await)
            .await?;
        all.videos.extend(page.videos);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let text = if all.videos.is_empty() { "no videos yet".to_owned() } else { video_table(&all.videos) };
    console.result("reelmill.upload.v1.ListVideosResponse", &all, &text)
}

fn video_table(videos: &[Video]) -> String {
    let row = |video: &Video| {
        vec![
            video.name.clone(),
            state_column(video),
            text::format_duration(video.duration.as_ref()),
            text::format_size(video.size_bytes),
            main_rendition_ids(&video.renditions).join(" "),
            text::format_time(video.create_time.as_ref()),
            video.display_name.clone(),
        ]
    };
    let header = ["NAME", "STATE", "LENGTH", "SIZE", "RENDITIONS", "CREATED (UTC)", "TITLE"];
    format_table(&header, &videos.iter().map(row).collect::<Vec<_>>(), columns())
}

/// The state with the failure's reason or the progress.
fn state_column(video: &Video) -> String {
    let state = video.state().as_str_name();
    let playable = if video.playable && video.state() == State::Processing { " playable" } else { "" };
    match (&video.progress, &video.failure) {
        (_, Some(failure)) => format!("{state} {}", failure.reason),
        (Some(progress), None) => format!("{state} {:.0}%{playable}", progress.percent),
        (None, None) => format!("{state}{playable}"),
    }
}

/// `jobs`: lists the caller's jobs.
pub async fn jobs(server: &Server, console: Console, args: &JobsArgs) -> Result<(), ClientError> {
    let states = args.state.iter().map(|state| match state {
        JobState::Queued => job::State::Queued,
        JobState::Running => job::State::Running,
        JobState::Succeeded => job::State::Succeeded,
        JobState::Failed => job::State::Failed,
        JobState::Cancelled => job::State::Cancelled,
    });
    let hours = args.last_hours.map(|hours| Duration::from_secs(3600 * u64::from(hours)));
    let created_after = hours.and_then(|hours| SystemTime::now().checked_sub(hours)).map(Into::into);
    let filter = ListJobsRequest {
        page_size: PAGE_SIZE,
        states: states.map(i32::from).collect(),
        video: args.video.clone().unwrap_or_default(),
        created_after,
        order_by: if args.oldest_first { "create_time" } else { "create_time desc" }.to_owned(),
        ..ListJobsRequest::default()
    };
    let mut all = ListJobsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest { page_token, ..filter.clone() };
        let page = server
            .call(async |channel| TranscodeServiceClient::new(channel).list_jobs(request.clone()).await)
            .await?;
        all.jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let text = if all.jobs.is_empty() { "no jobs".to_owned() } else { job_table(&all.jobs) };
    console.result("reelmill.transcode.v1.ListJobsResponse", &all, &text)
}

fn job_table(jobs: &[Job]) -> String {
    let row = |job: &Job| {
        let progress = job.progress.unwrap_or_default();
        let failure = job.failure.as_ref().map(|failure| format!("{}: {}", failure.reason, failure.message));
        vec![
            job.name.clone(),
            job.state().as_str_name().to_owned(),
            format!("{:.0}%", progress.percent),
            match job.queue_position {
                0 => text::format_duration(progress.eta.as_ref()),
                position => {
                    format!("number {position}, {}", text::format_time(job.estimated_end_time.as_ref()))
                }
            },
            text::format_time(job.create_time.as_ref()),
            job.video.clone(),
            failure.unwrap_or_default(),
        ]
    };
    let header = ["NAME", "STATE", "DONE", "ETA", "CREATED (UTC)", "VIDEO", "FAILURE"];
    format_table(&header, &jobs.iter().map(row).collect::<Vec<_>>(), columns())
}

#[cfg(test)]
mod tests {
    use reelmill_proto::transcode::{Failure, Progress};

    use super::*;

    fn processing() -> Video {
        Video {
            name: "videos/a".into(),
            state: State::Processing.into(),
            progress: Some(Progress { percent: 41.7, ..Progress::default() }),
            display_name: "evil\x1b[2Jtitle".into(),
            ..Video::default()
        }
    }

    #[test]
    fn video_table_processing_video_shows_progress_and_sanitized_title() {
        let table = video_table(&[processing()]);
        assert!(table.contains("PROCESSING 42%") && !table.contains('\x1b'), "{table}");
        assert!(!table.contains("playable"), "{table}");
    }

    #[test]
    fn video_table_playable_video_is_marked() {
        let playable = Video { playable: true, ..processing() };
        assert!(video_table(&[playable]).contains("PROCESSING 42% playable"));
    }

    #[test]
    fn video_table_failed_video_shows_the_reason() {
        let failure = Failure { reason: "NOT_A_VIDEO".into(), message: String::new() };
        let failed =
            Video { state: State::Failed.into(), failure: Some(failure), playable: true, ..processing() };
        assert!(video_table(&[failed]).contains("FAILED NOT_A_VIDEO"));
    }

    #[test]
    fn job_table_shows_the_job() {
        let job = Job { name: "jobs/j".into(), video: "videos/a".into(), ..Job::default() };
        assert!(job_table(&[job]).contains("jobs/j"));
    }
}
