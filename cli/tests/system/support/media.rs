//! Generated clips, and what ffprobe reports about the results.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::{process::Command, sync::Mutex};

/// Generates a clip with a test pattern and a tone. Clips of the same size and length are encoded once and copied.
pub async fn clip(folder: &Path, name: &str, size: &str, seconds: u32) -> PathBuf {
    static GENERATING: Mutex<()> = Mutex::const_new(());
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clips");
    let cached = cache.join(format!("testsrc2-{size}-{seconds}s.mp4"));
    let generating = GENERATING.lock().await;
    if !cached.exists() {
        std::fs::create_dir_all(&cache).unwrap();
        let partial = cache.join(format!("{}.partial.mp4", std::process::id()));
        encode_clip(&partial, size, seconds).await;
        std::fs::rename(&partial, &cached).unwrap();
    }
    drop(generating);
    let path = folder.join(name);
    std::fs::copy(&cached, &path).unwrap();
    path
}

/// Generates a clip whose picture and sound have different lengths, seconds.
pub async fn uneven_clip(folder: &Path, name: &str, picture: u32, sound: u32) -> PathBuf {
    let path = folder.join(name);
    encode_tracks(&path, "640x360", picture, sound).await;
    path
}

async fn encode_clip(path: &Path, size: &str, seconds: u32) {
    encode_tracks(path, size, seconds, seconds).await;
}

async fn encode_tracks(path: &Path, size: &str, picture: u32, sound: u32) {
    let video = format!("testsrc2=size={size}:rate=30:duration={picture}");
    let audio = format!("sine=frequency=440:duration={sound}");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", "-c:a", "aac"])
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
}

/// The JSON that ffprobe reports about a file or a URL.
pub async fn probe(input: &str) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-print_format", "json", "-show_format", "-show_streams", input])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{input}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The streams that ffprobe finds in the first segments of a growing playlist.
pub async fn probe_growing(playlist: &str) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-print_format", "json", "-show_streams", "-live_start_index", "0"])
        .args(["-analyzeduration", "1000000", playlist])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{playlist}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Decodes the video at a URL. Fails unless it has `expected` frames with the timestamps of a constant frame rate.
pub async fn assert_frames(input: &str, rate: f64, expected: usize) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"])
        .arg(input)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{input}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let time = |line: &str| line.split(',').next().unwrap().parse::<f64>().unwrap();
    let times: Vec<f64> = text.lines().filter(|line| !line.is_empty()).map(time).collect();
    assert_eq!(times.len(), expected, "{input}");
    for (index, time) in times.iter().enumerate() {
        let expected_time = times[0] + index as f64 / rate;
        assert!(
            (time - expected_time).abs() < 0.002,
            "{input}: frame {index} at {time} s, not at {expected_time} s"
        );
    }
}

/// Duration that ffprobe reports, seconds.
pub fn seconds(probed: &Value) -> f64 {
    probed["format"]["duration"].as_str().unwrap().parse().unwrap()
}
