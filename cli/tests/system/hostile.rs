//! Invalid input ends with a stable reason and leaves nothing behind.

use std::{path::Path, time::Duration};

use tokio::time::{sleep, timeout};

use crate::support::{
    cli_user::CliUser,
    deployment::Deployment,
    media::{clip, probe, seconds},
};

/// Uploads a file that cannot be transcoded, and returns the reason.
async fn failure_reason(ann: &CliUser, file: &Path) -> String {
    let output = ann.run(&["upload", "--wait", "--json", &file.display().to_string()]).await.expect_exit(1);
    let video = output.json();
    assert_eq!(video["state"], "FAILED", "{output:?}");
    let message = video["failure"]["message"].as_str().unwrap();
    assert!(message.len() > 20, "a message to act on: {message:?}");
    video["failure"]["reason"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_of_other_files_fails_with_a_reason() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let folder = deployment.folder.path();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };

    assert_eq!(
        failure_reason(&ann, &write("text.mp4", "no video ".repeat(500).as_bytes())).await,
        "FILE_NOT_VIDEO"
    );
    // A local file and a server that must not be accessed.
    let canary = write("canary.txt", b"secret");
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    for address in
        [format!("file://{}", canary.display()), format!("http://{}/a.ts", server.local_addr().unwrap())]
    {
        let list = format!("#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n");
        assert_eq!(failure_reason(&ann, &write("list.mp4", list.as_bytes())).await, "FILE_NOT_VIDEO");
        let list = format!("ffconcat version 1.0\nfile {address}\n");
        assert_eq!(failure_reason(&ann, &write("concat.mp4", list.as_bytes())).await, "FILE_NOT_VIDEO");
    }
    assert_eq!(
        server.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "the server was accessed"
    );

    // The index is at the end, so none of it can be read.
    let whole = clip(folder, "whole.mp4", "640x360", 4).await;
    let bytes = std::fs::read(&whole).unwrap();
    assert_eq!(failure_reason(&ann, &write("half.mp4", &bytes[..bytes.len() / 2])).await, "FILE_TRUNCATED");

    let output = ann.run(&["upload", "--json", &write("empty.mp4", b"").display().to_string()]).await;
    assert_eq!(output.code, 4, "{output:?}");
    assert!(output.stderr.contains("FILE_EMPTY"), "{output:?}");
    assert!(output.stdout.is_empty());

    // The next video is transcoded as usual, and is the only one whose objects remain.
    assert_eq!(ann.upload(&whole).await["state"], "READY");
    wait_for_cleanup(&deployment, &whole).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_of_incomplete_files_is_playable() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::sign_up(&deployment, "ann").await;
    let folder = deployment.folder.path();
    let whole = clip(folder, "whole.mp4", "640x360", 8).await;
    let front = folder.join("front.mp4");
    ffmpeg(&["-i", path(&whole), "-c", "copy", "-movflags", "+faststart", path(&front)]).await;
    let bytes = std::fs::read(&front).unwrap();
    let half = folder.join("half.mp4");
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    let video = ann.upload(&half).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    let warnings = video["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|warning| warning["reason"] == "FILE_TRUNCATED"), "{video}");
    let played = seconds(&probe(video["playbackUri"].as_str().unwrap()).await);
    assert!((2.0..6.0).contains(&played), "{played} s of 8 s");

    // Audio is playable, with its waveform as the poster.
    let sound = folder.join("sound.m4a");
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac", path(&sound)]).await;
    let video = ann.upload(&sound).await;
    assert_eq!(video["state"], "READY", "{video}\n{}", deployment.logs());
    assert_eq!(video["renditions"].as_array().unwrap().len(), 1, "{video}");
    assert_eq!(video["renditions"][0]["kind"], "AUDIO", "{video}");
    let probed = probe(video["playbackUri"].as_str().unwrap()).await;
    assert!((seconds(&probed) - 2.0).abs() < 0.1, "{probed}");
    assert_eq!(probe(video["posterUri"].as_str().unwrap()).await["streams"][0]["width"], 640, "{video}");
    deployment.stop().await;
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

async fn ffmpeg(args: &[&str]) {
    let made = tokio::process::Command::new("ffmpeg").args(["-v", "error"]).args(args).status();
    assert!(made.await.unwrap().success());
}

/// Waits until the object store has only the source and the outputs of one video.
async fn wait_for_cleanup(deployment: &Deployment, source: &Path) {
    let source = std::fs::metadata(source).unwrap().len();
    let blobs = deployment.folder.path().join("data/objects/blobs");
    let sources = || {
        let entries = walk(&blobs);
        entries.into_iter().filter(|size| *size == source).count()
    };
    let settled = timeout(Duration::from_secs(40), async {
        while sources() != 1 || walk(&blobs).len() > 40 {
            sleep(Duration::from_millis(200)).await;
        }
    });
    assert!(settled.await.is_ok(), "left behind: {:?}\n{}", walk(&blobs), deployment.logs());
}

fn walk(folder: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let sizes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => walk(&entry.path()),
        Ok(found) => vec![found.len()],
        Err(_) => Vec::new(),
    };
    entries.flatten().flat_map(sizes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_commands_print_the_reason() {
    let deployment = Deployment::single_process().await;
    let ann = CliUser::new(&deployment.server, "ann");
    let output = ann.run(&["videos"]).await.expect_exit(4);
    assert!(!output.stderr.is_empty());
    std::fs::write(ann.password_file(), "short").unwrap();
    let weak = ann.run(&["sign-up", "--email", &ann.email, "--password-file", &ann.password_file()]).await;
    assert!(weak.expect_exit(4).stderr.contains("PASSWORD_TOO_WEAK"));
    let bob = CliUser::sign_up(&deployment, "bob").await;
    let twice =
        bob.run(&["sign-up", "--email", "BOB@example.org", "--password-file", &bob.password_file()]).await;
    assert!(twice.expect_exit(4).stderr.contains("EMAIL_TAKEN"));
    std::fs::write(bob.password_file(), "another password").unwrap();
    let wrong = bob.run(&["sign-in", "--email", &bob.email, "--password-file", &bob.password_file()]).await;
    assert!(wrong.expect_exit(4).stderr.contains("CREDENTIALS_WRONG"));

    bob.run(&["upload"]).await.expect_exit(2);
    bob.run(&["no-such-command"]).await.expect_exit(2);
    bob.run(&["upload", "/nowhere/at/all.mp4"]).await.expect_exit(2);
    let nowhere = CliUser::new("http://127.0.0.1:9", "carl");
    nowhere
        .run(&["sign-in", "--email", "carl@example.org", "--password-file", &nowhere.password_file()])
        .await
        .expect_exit(3);
    deployment.stop().await;
}
