//! Bytes up and down.

use std::process::Command;

use reelmill_proto::transcode::{Rendition, TranscodeOptions, rendition::Kind, transcode_options};

use crate::{
    Desk, bytes, ended,
    fake::{Fault, Put},
    read_json,
};

/// What the fake's store holds of an upload, joined.
fn stored(desk: &Desk, upload: &str) -> Vec<u8> {
    desk.fake.state().uploads[upload].parts.values().flatten().copied().collect()
}

fn parts(puts: &[Put]) -> Vec<i32> {
    puts.iter().map(|put| put.part).collect()
}

#[tokio::test]
async fn parts_go_up_in_parallel_with_their_length_told() {
    let desk = Desk::signed_in().await;
    let content = bytes(70_000 * 11 + 123);
    desk.file("a.mp4", &content);
    // Nobody is answered before four parts are under way at once.
    desk.fake.together.send_replace(4);
    let ended = desk.run("upload a.mp4 --wait --json").await.expect(0);
    let video = ended.json();
    assert_eq!((&video["state"], &video["name"]), (&"READY".into(), &"videos/1".into()));
    assert_eq!(video["renditions"][0]["height"], 720);
    assert_eq!(ended.stderr, "");
    assert_eq!(stored(&desk, "uploads/1"), content);
    let state = desk.fake.state();
    assert_eq!(state.puts.len(), 12);
    for put in &state.puts {
        let length = if put.part == 12 { 123 } else { 70_000 };
        assert_eq!((put.content_length, put.chunked), (Some(length), false), "{put:?}");
    }
    drop(state);
    assert_eq!(read_json(&desk.path("profile/uploads.json"))["uploads"], serde_json::json!([]));
}

#[tokio::test]
async fn parts_go_up_in_the_servers_order() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(70_000 * 3));
    desk.fake.state().reversed = true;
    desk.run("upload a.mp4 --parallel 1").await.expect(0);
    // Asked for as 3, 2, 1 and signed two at a time, each pair reversed again.
    assert_eq!(parts(&desk.fake.state().puts), [2, 3, 1]);
}

#[tokio::test]
async fn each_part_is_tried_again_by_itself_with_a_fresh_address() {
    let desk = Desk::signed_in().await;
    let content = bytes(70_000 * 5);
    desk.file("a.mp4", &content);
    let faults = [(1, Fault::Expired), (2, Fault::Status(503)), (3, Fault::Drop), (4, Fault::Status(500))];
    desk.fake.state().faults.extend(faults.map(|(part, fault)| (part, [fault].into())));
    desk.run("upload a.mp4 --json").await.expect(0);
    assert_eq!(stored(&desk, "uploads/1"), content);
    let state = desk.fake.state();
    for part in 1..=5 {
        let signatures: Vec<u64> =
            state.puts.iter().filter(|put| put.part == part).map(|put| put.signature).collect();
        assert_eq!(signatures.len(), if part < 5 { 2 } else { 1 }, "part {part}");
        assert!(signatures.windows(2).all(|pair| pair[0] != pair[1]), "part {part}: {signatures:?}");
    }
}

#[tokio::test]
async fn a_store_that_refuses_for_good_is_told() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(100));
    desk.fake.state().faults.insert(1, std::iter::repeat_n(Fault::Status(403), 20).collect());
    desk.run("upload a.mp4 --json").await.expect(4).told("PART_REFUSED");
}

#[tokio::test]
async fn an_interrupted_upload_goes_on_where_it_was() {
    let desk = Desk::signed_in().await;
    let content = bytes(70_000 * 8);
    desk.file("a.mp4", &content);
    desk.fake.open_up_to.send_replace(4);
    let first = desk.start("upload a.mp4 --json");
    desk.fake
        .wait_for("four parts and the fifth under way", |state| {
            state.uploads.values().any(|upload| upload.parts.len() == 4)
                && state.puts.iter().any(|put| put.part == 5)
        })
        .await;
    let interrupt = format!("kill -INT {}", first.id().unwrap());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let first = ended(first).await.expect(130);
    assert!(first.stdout.is_empty() && first.stderr.contains("again to resume"), "{first:?}");

    desk.fake.open_up_to.send_replace(i32::MAX);
    desk.fake.state().puts.clear();
    // A part of the right size and the wrong bytes is no part of this file.
    desk.fake.state().uploads.get_mut("uploads/1").unwrap().parts.insert(2, vec![0; 70_000]);
    let video = desk.run("upload a.mp4 --json").await.expect(0).json();
    assert_eq!((&video["name"], &video["state"]), (&"videos/1".into(), &"PROCESSING".into()));
    assert_eq!(stored(&desk, "uploads/1"), content);
    let mut sent = parts(&desk.fake.state().puts);
    sent.sort_unstable();
    // What the first run had under way may have been stored or not, but nothing else is sent again.
    assert!(sent.contains(&2) && sent.iter().all(|&part| part == 2 || part > 4), "{sent:?}");
}

