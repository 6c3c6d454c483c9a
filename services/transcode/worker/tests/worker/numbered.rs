//! Videos whose every frame carries its number, as sixteen black and white bars that survive any scaling and coding.

use crate::support::{Clip, decode, ffmpeg, gray_frames};
use std::path::Path;

/// Bits of the number itself.
const BITS: u32 = 11;
/// Bits that are wrong where two frames are mixed.
const CHECK_BITS: u32 = 5;
const BARS: u32 = BITS + CHECK_BITS;
/// The fastest software encoding of H.264.
pub const H264: &str = "-c:v libx264 -preset ultrafast -bf 2";

/// The bars of a frame. From one frame to the next one bar of the number changes, and some of the others.
fn bars(number: u32) -> u32 {
    let gray = number ^ number >> 1;
    let check = (number * 5 + (number >> 3) * 3) % (1 << CHECK_BITS);
    gray << CHECK_BITS | check
}

/// Writes the frames `0..count` as one row of gray pixels each.
fn write_bars(file: &Path, count: u32) {
    assert!(count <= 1 << BITS, "no more frames than numbers");
    let pixel = |bars: u32, place: u32| if bars >> (BARS - 1 - place) & 1 == 1 { 255 } else { 0 };
    let rows = (0..count).map(bars);
    let pixels: Vec<u8> = rows.flat_map(|bars| (0..BARS).map(move |place| pixel(bars, place))).collect();
    std::fs::write(file, pixels).expect("write");
}

/// A clip of `count` numbered frames with a tone, by blank-separated arguments that name filter, codecs and muxer.
pub fn numbered(name: &str, rate: &str, count: u32, args: &str) -> Clip {
    numbered_with(name, rate, count, "", args)
}

/// The same with more filters behind the bars.
pub fn numbered_with(name: &str, rate: &str, count: u32, filters: &str, args: &str) -> Clip {
    let clip = Clip::named(name);
    let bars = clip.beside("bars.gray");
    write_bars(&bars, count);
    ffmpeg(
        &format!(
            "-f rawvideo -pix_fmt gray -s {BARS}x1 -framerate {rate} -i {} -f lavfi -i sine=440:r=44100 -shortest \
             -vf scale=256:144:flags=neighbor,setsar=1,format=yuv420p{filters} {args}",
            bars.display()
        ),
        &clip.file,
    );
    clip
}

/// The numbers that the frames of a file show.
pub fn numbers(file: &Path) -> Vec<u32> {
    let pixels = gray_frames(file, BARS, 1);
    let frames = pixels.chunks_exact(BARS as usize).enumerate();
    frames.map(|(at, row)| number(row).unwrap_or_else(|| panic!("frame {at} is no frame: {row:?}"))).collect()
}

fn number(row: &[u8]) -> Option<u32> {
    let seen = row.iter().fold(0, |bars, &pixel| bars << 1 | u32::from(pixel > 127));
    let mut number = seen >> CHECK_BITS;
    for shift in [1, 2, 4, 8] {
        number ^= number >> shift;
    }
    (bars(number) == seen).then_some(number)
}

/// The number that a still shows, seen through a filter.
pub fn number_in(still: &Path, filter: &str) -> u32 {
    let scaled = format!("{filter},format=gray,scale={BARS}:1:flags=area");
    let row = decode(still, &format!("-vf {scaled} -frames:v 1 -f rawvideo -"));
    number(&row).unwrap_or_else(|| panic!("{} shows no number: {row:?}", still.display()))
}
