//! Following a video until it plays or has failed: `watch`, and the second half of `upload`.

use std::time::{Duration, Instant};

use reelmill_proto::upload::{
    Video, WatchVideoRequest, video::State, video_service_client::VideoServiceClient,
};
use tonic::{Code, Status};

use crate::{
    ClientError, Until,
    bars::VideoBars,
    library,
    output::Console,
    retry::{self, PATIENCE},
    server::Server,
    text,
};

/// Full name of the message that `upload` and `watch` print.
pub const VIDEO: &str = "reelmill.upload.v1.Video";

/// `watch`: follows a video and prints what has become of it.
pub async fn watch(server: &Server, console: Console, name: &str, until: Until) -> Result<(), ClientError> {
    let video = follow(server, console, name, until).await?;
    console.result(VIDEO, &video, &summary(&video))?;
    failure_of(&video).map_or(Ok(()), Err)
}

/// Follows a video until it is as far as wanted, or FAILED, and returns it. A lost connection is made again; a
/// server that stays away for a minute is given up.
pub async fn follow(
    server: &Server,
    console: Console,
    name: &str,
    until: Until,
) -> Result<Video, ClientError> {
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
                    let now = change.video.unwrap_or_else(|| last.clone());
                    if let Some(news) = playable_news(&last, &now) {
                        bars.tell(&news);
                    }
                    last = now;
                    bars.show(&last);
                    away = Away::default();
                    if is_reached(&last, until) {
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

fn is_reached(video: &Video, until: Until) -> bool {
    matches!(video.state(), State::Ready | State::Failed) || (until == Until::Playable && video.playable)
}

/// What to say when a video that is still being encoded has become playable.
fn playable_news(before: &Video, now: &Video) -> Option<String> {
    let is_news = now.playable && !before.playable && now.state() == State::Processing;
    is_news.then(|| text::harmless(&format!("{}: {}", playable_after(now), now.playback_uri)))
}

fn playable_after(video: &Video) -> String {
    match video.time_to_playable_seconds {
        seconds if seconds > 0.0 => format!("playable after {seconds:.1} s"),
        // Older videos have no such time.
        _ => "playable".to_owned(),
    }
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
        let (id, size) = (&rendition.rendition_id, text::size(rendition.size_bytes));
        lines.push(format!("  {id:>6}  {}  {size}", library::shape(rendition)));
    }
    for warning in &video.warnings {
        lines.push(format!("  warning: {} ({})", warning.message, warning.reason));
    }
    // Of a READY video that goes without saying, but for how soon it was.
    if video.playable && (video.state() != State::Ready || video.time_to_playable_seconds > 0.0) {
        lines.push(format!("  {}", playable_after(video)));
    }
    if !video.playback_uri.is_empty() {
        lines.push(video.playback_uri.clone());
    }
    lines.iter().map(|line| text::harmless(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use reelmill_proto::transcode::{Failure, Rendition, Warning, rendition};

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
    fn a_summary_tells_warnings_and_when_it_could_be_played() {
        let audio = Rendition {
            rendition_id: "audio-0".into(),
            kind: rendition::Kind::Audio.into(),
            channels: 2,
            language: "deu".into(),
            ..Rendition::default()
        };
        let warning = Warning { reason: "AUDIO_SHORT".into(), message: "the sound\x1b[2J ends early".into() };
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
        let told = summary(&video);
        assert!(told.contains("  audio-0  2 channels deu  "), "{told}");
        assert!(told.contains("ends early (AUDIO_SHORT)\n  playable after 2.1 s\nhttp://h/"), "{told}");
        assert!(!told.contains('\x1b'));
        let news = playable_news(&Video::default(), &video).unwrap();
        assert_eq!(news, "playable after 2.1 s: http://h/play/t/master.m3u8");
        assert_eq!(playable_news(&video, &video), None, "it was told before");
        let ready = Video { state: State::Ready.into(), ..video };
        assert_eq!(playable_news(&Video::default(), &ready), None, "the summary tells it");
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
