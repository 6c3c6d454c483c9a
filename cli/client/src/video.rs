//! One video: how it is fetched and described.

use reelmill_proto::{
    transcode::Waiting,
    upload::{GetVideoRequest, Video, video::State, video_service_client::VideoServiceClient},
};

use crate::{error::ClientError, reason::ClientReason, rendition, server::Server, text};

/// Full name of the message that `upload` and `watch` print.
pub const VIDEO_MESSAGE: &str = "reelmill.upload.v1.Video";

/// Fetches a video.
pub async fn get(server: &Server, name: &str) -> Result<Video, ClientError> {
    let request = GetVideoRequest { name: name.to_owned() };
    let response = server
        .call(async |channel| VideoServiceClient::new(channel).get_video(request.clone()).await)
        .await?;
    response.video.ok_or_else(missing_video)
}

/// The error for a response that should contain a video and does not.
pub fn missing_video() -> ClientError {
    ClientError::local(ClientReason::AnswerInvalid, "the server's response contains no video")
}

/// The error that a command ends with if the video has FAILED.
pub fn failure_of(video: &Video) -> Option<ClientError> {
    (video.state() == State::Failed).then(|| {
        let failure = video.failure.clone().unwrap_or_default();
        let message = format!("{} failed: {}", video.name, failure.message);
        ClientError::Failed { reason: failure.reason, message }
    })
}

/// How long after its upload the video became playable.
pub fn playable_after(video: &Video) -> String {
    match video.time_to_playable_seconds {
        seconds if seconds > 0.0 => format!("playable after {seconds:.1} s"),
        // Older videos have no such time.
        _ => "playable".to_owned(),
    }
}

/// What the video's job waits for.
pub fn waiting_text(waiting: &Waiting) -> String {
    format!("waiting: {} ({})", waiting.message, waiting.reason)
}

/// A few lines for people about the video; the last one is its playback URL.
pub fn summary(video: &Video) -> String {
    let mut lines = vec![format!("{}  {}  {}", video.name, video.state().as_str_name(), video.display_name)];
    for rendition in &video.renditions {
        let (id, size) = (&rendition.rendition_id, text::format_size(rendition.size_bytes));
        lines.push(format!("  {id:>6}  {}  {size}", rendition::describe(rendition)));
    }
    if let Some(waiting) = &video.waiting {
        lines.push(format!("  {}", waiting_text(waiting)));
    }
    for warning in &video.warnings {
        lines.push(format!("  warning: {} ({})", warning.message, warning.reason));
    }
    // A READY video is always playable, so that only the time is of interest.
    if video.playable && (video.state() != State::Ready || video.time_to_playable_seconds > 0.0) {
        lines.push(format!("  {}", playable_after(video)));
    }
    if !video.playback_uri.is_empty() {
        lines.push(video.playback_uri.clone());
    }
    lines.iter().map(|line| text::sanitize(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use reelmill_proto::transcode::{Failure, Rendition, Warning, rendition::Kind};

    use super::*;

    #[test]
    fn summary_ends_with_the_playback_url() {
        let video = Video {
            name: "videos/a".into(),
            display_name: "ti\ntle".into(),
            state: State::Ready.into(),
            renditions: vec![Rendition {
                rendition_id: "720p".into(),
                width: 1280,
                height: 720,
                ..Rendition::default()
            }],
            playback_uri: "http://h/p/t/master.m3u8".into(),
            ..Video::default()
        };
        let summary = summary(&video);
        assert_eq!(summary.lines().count(), 3, "{summary}");
        assert!(summary.ends_with("\nhttp://h/p/t/master.m3u8"));
        assert!(failure_of(&video).is_none());
    }

    #[test]
    fn summary_playable_video_shows_tracks_warnings_and_time_to_playable() {
        let audio = Rendition {
            rendition_id: "audio-0".into(),
            kind: Kind::Audio.into(),
            channels: 2,
            language: "deu".into(),
            ..Rendition::default()
        };
        let warning = Warning { reason: "AUDIO_SHORT".into(), message: "the audio\x1b[2J ends early".into() };
        let video = Video {
            name: "videos/a".into(),
            state: State::Processing.into(),
            renditions: vec![audio],
            warnings: vec![warning],
            playable: true,
            time_to_playable_seconds: 2.13,
            playback_uri: "http://h/play/t/master.m3u8".into(),
            ..Video::default()
        };
        let summary = summary(&video);
        assert!(summary.contains("  audio-0  2 channels deu  "), "{summary}");
        assert!(summary.contains("ends early (AUDIO_SHORT)\n  playable after 2.1 s\nhttp://h/"), "{summary}");
        assert!(!summary.contains('\x1b'));
    }

    #[test]
    fn failure_of_failed_video_is_its_reason_and_exit_code_1() {
        let failure = Failure { reason: "NOT_A_VIDEO".into(), message: "it is text".into() };
        let video = Video {
            name: "videos/a".into(),
            state: State::Failed.into(),
            failure: Some(failure),
            ..Video::default()
        };
        let error = failure_of(&video).unwrap();
        assert_eq!(
            (error.exit_code(), error.to_string().as_str()),
            (1, "videos/a failed: it is text (NOT_A_VIDEO)")
        );
    }
}