#[tokio::test]
async fn without_resuming_an_upload_begins_anew() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(70_000 * 2));
    desk.fake.state().faults.insert(2, std::iter::repeat_n(Fault::Status(403), 3).collect());
    desk.run("upload a.mp4").await.expect(4).told("PART_REFUSED");
    let video = desk.run("upload a.mp4 --no-resume --json").await.expect(0).json();
    assert_eq!(video["name"], "videos/2");
}

#[tokio::test]
async fn an_upload_that_the_server_gave_up_is_begun_anew() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(70_000 * 2));
    desk.fake.state().faults.insert(2, std::iter::repeat_n(Fault::Status(403), 3).collect());
    desk.run("upload a.mp4").await.expect(4);
    let gone = desk.fake.state().uploads.remove("uploads/1").unwrap();
    desk.fake.state().uploads.insert("uploads/elsewhere".into(), gone);
    let video = desk.run("upload a.mp4 --json").await.expect(0).json();
    assert_eq!(video["uploadSession"], "uploads/2");
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_told() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(70_000));
    desk.fake.open_up_to.send_replace(0);
    let upload = desk.start("upload a.mp4 --json");
    desk.fake.wait_for("the part", |state| !state.puts.is_empty()).await;
    desk.file("a.mp4", &bytes(80_000));
    desk.fake.open_up_to.send_replace(i32::MAX);
    ended(upload).await.expect(1).told("FILE_CHANGED");
}

#[tokio::test]
async fn several_files_make_one_array() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(10));
    desk.file("b.mp4", &bytes(20));
    let videos = desk.run("upload a.mp4 b.mp4 --json").await.expect(0).json();
    let names: Vec<_> =
        videos.as_array().unwrap().iter().map(|video| video["displayName"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.mp4", "b.mp4"]);
    desk.fake.state().puts.clear();
    desk.run("upload a.mp4 missing.mp4").await.expect(2);
    assert!(desk.fake.state().puts.is_empty(), "a wrong name is told before the first byte is sent");
}

#[tokio::test]
async fn an_empty_file_is_told_before_any_other_is_sent() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(10));
    desk.file("empty.mp4", b"");
    let ended = desk.run("upload a.mp4 empty.mp4 --json").await.expect(4);
    ended.told("FILE_EMPTY");
    assert!(ended.stderr.contains("empty.mp4: the file is empty"), "{ended:?}");
    assert!(desk.fake.state().uploads.is_empty());
}

#[tokio::test]
async fn what_was_uploaded_before_a_refusal_is_printed() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(10));
    desk.file("b.mp4", &bytes(70_000 * 2));
    // Only b.mp4 has a second part.
    desk.fake.state().faults.insert(2, std::iter::repeat_n(Fault::Status(403), 6).collect());
    let ended = desk.run("upload a.mp4 b.mp4 --json").await.expect(4);
    let videos = ended.json();
    assert_eq!((videos.as_array().unwrap().len(), &videos[0]["displayName"]), (1, &"a.mp4".into()));
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains("(PART_REFUSED)"), "{ended:?}");
    let ended = desk.run("upload a.mp4 b.mp4").await.expect(4);
    assert!(ended.stdout.contains("a.mp4") && !ended.stdout.contains("b.mp4"), "{ended:?}");
}

#[tokio::test]
async fn a_video_that_can_not_be_followed_is_printed_as_it_was_uploaded() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(10));
    desk.fake.state().watches.push_back(vec![Err(tonic::Code::NotFound)]);
    let ended = desk.run("upload a.mp4 --wait --json").await.expect(4);
    assert_eq!(ended.json()["name"], "videos/1");
    assert!(ended.stderr.contains("(BROKEN_ON_PURPOSE)"), "{ended:?}");
}

#[tokio::test]
async fn a_download_is_the_tallest_and_survives_a_break() {
    let desk = Desk::signed_in().await;
    let content = bytes(400_000);
    desk.fake.state().file = content.clone();
    desk.fake.state().cuts.push_back(150_000);
    let rendition = desk.run("download 1 -o out.mp4 --json").await.expect(0).json();
    assert_eq!(rendition["renditionId"], "720p");
    assert_eq!(std::fs::read(desk.path("out.mp4")).unwrap(), content);
    assert!(!desk.path("out.mp4.part").exists());
    let ranges = desk.fake.state().ranges.clone();
    assert_eq!((ranges.len(), ranges[0].as_str()), (2, "bytes=0-"));
    assert_ne!(ranges[1], "bytes=0-", "the second transfer goes on where the first broke");
}

