//! What ffmpeg and ffprobe themselves show of a source, without anything of ours.

use std::path::Path;
use std::process::Command;

/// Pictures are compared at this size.
const SIDE: usize = 32;

/// One stream of a source, decoded to its end.
pub struct Reference {
    index: u32,
    /// When its last frame ends, seconds after the file begins.
    pub end: f64,
    /// Width over height of the picture as it is shown.
    pub aspect: f64,
    /// When each frame is shown, seconds after the file begins.
    times: Vec<f64>,
}

impl Reference {
    /// Decodes the stream.
    pub fn of(file: &Path, index: u32) -> Self {
        let stream = index.to_string();
        let about = ffprobe(
            file,
            &[
                "-select_streams",
                &stream,
                "-show_entries",
                "stream=width,height,sample_aspect_ratio,sample_rate,start_time,duration:stream_side_data=rotation:format=format_name",
            ],
        );
        let value = |key: &str| about.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let rate = value("sample_rate").and_then(|value| value.parse::<f64>().ok());
        let frames = ffprobe(
            file,
            &[
                "-select_streams",
                &stream,
                "-show_entries",
                "frame=best_effort_timestamp_time,pkt_duration_time,duration_time,nb_samples",
            ],
        );
        let start = start(file);
        let (mut times, mut end, mut step) = (Vec::new(), 0.0, 0.0);
        for (name, value) in &frames {
            let number = value.parse::<f64>().ok();
            match (name.as_str(), number) {
                // Where a frame has no time of its own it follows the one before.
                ("best_effort_timestamp_time", time) => {
                    let time = time.map_or(end, |time| time - start);
                    step = times.last().map_or(step, |last| time - last);
                    times.push(time);
                    end = time + step;
                }
                ("pkt_duration_time" | "duration_time", Some(seconds)) => end += seconds - step,
                ("nb_samples", Some(samples)) => {
                    end = times.last().copied().unwrap_or(0.0) + samples / rate.unwrap_or(48_000.0);
                }
                _ => {}
            }
            if let ("pkt_duration_time" | "duration_time", Some(seconds)) = (name.as_str(), number) {
                step = seconds;
            }
        }
        times.sort_by(f64::total_cmp);
        let number = |key: &str| value(key).and_then(|value| value.parse::<f64>().ok());
        let is_mp4 = rate.is_none() && value("format_name").is_some_and(|name| name.starts_with("mov,"));
        if let (true, Some(begin), Some(length)) = (is_mp4, number("start_time"), number("duration")) {
            let (stated, last) = (begin - start + length, times.last().copied().unwrap_or(0.0));
            // Where ffmpeg does not know how long the last picture lasts it says next to nothing; the container says it.
            if end - last < (stated - last) / 2.0 && stated - last < 1.0 {
                end = stated;
            }
        }
        Self { index, end, aspect: aspect(value), times }
    }

    /// From one frame to the next, on average.
    pub fn frame_seconds(&self) -> f64 {
        self.end / self.times.len().max(1) as f64
    }

    /// Mean differences of the pictures at the beginning and in the middle, each against the nearest of the frames
    /// that a player may show there.
    pub fn differences(&self, source: &Path, made: &Path, rate: f64) -> Vec<f64> {
        let made = pictures(made, 0, "");
        let middle = (self.end * rate / 2.0) as usize;
        [0, middle]
            .into_iter()
            .filter_map(|at| {
                let select = format!("fps=fps={rate}:start_time=0,select=eq(n\\,{at}),");
                let wanted = pictures(source, self.index, &select).into_iter().next()?;
                let near = made.iter().take(at + 3).skip(at.saturating_sub(2));
                near.map(|picture| difference(picture, &wanted)).min_by(f64::total_cmp)
            })
            .collect()
    }
}

/// When the first picture or sound begins.
fn start(file: &Path) -> f64 {
    let streams = ffprobe(file, &["-show_entries", "stream=codec_type,start_time"]);
    let (mut begins, mut is_played) = (Vec::new(), false);
    for (name, value) in &streams {
        match name.as_str() {
            "codec_type" => is_played = matches!(value.as_str(), "video" | "audio"),
            "start_time" if is_played => begins.extend(value.parse::<f64>().ok()),
            _ => {}
        }
    }
    begins.into_iter().reduce(f64::min).unwrap_or(0.0)
}

/// `key=value` lines.
fn ffprobe(file: &Path, args: &[&str]) -> Vec<(String, String)> {
    let output = Command::new("ffprobe")
        .args(["-v", "quiet", "-of", "default=nw=1"])
        .args(args)
        .arg(file)
        .output()
        .expect("ffprobe");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn aspect<'a>(value: impl Fn(&str) -> Option<&'a str>) -> f64 {
    let number = |key: &str| value(key).and_then(|value| value.parse::<f64>().ok());
    let (Some(width), Some(height)) = (number("width"), number("height")) else { return 1.0 };
    let pixel = value("sample_aspect_ratio").and_then(|ratio| ratio.split_once(':')).and_then(|(a, b)| {
        let (a, b): (f64, f64) = (a.parse().ok()?, b.parse().ok()?);
        (a > 0.0 && b > 0.0).then_some(a / b)
    });
    let shown = width * pixel.unwrap_or(1.0) / height;
    let is_turned = number("rotation").is_some_and(|degrees| (degrees.abs() - 90.0).abs() < 1.0);
    if is_turned { 1.0 / shown } else { shown }
}

/// Frames as ffmpeg shows them, small, in RGB.
fn pictures(file: &Path, index: u32, select: &str) -> Vec<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-nostdin", "-i"])
        .arg(file)
        .args(["-map", &format!("0:{index}"), "-vf"])
        .arg(format!("{select}scale={SIDE}:{SIDE}:flags=area,format=rgb24"))
        .args(["-fps_mode", "passthrough", "-frames:v", if select.is_empty() { "100000" } else { "1" }])
        .args(["-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg");
    output.stdout.chunks_exact(SIDE * SIDE * 3).map(<[u8]>::to_vec).collect()
}

fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / a.len().max(1) as f64
}
