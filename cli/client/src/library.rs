//! `videos`, `jobs`, `delete`.

use std::io::{self, BufRead as _, Write as _};

use reelmill_proto::{
    transcode::{
        Job, ListJobsRequest, ListJobsResponse, Rendition, rendition::Kind,
        transcode_service_client::TranscodeServiceClient,
    },
    upload::{
        DeleteVideoRequest, DeleteVideoResponse, GetVideoRequest, ListVideosRequest, ListVideosResponse,
        Video, video::State, video_service_client::VideoServiceClient,
    },
};

use crate::{
    ClientError,
    output::{Console, columns},
    server::Server,
    text,
};

const PAGE_SIZE: i32 = 200;

/// `videos`: all of the caller's videos, the newest first.
pub async fn videos(server: &Server, console: Console) -> Result<(), ClientError> {
    let mut all = ListVideosResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListVideosRequest { page_size: PAGE_SIZE, page_token };
        let page = server
            .signed_in(async |channel| VideoServiceClient::new(channel).list_videos(request.clone()).await)
            .await?;
        all.videos.extend(page.videos);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let people = if all.videos.is_empty() { "no videos yet".to_owned() } else { video_table(&all.videos) };
    console.result("reelmill.upload.v1.ListVideosResponse", &all, &people)
}

fn video_table(videos: &[Video]) -> String {
    let row = |video: &Video| {
        vec![
            video.name.clone(),
            state_of(video),
            text::length(video.duration.as_ref()),
            text::size(video.size_bytes),
            rungs(&video.renditions).join(" "),
            text::moment(video.create_time.as_ref()),
            video.display_name.clone(),
        ]
    };
    let head = ["NAME", "STATE", "LENGTH", "SIZE", "RENDITIONS", "MADE (UTC)", "TITLE"];
    text::table(&head, &videos.iter().map(row).collect::<Vec<_>>(), columns())
}

/// Whether a rendition is a rung of the ladder. Servers did not always tell: then there were no others.
pub fn is_rung(rendition: &Rendition) -> bool {
    matches!(rendition.kind(), Kind::Video | Kind::Unspecified)
}

/// The rungs by name; of a video without picture its sound.
fn rungs(renditions: &[Rendition]) -> Vec<&str> {
    let has_picture = renditions.iter().any(is_rung);
    let shown = renditions.iter().filter(|rendition| is_rung(rendition) || !has_picture);
    shown.map(|rendition| rendition.rendition_id.as_str()).collect()
}

/// What a rendition is like: its size in pixels, or its channels and language.
pub fn shape(rendition: &Rendition) -> String {
    let language = &rendition.language;
    match rendition.kind() {
        Kind::Video | Kind::Unspecified => format!("{}x{}", rendition.width, rendition.height),
        Kind::Audio if rendition.channels == 1 => format!("1 channel {language}").trim_end().to_owned(),
        Kind::Audio => format!("{} channels {language}", rendition.channels).trim_end().to_owned(),
        Kind::Subtitles => format!("subtitles {language}").trim_end().to_owned(),
    }
}

fn state_of(video: &Video) -> String {
    let state = video.state().as_str_name();
    let playable = if video.playable && video.state() == State::Processing { " playable" } else { "" };
    match (&video.progress, &video.failure) {
        (_, Some(failure)) => format!("{state} {}", failure.reason),
        (Some(progress), None) => format!("{state} {:.0}%{playable}", progress.percent),
        (None, None) => format!("{state}{playable}"),
    }
}

/// `jobs`: all of the caller's jobs, the newest first.
pub async fn jobs(server: &Server, console: Console) -> Result<(), ClientError> {
    let mut all = ListJobsResponse::default();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest { page_size: PAGE_SIZE, page_token };
        let page = server
            .signed_in(async |channel| TranscodeServiceClient::new(channel).list_jobs(request.clone()).await)
            .await?;
        all.jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let people = if all.jobs.is_empty() { "no jobs yet".to_owned() } else { job_table(&all.jobs) };
    console.result("reelmill.transcode.v1.ListJobsResponse", &all, &people)
}