#[tokio::test]
async fn sound_is_downloaded_where_there_is_no_picture() {
    let desk = Desk::signed_in().await;
    let content = bytes(1000);
    desk.fake.state().file = content.clone();
    let audio = |id: &str| Rendition {
        rendition_id: id.into(),
        kind: Kind::Audio.into(),
        // No figure of a track may make it a rung.
        height: 9000,
        ..Rendition::default()
    };
    desk.fake.state().sound = vec![audio("audio-0"), audio("audio-1")];
    let chosen = desk.run("download 1 -o picture.mp4 --json").await.expect(0).json();
    assert_eq!(chosen["renditionId"], "720p");
    desk.fake.state().audio_only = true;
    let chosen = desk.run("download 1 --json").await.expect(0).json();
    assert_eq!((&chosen["renditionId"], &chosen["kind"]), (&"audio-0".into(), &"AUDIO".into()));
    assert_eq!(std::fs::read(desk.path("1-audio-0.mp4")).unwrap(), content);
}

#[tokio::test]
async fn a_video_that_only_plays_yet_is_no_download() {
    let desk = Desk::signed_in().await;
    desk.fake.state().encoding = true;
    for line in ["download 1 --json", "download 1 --rendition 720p --json"] {
        desk.run(line).await.expect(4).told("VIDEO_NOT_READY");
    }
}

#[tokio::test]
async fn the_way_of_encoding_goes_with_the_upload() {
    let desk = Desk::signed_in().await;
    desk.file("a.mp4", &bytes(70_000 * 2));
    desk.fake.state().faults.insert(2, std::iter::repeat_n(Fault::Status(403), 3).collect());
    let line = "upload a.mp4 --profile vp9 --rungs 720,480 --json";
    desk.run(line).await.expect(4).told("PART_REFUSED");
    // Resumed as it was asked for, and begun anew when it shall be encoded in another way.
    assert_eq!(desk.run(line).await.expect(0).json()["name"], "videos/1");
    desk.fake.state().faults.insert(2, std::iter::repeat_n(Fault::Status(403), 3).collect());
    desk.run("upload a.mp4 --keep-hdr --json").await.expect(4).told("PART_REFUSED");
    assert_eq!(desk.run("upload a.mp4 --json").await.expect(0).json()["name"], "videos/3");
    let wide = TranscodeOptions { keep_hdr: true, ..TranscodeOptions::default() };
    let small = TranscodeOptions {
        profile: transcode_options::Profile::Vp9.into(),
        rungs: vec![720, 480],
        ..TranscodeOptions::default()
    };
    assert_eq!(desk.fake.state().options, [Some(small), Some(wide), None]);
}

#[tokio::test]
async fn a_download_goes_on_from_its_own_part_and_not_from_anothers() {
    let desk = Desk::signed_in().await;
    let content = bytes(400_000);
    desk.fake.state().file = content.clone();
    desk.file("own.mp4.part", &content[..200_000]);
    desk.run("download 1 --rendition 720p -o own.mp4").await.expect(0);
    assert_eq!(std::fs::read(desk.path("own.mp4")).unwrap(), content);
    assert_eq!(desk.fake.state().ranges, [format!("bytes={}-", 200_000 - 65_536)]);
    for other in [vec![7; 200_000], vec![7; 900_000], vec![7; 10]] {
        desk.file("other.mp4.part", &other);
        desk.run("download 1 --rendition 720p -o other.mp4").await.expect(0);
        assert_eq!(std::fs::read(desk.path("other.mp4")).unwrap(), content);
    }
}

#[tokio::test]
async fn an_unknown_rendition_is_told_with_those_there_are() {
    let desk = Desk::signed_in().await;
    let ended = desk.run("download 1 --rendition 4320p -o x.mp4 --json").await.expect(4);
    ended.told("RENDITION_NOT_FOUND");
    assert!(ended.stderr.contains("720p, 360p"), "{ended:?}");
    desk.run("download 1 -o .").await.expect(2).told("FILE_IS_FOLDER");
}

/// Peak resident memory of a process, kibibytes.
#[cfg(target_os = "linux")]
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn parts_are_never_in_memory_as_a_whole() {
    let desk = Desk::signed_in().await;
    desk.fake.state().part_size = 32 << 20;
    std::fs::File::create(desk.path("a.mp4")).unwrap().set_len(4 * (32 << 20)).unwrap();
    desk.fake.open_up_to.send_replace(0);
    let upload = desk.start("upload a.mp4 --json");
    // A PUT is noted once its body has arrived whole.
    desk.fake.wait_for("all four parts", |state| state.puts.len() == 4).await;
    let peak = peak_memory(upload.id().unwrap());
    assert!(peak < 60 << 10, "{peak} KiB for four parts of 32 MiB under way");
    desk.fake.open_up_to.send_replace(i32::MAX);
    ended(upload).await.expect(0);
}
