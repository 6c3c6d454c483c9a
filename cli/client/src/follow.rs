//! Following a video until it plays or has failed: `watch`, and the second half of `upload`.

use std::time::{Duration, Instant};

use reelmill_proto::upload::{
    Video, WatchVideoRequest, video::State, video_service_client::VideoServiceClient,
};
use tonic::{Code, Status};

use crate::{
    ClientError,
    bars::VideoBars,
    output::Console,
    retry::{self, PATIENCE},
    server::Server,
    text,
};

/// Full name of the message that `upload` and `watch` print.
pub const VIDEO: &str = "reelmill.upload.v1.Video";

/// `watch`: follows a video and prints what has become of it.
pub async fn watch(server: &Server, console: Console, name: &str) -> Result<(), ClientError> {
    let video = follow(server, console, name).await?;
    console.result(VIDEO, &video, &summary(&video))?;
    failure_of(&video).map_or(Ok(()), Err)
}

/// Follows a video until it is READY or FAILED, and returns it. A lost connection is made again; a
/// server that stays away for a minute is given up.
pub async fn follow(server: &Server, console: Console, name: &str) -> Result<Video, ClientError> {
    let mut bars = VideoBars::new(console);
    let mut last = Video::default();
    let mut away = Away::default();
    loop {
        let request = WatchVideoRequest { name: name.to_owned(), revision: last.revision };
        let mut changes = server
            .signed_in(async |channel| VideoServiceClient::new(channel).watch_video(request.clone()).await)
            .await?;
        let opened = Instant::now();
        let end = loop {
            match changes.message().await {
                Ok(Some(change)) => {
                    last = change.video.unwrap_or(last);
                    bars.show(&last);
                    away = Away::default();
                    if is_terminal(&last) {
                        return Ok(last);
                    }
                }
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        if let Some(status) = end.as_ref().filter(|status| is_final(status.code())) {
            return Err(server.explain(status));
        }
        if opened.elapsed() > STEADY {
            away = Away::default();
        }
        bars.say("connection lost, trying again");
        let pause = away.pause().ok_or_else(|| gave_up(server, end))?;
        tokio::time::sleep(pause).await;
    }
}

/// A watch that lasted longer shows that the server is there, even when nothing changed meanwhile.
const STEADY: Duration = Duration::from_secs(5);

/// For how long watches have broken without a word.
#[derive(Default)]
struct Away {
    since: Option<Instant>,
    breaks: u32,
}

impl Away {
    fn pause(&mut self) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let pause = retry::backoff(self.breaks);
        self.breaks += 1;
        (since.elapsed() < PATIENCE).then_some(pause)
    }
}

fn gave_up(server: &Server, end: Option<Status>) -> ClientError {
    let cause =
        end.map_or_else(|| "the watch ends again and again".to_owned(), |status| status.message().to_owned());
    ClientError::Unreachable { server: server.address().to_owned(), cause }
}

/// Whether a watch that ended so would end so again. What the connection or a restart broke would
/// not; nor would an access token's end, since the next watch shows a new one.
fn is_final(code: Code) -> bool {
    !matches!(
        code,
        Code::Unavailable
            | Code::Unauthenticated
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
    )
}

fn is_terminal(video: &Video) -> bool {
    matches!(video.state(), State::Ready | State::Failed)
}

/// Why a FAILED video failed, as the command's own failure.
pub fn failure_of(video: &Video) -> Option<ClientError> {
    (video.state() == State::Failed).then(|| {
        let failure = video.failure.clone().unwrap_or_default();
        ClientError::failed(failure.reason, format!("{} failed: {}", video.name, failure.message))
    })
}

/// The video in a few lines for people, its playback address last.
pub fn summary(video: &Video) -> String {
    let mut lines = vec![format!("{}  {}  {}", video.name, video.state().as_str_name(), video.display_name)];
    for rendition in &video.renditions {
        lines.push(format!(
            "  {:>6}  {}x{}  {}",
            rendition.rendition_id,
            rendition.width,
            rendition.height,
            text::size(rendition.size_bytes)
        ));
    }
    if !video.playback_uri.is_empty() {
        lines.push(video.playback_uri.clone());
    }
    lines.iter().map(|line| text::harmless(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use reelmill_proto::transcode::{Failure, Rendition};

    use super::*;

    #[test]
    fn a_summary_ends_with_the_playback_address() {
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
    fn a_failed_video_fails_the_command_with_its_reason() {
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

    #[test]
    fn only_refusals_end_a_watch() {
        assert!(is_final(Code::NotFound) && is_final(Code::PermissionDenied));
        assert!(!is_final(Code::Unavailable) && !is_final(Code::Unauthenticated));
    }
}
