//! One person at the client, and the clips they upload.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::sandbox::Sandbox;

const LONGEST: Duration = Duration::from_secs(240);

/// Somebody with a profile of their own.
pub struct Person {
    server: String,
    profile: tempfile::TempDir,
    pub email: String,
}

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub const PASSWORD: &str = "correct horse battery staple";

impl Answer {
    /// The one JSON value on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails unless the command ended so.
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl Person {
    /// Somebody new, signed up and in.
    pub async fn signed_up(sandbox: &Sandbox, name: &str) -> Self {
        let person = Self::at(&sandbox.server, name);
        let answer = person
            .run(&[
                "sign-up",
                "--json",
                "--email",
                &person.email.clone(),
                "--password-file",
                &person.password_file(),
            ])
            .await;
        assert_eq!(answer.code, 0, "{answer:?}\n{}", sandbox.logs());
        person
    }

    /// Somebody who has not signed up.
    pub fn at(server: &str, name: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        std::fs::write(profile.path().join("password"), PASSWORD).unwrap();
        Self { server: server.to_owned(), profile, email: format!("{name}@example.org") }
    }

    /// The same person, now that the system is at another address.
    pub fn moved(&mut self, server: &str) {
        server.clone_into(&mut self.server);
    }

    pub fn password_file(&self) -> String {
        self.profile.path().join("password").display().to_string()
    }

    /// Runs one client command.
    pub async fn run(&self, args: &[&str]) -> Answer {
        let ran = timeout(LONGEST, self.command(args).output()).await;
        let output = ran.unwrap_or_else(|_| panic!("{args:?} hangs")).unwrap();
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// One client command, to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reelmill"));
        command.args(["--server", &self.server, "--profile-dir"]).arg(self.profile.path()).args(args);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Uploads a file and waits until the video can be played; answers the video, which is not READY yet.
    pub async fn upload_until_playable(&self, file: &Path) -> Value {
        let file = file.display().to_string();
        let video = self.run(&["upload", "--until", "playable", "--json", &file]).await.ended(0).json();
        assert_eq!(video["state"], "PROCESSING", "{video}");
        assert_eq!(video["playable"], true, "{video}");
        assert!(video["timeToPlayableSeconds"].as_f64().unwrap() > 0.0, "{video}");
        video
    }

    /// Uploads a file and waits for the video's end; answers the video.
    pub async fn upload(&self, file: &Path) -> Value {
        self.run(&["upload", "--wait", "--json", &file.display().to_string()]).await.ended(0).json()
    }
}

/// Makes a clip with ffmpeg's own test picture and tone.
pub async fn clip(folder: &Path, name: &str, size: &str, seconds: u32) -> PathBuf {
    let path = folder.join(name);
    let video = format!("testsrc2=size={size}:rate=30:duration={seconds}");
    let audio = format!("sine=frequency=440:duration={seconds}");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", "-c:a", "aac"])
        .arg(&path)
        .stdin(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(made.success());
    path
}

/// What ffprobe says of a file or an address.
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

/// What ffprobe says of a playlist's streams from its first segments, while it grows.
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

/// Decodes the picture at an address; fails unless there are so many frames, each at its place.
pub async fn frames_are(input: &str, rate: f64, expected: usize) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"])
        .arg(input)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{input}: {complaints}");
    let text = String::from_utf8(output.stdout).unwrap();
    let time = |line: &str| line.split(',').next().unwrap().parse::<f64>().unwrap();
    let times: Vec<f64> = text.lines().filter(|line| !line.is_empty()).map(time).collect();
    assert_eq!(times.len(), expected, "{input}");
    for (place, time) in times.iter().enumerate() {
        let wanted = times[0] + place as f64 / rate;
        assert!((time - wanted).abs() < 0.002, "{input}: frame {place} at {time} s, not at {wanted} s");
    }
}

/// Playing time as ffprobe has it, seconds.
pub fn seconds(probed: &Value) -> f64 {
    probed["format"]["duration"].as_str().unwrap().parse().unwrap()
}
