//! Live progress on stderr; nothing where stderr is no terminal.

use std::{collections::BTreeMap, sync::Arc};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use reelmill_proto::{
    transcode::{Progress, Rendition, rendition},
    upload::{Video, video},
};

use crate::{output::Console, text};

const BYTES: &str =
    "{prefix} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} ETA {eta} {msg}";
const PERCENT: &str = "{prefix:>6} [{bar:30}] {msg}";

/// A bar of bytes that several transfers move at once.
#[derive(Clone)]
pub struct ByteBar {
    bar: ProgressBar,
}

impl ByteBar {
    /// A bar of `total` bytes, of which `done` are there already and don't count for the rate.
    pub fn new(console: Console, title: &str, total: u64, done: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target(console));
        bar.set_style(style(BYTES));
        bar.set_prefix(text::cut(&text::harmless(title), 30));
        bar.set_position(done);
        bar.reset_eta();
        Self { bar }
    }

    /// Bytes went over.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Bytes went over in vain and will be sent again.
    pub fn take_back(&self, bytes: u64) {
        self.bar.dec(bytes);
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// One bar for each rendition of a video, and one for the whole.
pub struct VideoBars {
    all: Arc<MultiProgress>,
    whole: ProgressBar,
    renditions: BTreeMap<String, ProgressBar>,
}

impl VideoBars {
    /// Bars for a video that nothing is known of yet.
    pub fn new(console: Console) -> Self {
        let all = Arc::new(MultiProgress::with_draw_target(target(console)));
        let whole = all.add(percent_bar("all"));
        Self { all, whole, renditions: BTreeMap::new() }
    }

    /// Shows the video as it is now.
    pub fn show(&mut self, video: &Video) {
        let progress = video.progress.unwrap_or_default();
        let words = match video.state() {
            video::State::Uploading => "waiting for its file".to_owned(),
            video::State::Processing if video.renditions.is_empty() => "waiting for a worker".to_owned(),
            video::State::Ready => "ready".to_owned(),
            video::State::Processing if video.playable => format!("{}  playable", words_of(&progress)),
            _ => words_of(&progress),
        };
        let percent = match video.state() {
            video::State::Ready => Some(100.0),
            _ => video.progress.map(|progress| progress.percent),
        };
        set(&self.whole, percent, words);
        for rendition in &video.renditions {
            let all = &self.all;
            let bar = self.renditions.entry(rendition.rendition_id.clone()).or_insert_with(|| {
                all.add(percent_bar(&text::cut(&text::harmless(&rendition.rendition_id), 8)))
            });
            show_rendition(bar, rendition);
        }
    }

    /// Tells something that stays, above the bars.
    pub fn tell(&self, line: &str) {
        // That nobody can read it is no reason to fail.
        let _ = self.all.println(line);
    }

    /// Says something that is no progress, as that the connection is lost.
    pub fn say(&self, words: &str) {
        self.whole.set_message(words.to_owned());
    }
}

impl Drop for VideoBars {
    fn drop(&mut self) {
        for bar in self.renditions.values().chain([&self.whole]) {
            bar.finish_and_clear();
        }
    }
}

fn show_rendition(bar: &ProgressBar, rendition: &Rendition) {
    let progress = rendition.progress.unwrap_or_default();
    let percent = rendition.progress.map(|progress| progress.percent);
    match rendition.state() {
        rendition::State::Ready => set(bar, Some(100.0), "ready".to_owned()),
        rendition::State::Failed => set(bar, percent, "failed".to_owned()),
        rendition::State::Pending | rendition::State::Unspecified => set(bar, None, "waiting".to_owned()),
        rendition::State::Encoding => set(bar, percent, words_of(&progress)),
    }
}

fn words_of(progress: &Progress) -> String {
    let mut words = format!("{:5.1}%", progress.percent);
    if progress.fps > 0.0 {
        words.push_str(&format!("  {:.0} fps  {:.2}x", progress.fps, progress.speed));
    }
    if progress.eta.is_some() {
        words.push_str(&format!("  ETA {}", text::length(progress.eta.as_ref())));
    }
    words
}

/// Where the percent is not known, as for a moment after a restart, the bar stays where it is.
fn set(bar: &ProgressBar, percent: Option<f64>, words: String) {
    if let Some(percent) = percent {
        // A float cast saturates, so that a wrong figure can't break the bar.
        bar.set_position((percent.clamp(0.0, 100.0) * 10.0) as u64);
    }
    bar.set_message(words);
}

fn percent_bar(prefix: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::hidden());
    bar.set_style(style(PERCENT));
    bar.set_prefix(prefix.to_owned());
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well-formed").progress_chars("=> ")
}

fn target(console: Console) -> ProgressDrawTarget {
    if console.is_live() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_well_formed_and_progress_reads_well() {
        style(BYTES);
        style(PERCENT);
        let eta = Some(reelmill_proto::duration(std::time::Duration::from_secs(32)));
        let progress =
            Progress { percent: 57.25, frames: 9, fps: 48.2, speed: 1.607, eta, segments_ready: 2 };
        assert_eq!(words_of(&progress), " 57.2%  48 fps  1.61x  ETA 0:32");
        assert_eq!(words_of(&Progress::default()), "  0.0%");
    }

    #[test]
    fn bars_follow_a_video() {
        let mut bars = VideoBars::new(Console::new(true));
        let encoding = Rendition {
            rendition_id: "720p".into(),
            state: rendition::State::Encoding.into(),
            progress: Some(Progress { percent: 250.0, ..Progress::default() }),
            ..Rendition::default()
        };
        bars.show(&Video { renditions: vec![encoding], ..Video::default() });
        assert_eq!(bars.renditions["720p"].position(), 1000);
        assert_eq!(bars.whole.message(), "  0.0%");
        let playable = Video { state: video::State::Processing.into(), playable: true, ..Video::default() };
        bars.show(&Video { renditions: vec![Rendition::default()], ..playable });
        assert_eq!(bars.whole.message(), "  0.0%  playable");
        bars.show(&Video { state: video::State::Ready.into(), ..Video::default() });
        assert_eq!((bars.whole.position(), bars.whole.message().as_str()), (1000, "ready"));
    }
}
