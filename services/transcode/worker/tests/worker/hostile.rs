//! Files made to do harm by what they claim: each ends within bounds, done or with a reason, and the next job is served
//! as ever. Those that others made are in the formats' table.

use crate::job::{Job, Run, done, options, transcode};
use crate::support::{Clip, Store, engine, processes_in, wait_until};
use reelmill_media::FailureKind;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

const PICTURE: &str = "-f lavfi -i testsrc2=s=128x72:r=25:d=4 -c:v libx264 -preset ultrafast -g 25";

/// Where a box of that kind begins and how long it is; the `nth` of its kind.
fn find(bytes: &[u8], kind: &[u8; 4], nth: usize) -> (usize, usize) {
    let places = bytes.windows(4).enumerate().filter(|(_, four)| four == kind).map(|(at, _)| at - 4);
    let at = places.clone().nth(nth).unwrap_or_else(|| panic!("no box {kind:?}"));
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
    let path = clip.beside(name);
    std::fs::write(&path, bytes).expect("write");
    path
}

/// Ends soon, leaves nothing running, and is not tried again.
async fn ended(file: &Path) -> Run {
    let run = tokio::time::timeout(Duration::from_secs(120), transcode(file)).await.expect("bounded");
    // What was killed may take a moment to give back gigabytes.
    wait_until(Duration::from_secs(10), "its end", || processes_in(run.scratch()) == 0).await;
    match &run.result {
        Ok(_) => assert!(!run.done().board.recorded().is_empty(), "{}: nothing to play", file.display()),
        Err(failure) => assert!(!failure.kind.retryable(), "{}: {failure}", file.display()),
    }
    run
}

async fn refused(file: &Path) -> FailureKind {
    match ended(file).await.result {
        Ok(_) => panic!("{} is READY", file.display()),
        Err(failure) => failure.kind,
    }
}

