//! `upload`: how files and their parts are sent.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use reelmill_proto::upload::upload_session::State;
use serde_json::json;

use crate::support::{ClientFixture, bytes, fake_server::PutFault, read_json, wait_for_output};

#[tokio::test]
async fn upload_parts_are_sent_in_parallel_with_content_length() {
    let client = ClientFixture::signed_in().await;
    let content = bytes(70_000 * 11 + 123);
    client.write_file("a.mp4", &content);
    // The server responds to no PUT before four of them have arrived.
    client.server.min_concurrent_puts.send_replace(4);
    client.run("upload a.mp4 --json").await.assert_exit_code(0);
    assert_eq!(client.server.stored_bytes("uploads/1"), content);
    let state = client.server.state();
    assert_eq!(state.puts.len(), 12);
    for put in &state.puts {
        let length = if put.part == 12 { 123 } else { 70_000 };
        assert_eq!((put.content_length, put.is_chunked), (Some(length), false), "{put:?}");
    }
}

#[tokio::test]
async fn upload_with_wait_prints_the_ready_video() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    let output = client.run("upload a.mp4 --wait --json").await.assert_exit_code(0);
    let video = output.json();
    assert_eq!((&video["state"], &video["name"]), (&"READY".into(), &"videos/1".into()));
    assert_eq!(video["renditions"][0]["height"], 720);
    assert_eq!(output.stderr, "");
}

#[tokio::test]
async fn upload_completed_leaves_no_resume_entry() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    client.run("upload a.mp4 --json").await.assert_exit_code(0);
    assert_eq!(read_json(&client.path("profile/uploads.json"))["uploads"], json!([]));
}

#[tokio::test]
async fn upload_parts_are_sent_in_the_order_that_the_server_requests() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(70_000 * 3));
    client.server.state().reverses_parts = true;
    client.run("upload a.mp4 --parallel 1").await.assert_exit_code(0);
    // Requested as 3, 2, 1 and signed in pairs, each of which is reversed again.
    assert_eq!(client.server.put_parts(), [2, 3, 1]);
}

#[tokio::test]
async fn upload_failed_parts_are_retried_with_new_addresses() {
    let client = ClientFixture::signed_in().await;
    let content = bytes(70_000 * 5);
    client.write_file("a.mp4", &content);
    let faults = [
        (1, PutFault::AddressExpired),
        (2, PutFault::Status(503)),
        (3, PutFault::ConnectionClosed),
        (4, PutFault::Status(500)),
    ];
    client.server.state().put_faults.extend(faults.map(|(part, fault)| (part, [fault].into())));
    client.run("upload a.mp4 --json").await.assert_exit_code(0);
    assert_eq!(client.server.stored_bytes("uploads/1"), content);
    let state = client.server.state();
    for part in 1..=5 {
        let signatures: Vec<u64> =
            state.puts.iter().filter(|put| put.part == part).map(|put| put.signature).collect();
        assert_eq!(signatures.len(), if part < 5 { 2 } else { 1 }, "part {part}");
        assert!(signatures.windows(2).all(|pair| pair[0] != pair[1]), "part {part}: {signatures:?}");
    }
}

#[tokio::test]
async fn upload_permanently_rejected_part_exits_with_4() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(100));
    client.server.fail_puts(1, 403, 20);
    client.run("upload a.mp4 --json").await.assert_exit_code(4).assert_only_error("PART_REFUSED");
}

#[tokio::test]
async fn upload_file_changed_during_upload_exits_with_1() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(70_000));
    client.server.max_open_part.send_replace(0);
    let upload = client.start("upload a.mp4 --json");
    client.server.wait_for("the PUT arrives", |state| !state.puts.is_empty()).await;
    client.write_file("a.mp4", &bytes(80_000));
    client.server.max_open_part.send_replace(i32::MAX);
    wait_for_output(upload).await.assert_exit_code(1).assert_only_error("FILE_CHANGED");
    let state = client.server.state();
    assert_eq!(state.uploads["uploads/1"].session.state(), State::Aborted);
}

#[tokio::test]
async fn upload_file_whose_name_is_not_utf8_has_a_readable_title() {
    let client = ClientFixture::signed_in().await;
    let name = OsStr::from_bytes(b"caf\xe9.mp4");
    std::fs::write(client.path("").join(name), bytes(10)).unwrap();
    client.run_with("upload", &[name]).await.assert_exit_code(0);
    assert_eq!(client.server.state().uploads["uploads/1"].session.file_name, "caf\u{e9}.mp4");
}

#[tokio::test]
async fn upload_several_files_prints_an_array() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    client.write_file("b.mp4", &bytes(20));
    let videos = client.run("upload a.mp4 b.mp4 --json").await.assert_exit_code(0).json();
    let names: Vec<_> =
        videos.as_array().unwrap().iter().map(|video| video["displayName"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.mp4", "b.mp4"]);
}

#[tokio::test]
async fn upload_missing_file_exits_with_2() {
    let client = ClientFixture::signed_in().await;
    client.run("upload missing.mp4 --json").await.assert_exit_code(2).assert_only_error("FILE_NOT_FOUND");
}

#[tokio::test]
async fn upload_missing_file_among_several_is_reported_before_any_byte_is_sent() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    client.run("upload a.mp4 missing.mp4").await.assert_exit_code(2);
    assert!(client.server.state().puts.is_empty());
}

#[tokio::test]
async fn upload_empty_file_among_several_is_reported_before_any_upload_is_created() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    client.write_file("empty.mp4", b"");
    let output = client.run("upload a.mp4 empty.mp4 --json").await.assert_exit_code(4);
    output.assert_only_error("FILE_EMPTY");
    assert!(output.stderr.contains("empty.mp4: the file is empty"), "{output:?}");
    assert!(client.server.state().uploads.is_empty());
}

#[tokio::test]
async fn upload_second_file_rejected_prints_the_first_video() {
    let client = ClientFixture::signed_in().await;
    client.write_file("a.mp4", &bytes(10));
    client.write_file("b.mp4", &bytes(70_000 * 2));
    // Only b.mp4 has a second part.
    client.server.fail_puts(2, 403, 6);
    let output = client.run("upload a.mp4 b.mp4 --json").await.assert_exit_code(4);
    let videos = output.json();
    assert_eq!((videos.as_array().unwrap().len(), &videos[0]["displayName"]), (1, &"a.mp4".into()));
    assert!(output.stderr.starts_with("error: ") && output.stderr.contains("(PART_REFUSED)"), "{output:?}");
    let output = client.run("upload a.mp4 b.mp4").await.assert_exit_code(4);
    assert!(output.stdout.contains("a.mp4") && !output.stdout.contains("b.mp4"), "{output:?}");
}

/// Peak resident memory of a process, KiB.
#[cfg(target_os = "linux")]
fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn upload_large_parts_are_not_read_into_memory() {
    let client = ClientFixture::signed_in().await;
    client.server.state().part_size = 32 << 20;
    std::fs::File::create(client.path("a.mp4")).unwrap().set_len(4 * (32 << 20)).unwrap();
    client.server.max_open_part.send_replace(0);
    let upload = client.start("upload a.mp4 --json");
    // A PUT is recorded when its whole body has arrived.
    client.server.wait_for("all four PUTs arrive", |state| state.puts.len() == 4).await;
    let peak = peak_memory_kib(upload.id().unwrap());
    assert!(peak < 60 << 10, "{peak} KiB for four parts of 32 MiB at the same time");
    client.server.max_open_part.send_replace(i32::MAX);
    wait_for_output(upload).await.assert_exit_code(0);
}
