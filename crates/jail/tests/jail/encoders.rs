//! Real encoders with threads, confined. Confinement must not change what they write.

use std::fs;

use reelmill_jail::Mode;

use crate::support::{Task, encode, frame_count, stderr};

/// Encodes confined and unconfined, and expects identical files.
fn assert_same_when_confined(codec: &[&str]) {
    let mut task = Task::new();
    let confined = task.run("ffmpeg", &encode(codec, "10", "confined.mkv"));
    assert!(confined.status.success(), "{codec:?}: {}", stderr(&confined));
    assert_eq!(frame_count(&task.scratch.join("confined.mkv")), "10", "{codec:?}");

    task.confinement.mode = Mode::Off;
    let unconfined = task.run("ffmpeg", &encode(codec, "10", "unconfined.mkv"));
    assert!(unconfined.status.success(), "{codec:?}: {}", stderr(&unconfined));
    let [confined, unconfined] =
        ["confined.mkv", "unconfined.mkv"].map(|file| fs::read(task.scratch.join(file)).expect("written"));
    assert!(confined == unconfined, "{codec:?}: confinement changes the output");
}

#[test]
fn x264_confined_writes_the_same_file() {
    assert_same_when_confined(&["-c:v", "libx264", "-fflags", "+bitexact"]);
}

#[test]
fn x265_confined_writes_the_same_file() {
    assert_same_when_confined(&[
        "-c:v",
        "libx265",
        "-x265-params",
        "log-level=error:pools=4",
        "-fflags",
        "+bitexact",
    ]);
}

#[test]
fn svt_av1_confined_writes_the_same_file() {
    assert_same_when_confined(&["-c:v", "libsvtav1", "-preset", "12", "-fflags", "+bitexact"]);
}

#[test]
fn vp9_confined_writes_the_same_file() {
    assert_same_when_confined(&[
        "-c:v",
        "libvpx-vp9",
        "-row-mt",
        "1",
        "-tile-columns",
        "2",
        "-fflags",
        "+bitexact",
    ]);
}

#[test]
fn ffmpeg_confined_writes_audio_fragments_and_images() {
    let task = Task::new();
    let audio = ["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", "-shortest"];
    let fragmented = ["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"];
    let codec = [&audio[..], &fragmented[..]].concat();
    let output = task.run("ffmpeg", &encode(&codec, "10", "both.mp4"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(frame_count(&task.scratch.join("both.mp4")), "10");
    let output =
        task.run("ffmpeg", &["-nostdin", "-v", "error", "-i", "both.mp4", "-frames:v", "1", "poster.jpg"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::metadata(task.scratch.join("poster.jpg")).expect("written").len() > 1000);
}

#[test]
fn ffmpeg_with_input_outside_confinement_fails() {
    let task = Task::new();
    let canary = task.canary();
    let copy = ["-nostdin", "-v", "error", "-f", "data", "-i", canary.to_str().expect("UTF-8"), "-map", "0"];
    let output = task.run("ffmpeg", &[&copy[..], &["-c", "copy", "-f", "data", "stolen"]].concat());
    assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
}

#[test]
fn ffmpeg_with_output_outside_confinement_fails() {
    let task = Task::new();
    let outside = task.outside.path().join("made.mkv");
    let output = task.run("ffmpeg", &encode(&["-c:v", "libx264"], "1", outside.to_str().expect("UTF-8")));
    assert!(stderr(&output).contains("Permission denied"), "{}", stderr(&output));
    assert!(!outside.exists());
}
