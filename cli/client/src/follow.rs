//! Following a video until it is playable, READY or FAILED: `watch`, and the second half of `upload`.

use std::time::{Duration, Instant};

use reelmill_proto::upload::{
    Video, WatchVideoRequest, WatchVideoResponse, video::State, video_service_client::VideoServiceClient,
};
use tonic::{Code, Status, Streaming};

use crate::{
    args::Until,
    console::Console,
    error::ClientError,
    progress_bars::VideoBars,
    retry::{Backoff, MAX_OUTAGE},
    server::Server,
    text,
    video::{self, VIDEO_MESSAGE},
};

/// A stream that lasted longer shows that the server is reachable, even if it sent no update.
const MIN_STABLE_STREAM: Duration = Duration::from_secs(5);

/// `watch`: follows a video and prints its last state.
pub async fn watch(server: &Server, console: Console, name: &str, until: Until) -> Result<(), ClientError> {
    let video = follow(server, console, name, until).await?;
    console.result(VIDEO_MESSAGE, &video, &video::summary(&video))?;
    video::failure_of(&video).map_or(Ok(()), Err)
}

/// Follows a video until it has the wanted state or is FAILED, and returns it. Reconnects after a lost
/// connection, and gives up if the server is unreachable for [`MAX_OUTAGE`].
pub async fn follow(
    server: &Server,
    console: Console,
    name: &str,
    until: Until,
) -> Result<Video, ClientError> {
    let mut bars = VideoBars::new(console);
    let mut last = Video::default();
    let mut outage = Outage::new();
    loop {
        let request = WatchVideoRequest { name: name.to_owned(), revision: last.revision };
        let updates = server
            .call(async |channel| VideoServiceClient::new(channel).watch_video(request.clone()).await)
            .await?;
        let opened = Instant::now();
        let end = read_updates(updates, &mut last, until, &mut bars, &mut outage).await;
        let end = match end {
            StreamEnd::Done => return Ok(last),
            StreamEnd::Broken(Some(status)) if is_final(status.code()) => {
                return Err(server.error_of(&status));
            }
            StreamEnd::Broken(status) => status,
        };
        if opened.elapsed() > MIN_STABLE_STREAM {
            outage = Outage::new();
        }
        bars.set_message("connection lost, reconnecting");
        let delay = outage.next_delay().ok_or_else(|| outage_error(server, end))?;
        tokio::time::sleep(delay).await;
    }
}

/// How a stream of updates ended.
enum StreamEnd {
    /// The video has the wanted state.
    Done,
    /// The stream ended early, with a status if there was an error.
    Broken(Option<Status>),
}

/// Shows updates and keeps the last one until the video has the wanted state or the stream ends.
async fn read_updates(
    mut updates: Streaming<WatchVideoResponse>,
    last: &mut Video,
    until: Until,
    bars: &mut VideoBars,
    outage: &mut Outage,
) -> StreamEnd {
    loop {
        let video = match updates.message().await {
            Ok(Some(update)) => update.video.unwrap_or_else(|| last.clone()),
            Ok(None) => return StreamEnd::Broken(None),
            Err(status) => return StreamEnd::Broken(Some(status)),
        };
        if let Some(notice) = playable_notice(last, &video) {
            bars.print_above(&notice);
        }
        *last = video;
        bars.update(last);
        *outage = Outage::new();
        if is_done(last, until) {
            return StreamEnd::Done;
        }
    }
}

/// A series of streams that broke without an update.
struct Outage {
    /// When the first of them broke.
    since: Option<Instant>,
    backoff: Backoff,
}

impl Outage {
    fn new() -> Self {
        Self { since: None, backoff: Backoff::new() }
    }

    /// The delay before the next attempt, or `None` after [`MAX_OUTAGE`].
    fn next_delay(&mut self) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let delay = self.backoff.next_delay();
        (since.elapsed() < MAX_OUTAGE).then_some(delay)
    }
}

fn outage_error(server: &Server, end: Option<Status>) -> ClientError {
    let cause = end.map_or_else(
        || "the server repeatedly ended the stream of updates".to_owned(),
        |status| status.message().to_owned(),
    );
    ClientError::Unreachable { server: server.address().to_owned(), cause }
}

/// Whether a new stream would end with the same status. A broken connection or a restart is temporary, and
/// so is an expired access token, since the next stream uses a new one.
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

/// Whether a command that follows the video is done.
fn is_done(video: &Video, until: Until) -> bool {
    matches!(video.state(), State::Ready | State::Failed) || (until == Until::Playable && video.playable)
}

/// What to print when a video becomes playable while it is still being encoded.
fn playable_notice(before: &Video, now: &Video) -> Option<String> {
    let became_playable = now.playable && !before.playable && now.state() == State::Processing;
    became_playable.then(|| text::sanitize(&format!("{}: {}", video::playable_after(now), now.playback_uri)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn playable() -> Video {
        Video {
            name: "videos/a".into(),
            state: State::Processing.into(),
            playable: true,
            time_to_playable_seconds: 2.13,
            playback_uri: "http://h/play/t/master.m3u8".into(),
            ..Video::default()
        }
    }

    #[test]
    fn playable_notice_video_becomes_playable_returns_its_playback_url() {
        let notice = playable_notice(&Video::default(), &playable()).unwrap();
        assert_eq!(notice, "playable after 2.1 s: http://h/play/t/master.m3u8");
    }

    #[test]
    fn playable_notice_is_returned_only_once() {
        assert_eq!(playable_notice(&playable(), &playable()), None);
    }

    #[test]
    fn playable_notice_ready_video_returns_none() {
        let ready = Video { state: State::Ready.into(), ..playable() };
        assert_eq!(playable_notice(&Video::default(), &ready), None, "the summary shows it");
    }

    #[test]
    fn is_final_only_rejections_end_a_watch() {
        assert!(is_final(Code::NotFound) && is_final(Code::PermissionDenied));
        assert!(!is_final(Code::Unavailable) && !is_final(Code::Unauthenticated));
    }
}
