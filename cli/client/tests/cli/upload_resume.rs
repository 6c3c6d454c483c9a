//! `upload` of a file whose earlier upload is unfinished.

use std::process::Command;

use reelmill_proto::transcode::{TranscodeOptions, transcode_options::Profile};

use crate::support::{ClientFixture, bytes, wait_for_output};

/// A client with a file of two parts, the second of which the object store rejected.
async fn client_with_unfinished_upload() -> ClientFixture {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(70_000 * 2));
    client.server.fail_puts(2, 403, 3);
    client.run("upload a.mp4").await.assert_exit_code(4).assert_only_error("PART_REFUSED");
    client
}

#[tokio::test]
async fn upload_interrupted_by_ctrl_c_sends_only_missing_and_wrong_parts_again() {
    let client = ClientFixture::signed_in().await;
    let content = bytes(70_000 * 8);
    client.write_file("a.mp4", &content);
    client.server.max_open_part.send_replace(4);
    let first = client.start("upload a.mp4 --json");
    client
        .server
        .wait_for("four parts are stored and the fifth arrives", |state| {
            state.uploads.values().any(|upload| upload.parts.len() == 4)
                && state.puts.iter().any(|put| put.part == 5)
        })
        .await;
    let interrupt = format!("kill -INT {}", first.id().unwrap());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let first = wait_for_output(first).await.assert_exit_code(130);
    assert!(first.stdout.is_empty() && first.stderr.contains("again to resume"), "{first:?}");

    client.server.max_open_part.send_replace(i32::MAX);
    client.server.state().puts.clear();
    // A part of the right size with other bytes must be replaced.
    client.server.state().uploads.get_mut("uploads/1").unwrap().parts.insert(2, vec![0; 70_000]);
    let video = client.run("upload a.mp4 --json").await.assert_exit_code(0).json();
    assert_eq!((&video["name"], &video["state"]), (&"videos/1".into(), &"PROCESSING".into()));
    assert_eq!(client.server.stored_bytes("uploads/1"), content);
    let mut sent = client.server.put_parts();
    sent.sort_unstable();
    // The parts that were being sent at the interrupt may have been stored or not.
    assert!(sent.contains(&2) && sent.iter().all(|&part| part == 2 || part > 4), "{sent:?}");
}

#[tokio::test]
async fn upload_whose_creation_was_not_answered_uses_the_created_upload() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(70_000));
    client.server.state().lost_creations = 1;
    client.run("upload a.mp4").await.assert_exit_code(1);
    let video = client.run("upload a.mp4 --json").await.assert_exit_code(0).json();
    assert_eq!(video["name"], "videos/1");
    assert_eq!(client.server.state().uploads.len(), 1);
}

#[tokio::test]
async fn upload_no_resume_creates_a_new_upload() {
    let client = client_with_unfinished_upload().await;
    let video = client.run("upload a.mp4 --no-resume --json").await.assert_exit_code(0).json();
    assert_eq!(video["name"], "videos/2");
}

#[tokio::test]
async fn upload_unfinished_upload_expired_on_the_server_creates_a_new_upload() {
    let client = client_with_unfinished_upload().await;
    let expired = client.server.state().uploads.remove("uploads/1").unwrap();
    client.server.state().uploads.insert("uploads/elsewhere".into(), expired);
    let video = client.run("upload a.mp4 --json").await.assert_exit_code(0).json();
    assert_eq!(video["uploadSession"], "uploads/2");
}

#[tokio::test]
async fn upload_same_encoding_options_resume_the_upload() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(70_000 * 2));
    client.server.fail_puts(2, 403, 3);
    let line = "upload a.mp4 --profile vp9 --rungs 720,480 --json";
    client.run(line).await.assert_exit_code(4).assert_only_error("PART_REFUSED");
    assert_eq!(client.run(line).await.assert_exit_code(0).json()["name"], "videos/1");
    let options = TranscodeOptions {
        profile: Profile::Vp9.into(),
        rungs: vec![720, 480],
        ..TranscodeOptions::default()
    };
    assert_eq!(client.server.state().options, [Some(options)]);
}

#[tokio::test]
async fn upload_other_encoding_options_create_a_new_upload() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(70_000 * 2));
    client.server.fail_puts(2, 403, 3);
    client.run("upload a.mp4 --keep-hdr --json").await.assert_exit_code(4).assert_only_error("PART_REFUSED");
    assert_eq!(client.run("upload a.mp4 --json").await.assert_exit_code(0).json()["name"], "videos/2");
    let keep_hdr = TranscodeOptions { keep_hdr: true, ..TranscodeOptions::default() };
    assert_eq!(client.server.state().options, [Some(keep_hdr), None]);
}
