//! Videos whose frames carry their number, as sixteen black and white bars that survive scaling and encoding.

use super::clip::Clip;
use super::ffmpeg::{decode, gray_frames};
use std::path::Path;

/// Bits of the frame number.
const NUMBER_BITS: u32 = 11;
/// Bits that do not match where two frames are blended.
const CHECK_BITS: u32 = 5;
const BARS: u32 = NUMBER_BITS + CHECK_BITS;
/// Arguments of the fastest H.264 software encoder.
pub const H264: &str = "-c:v libx264 -preset ultrafast -bf 2";

/// The bars of a frame. From one frame to the next one bar of the number changes, and some check bars.
fn bars(number: u32) -> u32 {
    let gray = number ^ number >> 1;
    let check = (number * 5 + (number >> 3) * 3) % (1 << CHECK_BITS);
    gray << CHECK_BITS | check
}

/// Raw video of the frames `0..count`, each one row of gray pixels.
fn numbered_bars(count: u32) -> Vec<u8> {
    assert!(count <= 1 << NUMBER_BITS, "more frames than numbers");
    let pixel = |bars: u32, index: u32| if bars >> (BARS - 1 - index) & 1 == 1 { 255 } else { 0 };
    let rows = (0..count).map(bars);
    rows.flat_map(|bars| (0..BARS).map(move |index| pixel(bars, index))).collect()
}

/// Generates a clip of `count` numbered frames and a tone. The arguments name codecs and muxer options.
pub fn numbered_clip(name: &str, rate: &str, count: u32, args: &str) -> Clip {
    numbered_clip_filtered(name, rate, count, "", args)
}

/// The same with filters that are appended to the scaled bars.
pub fn numbered_clip_filtered(name: &str, rate: &str, count: u32, filters: &str, args: &str) -> Clip {
    let bars = Clip::with_content("bars.gray", numbered_bars(count));
    Clip::from_inputs(
        name,
        &[&bars.file],
        &format!(
            "-f rawvideo -pix_fmt gray -s {BARS}x1 -framerate {rate} -i {{0}} -f lavfi -i sine=440:r=44100 -shortest \
             -vf scale=256:144:flags=neighbor,setsar=1,format=yuv420p{filters} {args}"
        ),
    )
}

/// The numbers that a file's frames show.
pub fn frame_numbers(file: &Path) -> Vec<u32> {
    let pixels = gray_frames(file, BARS, 1);
    let frames = pixels.chunks_exact(BARS as usize).enumerate();
    frames
        .map(|(frame, row)| number(row).unwrap_or_else(|| panic!("frame {frame} shows no number: {row:?}")))
        .collect()
}

fn number(row: &[u8]) -> Option<u32> {
    let decoded = row.iter().fold(0, |bars, &pixel| bars << 1 | u32::from(pixel > 127));
    let mut number = decoded >> CHECK_BITS;
    for shift in [1, 2, 4, 8] {
        number ^= number >> shift;
    }
    (bars(number) == decoded).then_some(number)
}

/// The number that an image shows after a filter.
pub fn frame_number_in(image: &Path, filter: &str) -> u32 {
    let scaled = format!("{filter},format=gray,scale={BARS}:1:flags=area");
    let row = decode(image, &format!("-vf {scaled} -frames:v 1 -f rawvideo -"));
    number(&row).unwrap_or_else(|| panic!("{} shows no number: {row:?}", image.display()))
}