fn job_table(jobs: &[Job]) -> String {
    let row = |job: &Job| {
        let progress = job.progress.unwrap_or_default();
        let failure = job.failure.as_ref().map(|failure| format!("{}: {}", failure.reason, failure.message));
        vec![
            job.name.clone(),
            job.state().as_str_name().to_owned(),
            format!("{:.0}%", progress.percent),
            text::length(progress.eta.as_ref()),
            text::moment(job.create_time.as_ref()),
            job.video.clone(),
            failure.unwrap_or_default(),
        ]
    };
    let head = ["NAME", "STATE", "DONE", "ETA", "MADE (UTC)", "VIDEO", "FAILURE"];
    text::table(&head, &jobs.iter().map(row).collect::<Vec<_>>(), columns())
}

/// Returns one video.
pub async fn get(server: &Server, name: &str) -> Result<Video, ClientError> {
    let request = GetVideoRequest { name: name.to_owned() };
    let answer = server
        .signed_in(async |channel| VideoServiceClient::new(channel).get_video(request.clone()).await)
        .await?;
    answer.video.ok_or_else(|| ClientError::failed("ANSWER_INVALID", "the server answered without a video"))
}

/// `delete`: removes a video, after asking where there is somebody to ask.
pub async fn delete(server: &Server, console: Console, name: &str, yes: bool) -> Result<(), ClientError> {
    if !yes && !console.is_json() && console.can_ask() {
        let video = get(server, name).await?;
        confirm(&format!("Delete {name}, \"{}\"? [y/N] ", text::harmless(&video.display_name)))?;
    }
    let request = DeleteVideoRequest { name: name.to_owned() };
    server
        .signed_in(async |channel| VideoServiceClient::new(channel).delete_video(request.clone()).await)
        .await?;
    console.result(
        "reelmill.upload.v1.DeleteVideoResponse",
        &DeleteVideoResponse {},
        &format!("deleted {name}"),
    )
}

fn confirm(question: &str) -> Result<(), ClientError> {
    let mut answer = String::new();
    write!(io::stderr(), "{question}")
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| ClientError::usage("PROMPT_FAILED", format!("the terminal: {error}")))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(ClientError::failed("NOT_CONFIRMED", "nothing was deleted"))
}

#[cfg(test)]
mod tests {
    use reelmill_proto::transcode::{Failure, Progress};

    use super::*;

    #[test]
    fn only_pictures_are_rungs_where_there_are_any() {
        let rendition = |id: &str, kind: Kind| Rendition {
            rendition_id: id.into(),
            kind: kind.into(),
            ..Rendition::default()
        };
        let sound = || [rendition("audio-0", Kind::Audio), rendition("audio-1", Kind::Audio)];
        assert_eq!(rungs(&sound()), ["audio-0", "audio-1"]);
        let mut all = sound().to_vec();
        all.extend([rendition("720p", Kind::Video), rendition("360p", Kind::Unspecified)]);
        assert_eq!(rungs(&all), ["720p", "360p"]);
    }

    #[test]
    fn a_row_tells_state_and_why() {
        let mut video =
            Video { name: "videos/a".into(), state: State::Processing.into(), ..Video::default() };
        video.progress = Some(Progress { percent: 41.7, ..Progress::default() });
        video.display_name = "evil\x1b[2Jtitle".into();
        let table = video_table(&[video.clone()]);
        assert!(table.contains("PROCESSING 42%") && !table.contains('\x1b'), "{table}");
        assert!(!table.contains("playable"), "{table}");
        video.playable = true;
        assert!(video_table(&[video.clone()]).contains("PROCESSING 42% playable"));
        video.state = State::Failed.into();
        video.failure = Some(Failure { reason: "NOT_A_VIDEO".into(), message: String::new() });
        assert!(video_table(&[video]).contains("FAILED NOT_A_VIDEO"));
        let job = Job { name: "jobs/j".into(), video: "videos/a".into(), ..Job::default() };
        assert!(job_table(&[job]).contains("jobs/j"));
    }
}