async fn the_next_is_served() {
    let clip = Clip::new("good.mp4", PICTURE);
    assert_eq!(done(&clip.file, &options(&[])).await.frames("72p"), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_giant_index_is_bounded() {
    let clip = Clip::new("clip.mp4", PICTURE);
    let bytes = std::fs::read(&clip.file).expect("file");
    let (at, size) = find(&bytes, b"stts", 0);
    let giant = clip.beside("giant.mp4");
    let mut file = File::create(&giant).expect("create");
    // Two hundred million entries of zeros: a hole in the file, 1.6 GB of index.
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
    ended(&giant).await;
    the_next_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_tracks_are_bounded() {
    let clip = Clip::new("clip.mp4", PICTURE);
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
    assert_eq!(refused(&many).await, FailureKind::LimitExceeded);
    the_next_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_sizes_are_refused() {
    let raw = Clip::new("raw.avi", "-f lavfi -i testsrc2=s=128x72:r=25:d=1 -c:v rawvideo -pix_fmt bgr24");
    let huge = patched(&raw, "huge.avi", |bytes| {
        let (at, _) = find(bytes, b"strf", 0);
        // After the kind: the length, then BITMAPINFOHEADER, little endian.
        bytes[at + 16..at + 20].copy_from_slice(&30_000u32.to_le_bytes());
        bytes[at + 20..at + 24].copy_from_slice(&30_000u32.to_le_bytes());
    });
    let reason = refused(&huge).await;
    assert!(matches!(reason, FailureKind::VideoTooLarge | FailureKind::DecodeFailed), "{reason}");
    // The container is modest, each frame is not.
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
    ended(&huge).await;
    the_next_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_lengths_are_bounded() {
    // Three pictures in two hours; and four seconds that claim to be 27 years.
    let sparse = Clip::new(
        "sparse.mkv",
        "-f lavfi -i testsrc2=s=32x16:r=25:d=0.12 -vf setpts=N*3600/TB -fps_mode passthrough -c:v libx264",
    );
    ended(&sparse.file).await;
    let clip = Clip::new("clip.mp4", PICTURE);
    let ages = patched(&clip, "ages.mp4", |bytes| {
        for (kind, scale, length) in [(b"mvhd", 20, 24), (b"mdhd", 20, 24)] {
            let (at, _) = find(bytes, kind, 0);
            let rate = number(bytes, at + scale);
            put(bytes, at + length, rate.saturating_mul(850_000).max(u32::MAX - 1));
        }
    });
    let run = ended(&ages).await;
    assert_eq!(run.done().frames("72p"), 100, "what is there is made, whatever is claimed");
    the_next_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pathological_times_are_bounded() {
    let clip = Clip::new("clip.mp4", PICTURE);
    for (name, delta) in [("still.mp4", 0), ("slow.mp4", 0x7fff_ffff), ("back.mp4", 0xffff_ff00)] {
        let file = patched(&clip, name, |bytes| {
            let (at, _) = find(bytes, b"stts", 0);
            put(bytes, at + 20, delta);
        });
        ended(&file).await;
    }
    let clip = Clip::new("clip.ts", PICTURE);
    let ticks: [(&str, Tick); 4] = [
        ("still.ts", |_, _| 1000),
        ("back.ts", |nth, time| time + 900_000_000 - nth * 3600),
        ("leap.ts", |nth, time| if nth > 50 { time + 90_000 * 7200 } else { time }),
        ("wild.ts", |nth, _| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 31),
    ];
    for (name, tick) in ticks {
        let file = patched(&clip, name, |bytes| retime(bytes, tick));
        ended(&file).await;
    }
    the_next_is_served().await;
}

/// So many pictures in the last seconds that not all of their times are read: what is read counts, whatever becomes of
/// the program that lists them.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_pictures_at_the_end_is_bounded() {
    let crowd = Clip::new(
        "crowd.mov",
        "-f lavfi -i color=black:s=16x16:r=20000 -frames:v 40000 -vf setpts=if(lt(N\\,10)\\,N*20000\\,200000+N) \
         -fps_mode passthrough -enc_time_base 1:20000 -video_track_timescale 20000 -c:v rawvideo -pix_fmt gray",
    );
    let mut engine = engine();
    // A pipe holds no more, so that the rest can't be written.
    engine.limits.max_packet_list_bytes = 64 << 10;
    let store = Store::start().await;
    let planned = Job::new(&engine, store.add(&crowd.file), &options(&[])).await;
    let job = planned.map_err(|(failure, _)| failure).expect("planned");
    assert!(job.plan.source.video.as_ref().expect("video").stated_end.is_some());
    job.run().await.expect("done");
    let [rung] = job.rungs()[..] else { panic!("{:?}", job.rungs()) };
    let seconds = job.plan.video.as_ref().expect("video").rate.seconds_of(u64::from(job.frames(rung)));
    assert!((seconds - 12.0).abs() < 0.1, "{seconds}");
}

/// A picture's time by its number and the time it had, ticks of 90 kHz.
type Tick = fn(u64, u64) -> u64;

/// Gives the pictures of a transport stream other times, by their number and the time they had.
fn retime(bytes: &mut [u8], tick: Tick) {
    let mut nth = 0;
    for packet in bytes.chunks_exact_mut(188) {
        let adaptation = if packet[3] & 0x20 == 0 { 0 } else { usize::from(packet[4]) + 1 };
        let at = 4 + adaptation;
        let is_picture = packet[1] & 0x40 != 0 && packet.get(at..at + 4) == Some(&[0, 0, 1, 0xe0]);
        if !is_picture {
            continue;
        }
        let flags = packet[at + 7] >> 6;
        for place in
            [(flags & 2 != 0).then_some(at + 9), (flags == 3).then_some(at + 14)].into_iter().flatten()
        {
            let five = &mut packet[place..place + 5];
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
    assert!(nth > 50, "{nth} pictures");
}
