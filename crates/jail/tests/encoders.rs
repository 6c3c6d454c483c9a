//! Real encoders, confined, with threads; and that confining changes no byte of what they write.
#![cfg(target_os = "linux")]

mod common;

use common::{Task, encode, frames, said};
use reelmill_jail::Mode;
use std::fs;

fn encodes(codec: &[&str]) {
    let mut task = Task::new();
    let confined = task.run("ffmpeg", &encode(codec, "10", "confined.mkv"));
    assert!(confined.status.success(), "{codec:?}: {}", said(&confined));
    assert_eq!(frames(&task.scratch.join("confined.mkv")), "10", "{codec:?}");

    task.confinement.mode = Mode::Off;
    let free = task.run("ffmpeg", &encode(codec, "10", "free.mkv"));
    assert!(free.status.success(), "{codec:?}: {}", said(&free));
    let [confined, free] =
        ["confined.mkv", "free.mkv"].map(|file| fs::read(task.scratch.join(file)).expect("made"));
    assert!(confined == free, "{codec:?}: the jail changes what is written");
}

#[test]
fn x264() {
    encodes(&["-c:v", "libx264", "-fflags", "+bitexact"]);
}

#[test]
fn x265() {
    encodes(&["-c:v", "libx265", "-x265-params", "log-level=error:pools=4", "-fflags", "+bitexact"]);
}

#[test]
fn svt_av1() {
    encodes(&["-c:v", "libsvtav1", "-preset", "12", "-fflags", "+bitexact"]);
}

#[test]
fn vp9() {
    encodes(&["-c:v", "libvpx-vp9", "-row-mt", "1", "-tile-columns", "2", "-fflags", "+bitexact"]);
}

#[test]
fn sound_pictures_and_fragments() {
    let task = Task::new();
    let sound = ["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", "-shortest"];
    let fragmented = ["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"];
    let codec = [&sound[..], &fragmented[..]].concat();
    let output = task.run("ffmpeg", &encode(&codec, "10", "both.mp4"));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(frames(&task.scratch.join("both.mp4")), "10");
    let output =
        task.run("ffmpeg", &["-nostdin", "-v", "error", "-i", "both.mp4", "-frames:v", "1", "poster.jpg"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(fs::metadata(task.scratch.join("poster.jpg")).expect("made").len() > 1000);
}

#[test]
fn a_canary_given_as_input_is_not_read() {
    let task = Task::new();
    let canary = task.canary();
    let copy = ["-nostdin", "-v", "error", "-f", "data", "-i", canary.to_str().expect("UTF-8"), "-map", "0"];
    let output = task.run("ffmpeg", &[&copy[..], &["-c", "copy", "-f", "data", "stolen"]].concat());
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
    let outside = task.outside.path().join("made.mkv");
    let output = task.run("ffmpeg", &encode(&["-c:v", "libx264"], "1", outside.to_str().expect("UTF-8")));
    assert!(said(&output).contains("Permission denied"), "{}", said(&output));
    assert!(!outside.exists());
}
