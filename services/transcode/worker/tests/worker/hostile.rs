//! Crafted files with absurd values: each transcode ends within its limits, completed or with a reason, and the next one
//! works as usual. Files from other projects are listed in `docs/FORMATS.md`.

use crate::support::{
    Clip, FileServer, Job, Run, count_processes_in, engine, options, transcode, transcoded, wait_until,
};
use reelmill_media::{FailureCause, FailureKind};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

const VIDEO: &str = "-f lavfi -i testsrc2=s=128x72:r=25:d=4 -c:v libx264 -preset ultrafast -g 25";

/// Offset and size of the `nth` box of a kind.
fn find(bytes: &[u8], kind: &[u8; 4], nth: usize) -> (usize, usize) {
    let offsets = bytes.windows(4).enumerate().filter(|(_, four)| four == kind).map(|(at, _)| at - 4);
    let at = offsets.clone().nth(nth).unwrap_or_else(|| panic!("no box {kind:?}"));
    (at, number(bytes, at) as usize)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"))
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

fn patched(clip: &Clip, name: &str, patch: impl FnOnce(&mut Vec<u8>)) -> std::path::PathBuf {
    let mut bytes = std::fs::read(&clip.file).expect("file");
    patch(&mut bytes);
    let path = clip.sibling(name);
    std::fs::write(&path, bytes).expect("write");
    path
}

/// Transcodes a file. It must end within the limits, leave no process, and not fail retryably.
async fn transcode_bounded(file: &Path) -> Run {
    let run = tokio::time::timeout(Duration::from_secs(120), transcode(file)).await.expect("bounded");
    // A killed process may need some time to free gigabytes.
    wait_until(Duration::from_secs(10), "the end of its processes", || {
        count_processes_in(run.scratch()) == 0
    })
    .await;
    match &run.result {
        Ok(_) => {
            assert!(!run.completed().outputs.recorded().is_empty(), "{}: nothing is playable", file.display())
        }
        Err(failure) => assert!(failure.kind.cause() == FailureCause::File, "{}: {failure}", file.display()),
    }
    run
}

/// Transcodes a file, which must fail, and returns the reason.
async fn failure_kind(file: &Path) -> FailureKind {
    match transcode_bounded(file).await.result {
        Ok(_) => panic!("{} is READY", file.display()),
        Err(failure) => failure.kind,
    }
}

async fn assert_next_transcode_works() {
    let clip = Clip::new("good.mp4", VIDEO);
    assert_eq!(transcoded(&clip.file, &options(&[])).await.frames("72p"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_giant_index_is_bounded() {
    let clip = Clip::new("clip.mp4", VIDEO);
    let bytes = std::fs::read(&clip.file).expect("file");
    let (at, size) = find(&bytes, b"stts", 0);
    let giant = clip.sibling("giant.mp4");
    let mut file = File::create(&giant).expect("create");
    // Two hundred million zero entries as a sparse file: 1.6 GB of index.
    let entries = 200_000_000;
    let mut head = bytes[..at + 16].to_vec();
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"] {
        let (at, whole) = find(&bytes, kind, 0);
        put(&mut head, at, (whole - size) as u32 + 16 + entries * 8);
    }
    put(&mut head, at + 12, entries);
    file.write_all(&head).expect("write");
    file.seek(SeekFrom::Current(i64::from(entries) * 8)).expect("seek");
    file.write_all(&bytes[at + size..]).expect("write");
    transcode_bounded(&giant).await;
    assert_next_transcode_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_thousands_of_tracks_is_refused() {
    let clip = Clip::new("clip.mp4", VIDEO);
    let many = patched(&clip, "many.mp4", |bytes| {
        let (at, size) = find(bytes, b"trak", 0);
        let track = bytes[at..at + size].to_vec();
        let (moov, length) = find(bytes, b"moov", 0);
        const COPIES: usize = 5000;
        put(bytes, moov, (length + COPIES * size) as u32);
        let mut copies = Vec::new();
        for copy in 0..COPIES {
            let mut track = track.clone();
            let (header, _) = find(&track, b"tkhd", 0);
            put(&mut track, header + 20, copy as u32 + 2);
            copies.extend(track);
        }
        bytes.splice(at + size..at + size, copies);
    });
    assert_eq!(failure_kind(&many).await, FailureKind::LimitExceeded);
    assert_next_transcode_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_absurd_frame_size_is_bounded() {
    let raw = Clip::new("raw.avi", "-f lavfi -i testsrc2=s=128x72:r=25:d=1 -c:v rawvideo -pix_fmt bgr24");
    let huge = patched(&raw, "huge.avi", |bytes| {
        let (at, _) = find(bytes, b"strf", 0);
        // The kind is followed by the length, then BITMAPINFOHEADER, little endian.
        bytes[at + 16..at + 20].copy_from_slice(&30_000u32.to_le_bytes());
        bytes[at + 20..at + 24].copy_from_slice(&30_000u32.to_le_bytes());
    });
    let reason = failure_kind(&huge).await;
    assert!(matches!(reason, FailureKind::VideoTooLarge | FailureKind::DecodeFailed), "{reason}");
    // The container states a normal size, each frame a huge one.
    let stills = Clip::new("stills.avi", "-f lavfi -i testsrc2=s=128x72:r=25:d=1 -c:v mjpeg");
    let huge = patched(&stills, "frames.avi", |bytes| {
        let starts: Vec<_> = bytes
            .windows(4)
            .enumerate()
            .filter(|(_, four)| *four == [0xff, 0xc0, 0, 17])
            .map(|(at, _)| at)
            .collect();
        assert!(starts.len() > 20, "{}", starts.len());
        for at in starts {
            bytes[at + 5..at + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
        }
    });
    transcode_bounded(&huge).await;
    assert_next_transcode_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_absurd_duration_is_bounded() {
    // Three frames in two hours, and four seconds with a stated duration of 27 years.
    let sparse = Clip::new(
        "sparse.mkv",
        "-f lavfi -i testsrc2=s=32x16:r=25:d=0.12 -vf setpts=N*3600/TB -fps_mode passthrough -c:v libx264",
    );
    transcode_bounded(&sparse.file).await;
    let clip = Clip::new("clip.mp4", VIDEO);
    let ages = patched(&clip, "ages.mp4", |bytes| {
        for (kind, scale, length) in [(b"mvhd", 20, 24), (b"mdhd", 20, 24)] {
            let (at, _) = find(bytes, kind, 0);
            let rate = number(bytes, at + scale);
            put(bytes, at + length, rate.saturating_mul(850_000).max(u32::MAX - 1));
        }
    });
    let run = transcode_bounded(&ages).await;
    assert_eq!(
        run.completed().frames("72p"),
        100,
        "all existing frames are encoded, whatever the stated duration"
    );
    assert_next_transcode_works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_pathological_timestamps_is_bounded() {
    let clip = Clip::new("clip.mp4", VIDEO);
    for (name, delta) in [("still.mp4", 0), ("slow.mp4", 0x7fff_ffff), ("back.mp4", 0xffff_ff00)] {
        let file = patched(&clip, name, |bytes| {
            let (at, _) = find(bytes, b"stts", 0);
            put(bytes, at + 20, delta);
        });
        transcode_bounded(&file).await;
    }
    let clip = Clip::new("clip.ts", VIDEO);
    let ticks: [(&str, Tick); 4] = [
        ("still.ts", |_, _| 1000),
        ("back.ts", |nth, time| time + 900_000_000 - nth * 3600),
        ("leap.ts", |nth, time| if nth > 50 { time + 90_000 * 7200 } else { time }),
        ("wild.ts", |nth, _| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 31),
    ];
    for (name, tick) in ticks {
        let file = patched(&clip, name, |bytes| retime(bytes, tick));
        transcode_bounded(&file).await;
    }
    assert_next_transcode_works().await;
}

/// The last seconds have more frames than the limit of the packet list allows to read: the part that was read is used,
/// whatever the exit status of ffprobe.
#[tokio::test(flavor = "multi_thread")]
async fn transcode_more_frames_than_the_packet_list_holds_is_bounded() {
    let crowd = Clip::new(
        "crowd.mov",
        "-f lavfi -i color=black:s=16x16:r=20000 -frames:v 40000 -vf setpts=if(lt(N\\,10)\\,N*20000\\,200000+N) \
         -fps_mode passthrough -enc_time_base 1:20000 -video_track_timescale 20000 -c:v rawvideo -pix_fmt gray",
    );
    let mut engine = engine();
    // The capacity of a pipe, so that ffprobe cannot write the rest.
    engine.limits.max_packet_list_bytes = 64 << 10;
    let server = FileServer::start().await;
    let job = Job::planned_with(&engine, server.add(&crowd.file), &options(&[])).await;
    assert!(job.plan.source.video.as_ref().expect("video").stated_end.is_some());
    job.run().await.expect("done");
    let [rung] = job.rungs()[..] else { panic!("{:?}", job.rungs()) };
    let seconds = job.plan.video.as_ref().expect("video").rate.seconds_of(u64::from(job.frames(rung)));
    assert!((seconds - 12.0).abs() < 0.1, "{seconds}");
}

/// New timestamp of a frame by its index and old timestamp, in ticks of 90 kHz.
type Tick = fn(u64, u64) -> u64;

/// Changes the timestamps of the frames of a transport stream.
fn retime(bytes: &mut [u8], tick: Tick) {
    let mut nth = 0;
    for packet in bytes.chunks_exact_mut(188) {
        let adaptation = if packet[3] & 0x20 == 0 { 0 } else { usize::from(packet[4]) + 1 };
        let at = 4 + adaptation;
        let is_frame_start = packet[1] & 0x40 != 0 && packet.get(at..at + 4) == Some(&[0, 0, 1, 0xe0]);
        if !is_frame_start {
            continue;
        }
        let flags = packet[at + 7] >> 6;
        for offset in
            [(flags & 2 != 0).then_some(at + 9), (flags == 3).then_some(at + 14)].into_iter().flatten()
        {
            let five = &mut packet[offset..offset + 5];
            let part = |byte: u8, bits: u64| u64::from(byte) & bits;
            let time = part(five[0], 0x0e) << 29
                | part(five[1], 0xff) << 22
                | part(five[2], 0xfe) << 14
                | part(five[3], 0xff) << 7
                | part(five[4], 0xfe) >> 1;
            let time = tick(nth, time) & ((1 << 33) - 1);
            five[0] = five[0] & 0xf1 | (time >> 29) as u8 & 0x0e;
            five[1] = (time >> 22) as u8;
            five[2] = (time >> 14) as u8 | 1;
            five[3] = (time >> 7) as u8;
            five[4] = (time << 1) as u8 | 1;
        }
        nth += 1;
    }
    assert!(nth > 50, "{nth} frames");
}
