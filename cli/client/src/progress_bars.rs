//! Progress bars on stderr; hidden if stderr is not a terminal.

use std::{collections::BTreeMap, sync::Arc};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use reelmill_proto::{
    transcode::{Progress, Rendition, rendition},
    upload::{Video, video},
};

use crate::{console::Console, text, video::waiting_text};

const BYTES_TEMPLATE: &str =
    "{prefix} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} ETA {eta} {msg}";
const PERCENT_TEMPLATE: &str = "{prefix:>6} [{bar:30}] {msg}";

/// Longest text of what a video waits for, characters.
const MAX_WAITING_CHARS: usize = 100;

/// Progress of a file transfer, shared by its concurrent requests.
#[derive(Clone)]
pub struct ByteBar {
    bar: ProgressBar,
}

impl ByteBar {
    /// A bar of `total` bytes, of which `done` were transferred earlier and don't count for the rate.
    pub fn new(console: Console, title: &str, total: u64, done: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target(console));
        bar.set_style(style(BYTES_TEMPLATE));
        bar.set_prefix(text::truncate(&text::sanitize(title), 30));
        bar.set_position(done);
        bar.reset_eta();
        Self { bar }
    }

    /// Counts transferred bytes.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Subtracts bytes that have to be sent again.
    pub fn subtract(&self, bytes: u64) {
        self.bar.dec(bytes);
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Progress of a video: one bar for each rendition and one for the total.
pub struct VideoBars {
    bars: Arc<MultiProgress>,
    total: ProgressBar,
    renditions: BTreeMap<String, ProgressBar>,
}

impl VideoBars {
    /// Bars for a video whose state is not known yet.
    pub fn new(console: Console) -> Self {
        let bars = Arc::new(MultiProgress::with_draw_target(target(console)));
        let total = bars.add(percent_bar("total"));
        Self { bars, total, renditions: BTreeMap::new() }
    }

    /// Shows the current state of the video.
    pub fn update(&mut self, video: &Video) {
        let progress = video.progress.unwrap_or_default();
        let message = match video.state() {
            video::State::Uploading => "waiting for its file".to_owned(),
            video::State::Processing if video.waiting.is_some() => {
                let waiting = video.waiting.clone().unwrap_or_default();
                text::truncate(&text::sanitize(&waiting_text(&waiting)), MAX_WAITING_CHARS)
            }
            video::State::Processing if video.renditions.is_empty() => "waiting for a worker".to_owned(),
            video::State::Ready => "ready".to_owned(),
            video::State::Processing if video.playable => {
                format!("{}  playable", progress_message(&progress))
            }
            _ => progress_message(&progress),
        };
        let percent = match video.state() {
            video::State::Ready => Some(100.0),
            _ => video.progress.map(|progress| progress.percent),
        };
        set(&self.total, percent, message);
        for rendition in &video.renditions {
            let bars = &self.bars;
            let bar = self.renditions.entry(rendition.rendition_id.clone()).or_insert_with(|| {
                bars.add(percent_bar(&text::truncate(&text::sanitize(&rendition.rendition_id), 8)))
            });
            update_rendition(bar, rendition);
        }
    }

    /// Prints a permanent line above the bars.
    pub fn print_above(&self, line: &str) {
        // Errors are ignored: there is no other channel to report them on.
        let _ = self.bars.println(line);
    }

    /// Replaces the message of the total, for example when the connection is lost.
    pub fn set_message(&self, message: &str) {
        self.total.set_message(message.to_owned());
    }
}

impl Drop for VideoBars {
    fn drop(&mut self) {
        for bar in self.renditions.values().chain([&self.total]) {
            bar.finish_and_clear();
        }
    }
}

fn update_rendition(bar: &ProgressBar, rendition: &Rendition) {
    let progress = rendition.progress.unwrap_or_default();
    let percent = rendition.progress.map(|progress| progress.percent);
    match rendition.state() {
        rendition::State::Ready => set(bar, Some(100.0), "ready".to_owned()),
        rendition::State::Failed => set(bar, percent, "failed".to_owned()),
        rendition::State::Pending | rendition::State::Unspecified => set(bar, None, "waiting".to_owned()),
        rendition::State::Encoding => set(bar, percent, progress_message(&progress)),
    }
}

fn progress_message(progress: &Progress) -> String {
    let mut message = format!("{:5.1}%", progress.percent);
    if progress.fps > 0.0 {
        message.push_str(&format!("  {:.0} fps  {:.2}x", progress.fps, progress.speed));
    }
    if progress.eta.is_some() {
        message.push_str(&format!("  ETA {}", text::format_duration(progress.eta.as_ref())));
    }
    message
}

/// Keeps the position if the percentage is unknown, as shortly after a restart of the server.
fn set(bar: &ProgressBar, percent: Option<f64>, message: String) {
    if let Some(percent) = percent {
        // A float cast saturates, so that an invalid value can't break the bar.
        bar.set_position((percent.clamp(0.0, 100.0) * 10.0) as u64);
    }
    bar.set_message(message);
}

fn percent_bar(prefix: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::hidden());
    bar.set_style(style(PERCENT_TEMPLATE));
    bar.set_prefix(prefix.to_owned());
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well-formed").progress_chars("=> ")
}

fn target(console: Console) -> ProgressDrawTarget {
    if console.shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_accepts_every_template() {
        style(BYTES_TEMPLATE);
        style(PERCENT_TEMPLATE);
    }

    #[test]
    fn progress_message_shows_speed_and_eta_if_known() {
        let eta = Some(reelmill_proto::duration(std::time::Duration::from_secs(32)));
        let progress =
            Progress { percent: 57.25, frames: 9, fps: 48.2, speed: 1.607, eta, segments_ready: 2 };
        assert_eq!(progress_message(&progress), " 57.2%  48 fps  1.61x  ETA 0:32");
        assert_eq!(progress_message(&Progress::default()), "  0.0%");
    }

    #[test]
    fn update_shows_the_state_of_the_video_and_its_renditions() {
        let mut bars = VideoBars::new(Console::new(true));
        let encoding = Rendition {
            rendition_id: "720p".into(),
            state: rendition::State::Encoding.into(),
            progress: Some(Progress { percent: 250.0, ..Progress::default() }),
            ..Rendition::default()
        };
        bars.update(&Video { renditions: vec![encoding], ..Video::default() });
        assert_eq!(bars.renditions["720p"].position(), 1000);
        assert_eq!(bars.total.message(), "  0.0%");
        let playable = Video { state: video::State::Processing.into(), playable: true, ..Video::default() };
        bars.update(&Video { renditions: vec![Rendition::default()], ..playable });
        assert_eq!(bars.total.message(), "  0.0%  playable");
        bars.update(&Video { state: video::State::Ready.into(), ..Video::default() });
        assert_eq!((bars.total.position(), bars.total.message().as_str()), (1000, "ready"));
    }
}
