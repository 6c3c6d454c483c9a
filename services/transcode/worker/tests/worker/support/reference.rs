//! What ffmpeg and ffprobe report of a source, independently of this project: the expected values of its outputs.
//!
//! References are cached by the content of the source, so that a source is decoded once per machine.

use super::cache::{self, CacheKey};
use std::path::Path;
use std::process::Command;

/// Width and height at which frames are compared.
const SIDE: usize = 32;
/// Frames of an output that may match a frame of the source, before and after the same index.
const FRAME_TOLERANCE: usize = 2;

/// Measurements of one stream of a source, which is decoded to its end.
pub struct Reference {
    index: u32,
    /// End of the last frame, seconds after the beginning of the file.
    pub end: f64,
    /// Display aspect ratio, width over height.
    pub aspect: f64,
    /// Number of decoded frames.
    frames: usize,
}

impl Reference {
    /// Measures a stream, or reads what was measured before.
    pub fn of(file: &Path, index: u32) -> Self {
        let cached = CacheKey::new().with_file(file).with(index.to_string()).path("references", "json");
        cache::fill(&cached, |entry| {
            let Self { end, aspect, frames, .. } = Self::measure(file, index);
            std::fs::write(entry, serde_json::to_vec(&(end, aspect, frames)).expect("json")).expect("write");
        });
        let bytes = std::fs::read(&cached).expect("reference");
        let (end, aspect, frames) = serde_json::from_slice(&bytes).expect("json");
        Self { index, end, aspect, frames }
    }

    fn measure(file: &Path, index: u32) -> Self {
        let stream = index.to_string();
        let entries = ffprobe(
            file,
            &[
                "-select_streams",
                &stream,
                "-show_entries",
                "stream=width,height,sample_aspect_ratio,sample_rate,start_time,duration:stream_side_data=rotation:format=format_name",
            ],
        );
        let value = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
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
                // A frame without a timestamp follows the previous one.
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
            // Where ffmpeg does not know the last frame's duration it reports almost zero; use the container's.
            if end - last < (stated - last) / 2.0 && stated - last < 1.0 {
                end = stated;
            }
        }
        Self { index, end, aspect: aspect(value), frames: times.len() }
    }

    /// Average frame duration, seconds.
    pub fn frame_seconds(&self) -> f64 {
        self.end / self.frames.max(1) as f64
    }

    /// Mean pixel differences, 0 to 255, of the first frame and the middle one, each against the nearest of the frames
    /// that a player may show at that time.
    pub fn differences(&self, source: &Path, output: &Path, rate: f64) -> Vec<f64> {
        let middle = (self.end * rate / 2.0) as usize;
        let near = |frame: usize| frame.saturating_sub(FRAME_TOLERANCE)..=frame + FRAME_TOLERANCE;
        let mut compared: Vec<usize> = near(0).chain(near(middle)).collect();
        compared.sort_unstable();
        compared.dedup();
        let select: Vec<_> = compared.iter().map(|frame| format!("eq(n\\,{frame})")).collect();
        let actual = frames(output, 0, &format!("select={},", select.join("+")), compared.len());
        let expected = self.expected_frames(source, rate, middle);
        [0, middle]
            .into_iter()
            .zip(&expected)
            .filter_map(|(frame, expected)| {
                let candidates =
                    compared.iter().zip(&actual).filter(|(index, _)| near(frame).contains(index));
                candidates.map(|(_, actual)| difference(actual, expected)).min_by(f64::total_cmp)
            })
            .collect()
    }

    /// The source's first frame and the one at index `middle` of its video at a constant rate; fewer where the source
    /// ends before.
    fn expected_frames(&self, source: &Path, rate: f64, middle: usize) -> Vec<Vec<u8>> {
        let key = CacheKey::new().with_file(source).with(self.index.to_string());
        let cached = key.with(rate.to_string()).with(middle.to_string()).path("reference-frames", "json");
        cache::fill(&cached, |entry| {
            let select = format!("fps=fps={rate}:start_time=0,select=eq(n\\,0)+eq(n\\,{middle}),");
            let mut expected = frames(source, self.index, &select, if middle == 0 { 1 } else { 2 });
            if middle == 0 {
                expected.extend(expected.first().cloned());
            }
            std::fs::write(entry, serde_json::to_vec(&expected).expect("json")).expect("write");
        });
        serde_json::from_slice(&std::fs::read(&cached).expect("frames")).expect("json")
    }
}

/// Start time of the first video or audio stream.
fn start(file: &Path) -> f64 {
    let entries = ffprobe(file, &["-show_entries", "stream=codec_type,start_time"]);
    let (mut starts, mut is_media) = (Vec::new(), false);
    for (name, value) in &entries {
        match name.as_str() {
            "codec_type" => is_media = matches!(value.as_str(), "video" | "audio"),
            "start_time" if is_media => starts.extend(value.parse::<f64>().ok()),
            _ => {}
        }
    }
    starts.into_iter().reduce(f64::min).unwrap_or(0.0)
}

/// Output of ffprobe as pairs of key and value.
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
    let stored = width * pixel.unwrap_or(1.0) / height;
    let is_rotated = number("rotation").is_some_and(|degrees| (degrees.abs() - 90.0).abs() < 1.0);
    if is_rotated { 1.0 / stored } else { stored }
}

/// The first `count` frames after a filter, scaled down, in RGB.
fn frames(file: &Path, index: u32, filter: &str, count: usize) -> Vec<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-nostdin", "-i"])
        .arg(file)
        .args(["-map", &format!("0:{index}"), "-vf"])
        .arg(format!("{filter}scale={SIDE}:{SIDE}:flags=area,format=rgb24"))
        .args(["-fps_mode", "passthrough", "-frames:v", &count.to_string()])
        .args(["-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg");
    output.stdout.chunks_exact(SIDE * SIDE * 3).map(<[u8]>::to_vec).collect()
}

fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / a.len().max(1) as f64
}
