//! The ffmpeg commands of other products for the same rungs.
//!
//! - PeerTube: github.com/Chocobozzz/PeerTube, packages/ffmpeg/src/ffmpeg-vod.ts, ffmpeg-default-transcoding-profile.ts
//!   and shared/*.ts, packages/core-utils/src/videos/bitrate.ts; one thread per process by config/default.yaml.
//! - MediaCMS: github.com/mediacms-io/mediacms, files/helpers.py (commit 58fea13) and `produce_sprite_from_video` of
//!   files/tasks.py. Left out, in its favour: 240p, the preview, joining the sprites, and packaging for HLS.
//! - Naive: only a size, otherwise x264's defaults.

use reelmill_media::{geometry::Size, rate::Rate};

use super::runner::{Encoded, Runner};
use crate::{ffmpeg::words, process};

/// The system whose commands are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoder {
    PeerTube,
    MediaCms,
    Naive,
}

/// Properties of the source that the commands depend on.
pub(super) struct SourceInfo {
    pub path: String,
    /// Bits per second of the whole file.
    pub bit_rate: f64,
    pub rate: Rate,
    /// Width divided by height.
    pub aspect_ratio: f64,
    pub has_audio: bool,
    /// The rungs, highest first.
    pub sizes: Vec<Size>,
}

/// Arguments of each ffmpeg process.
pub(super) struct Commands {
    /// One per rung.
    pub rungs: Vec<Vec<String>>,
    /// The decodable output file of each rung.
    pub files: Vec<String>,
    /// Other processes for the video.
    pub others: Vec<Vec<String>>,
}

/// A peer's commands at a CRF. All peers use 23 themselves.
pub(super) fn commands(peer: Encoder, source: &SourceInfo, crf: u32, name: &str) -> Commands {
    let mut commands = Commands { rungs: Vec::new(), files: Vec::new(), others: Vec::new() };
    for &size in &source.sizes {
        let file = format!("{name}-{}.mp4", size.short());
        commands.rungs.push(match peer {
            Encoder::PeerTube => peertube(source, size, &file),
            Encoder::MediaCms => mediacms(source, size, crf, &file),
            Encoder::Naive => naive(source, size, crf, &file),
        });
        commands.files.push(file);
    }
    if peer == Encoder::MediaCms {
        let mut sprites = input(source);
        sprites.extend(words("-f image2 -vf fps=1/10,scale=160:90"));
        sprites.push(format!("{name}-%03d.jpg"));
        commands.others.push(sprites);
    }
    commands
}

/// Runs a peer's commands one after the other.
pub(super) async fn encode(runner: &Runner<'_>, commands: &Commands) -> anyhow::Result<Encoded> {
    let before = process::children_cpu_seconds()?;
    for args in commands.rungs.iter().chain(&commands.others) {
        runner.ffmpeg(args).await?;
    }
    let cpu_seconds = process::children_cpu_seconds()? - before;
    Ok(Encoded { cpu_seconds, files: commands.files.clone() })
}

/// Non-interactive, errors only. The rest of each command is the peer's own.
fn input(source: &SourceInfo) -> Vec<String> {
    let mut args = words("-v error -nostdin -y -i");
    args.push(source.path.clone());
    args
}

/// HLS with audio in every rung, PeerTube's default. The CRF remains at x264's default, 23.
fn peertube(source: &SourceInfo, size: Size, file: &str) -> Vec<String> {
    // PeerTube rounds the rate.
    let fps = source.rate.fps().round();
    let bit_rate = peertube_bit_rate(source, size.height, fps);
    let mut args = input(source);
    args.extend(if source.has_audio { words("-acodec aac -channel_layout stereo") } else { words("-an") });
    args.extend(words(&format!(
        "-vcodec libx264 -threads 1 -f hls -movflags faststart -max_muxing_queue_size 1024 -map_metadata -1 \
         -pix_fmt yuv420p -vf scale=w=-2:h={} -preset veryfast -maxrate:v {bit_rate} -bufsize:v {} -b_strategy 1 \
         -bf 16 -r {fps} -g:v {} -hls_time 4 -hls_list_size 0 -hls_playlist_type vod -hls_segment_filename {file} \
         -hls_segment_type fmp4 -hls_flags single_file {file}.m3u8",
        size.height,
        bit_rate * 2,
        fps * 2.0,
    )));
    args
}

/// Bits per pixel by number of lines, with a lower bound, and at most 1.3 times the bit rate of the input.
fn peertube_bit_rate(source: &SourceInfo, height: u32, fps: f64) -> u64 {
    const MIN_BITS_PER_PIXEL: f64 = 0.02;
    let bits_per_pixel = match height {
        2160.. => 0.08,
        1440.. => 0.09,
        1080.. => 0.10,
        720.. => 0.11,
        480.. => 0.12,
        360.. => 0.15,
        240.. => 0.17,
        _ => 0.19,
    };
    let pixels = f64::from(height) * f64::from(height) * source.aspect_ratio * fps;
    (pixels * bits_per_pixel).min(source.bit_rate * 1.3).max(pixels * MIN_BITS_PER_PIXEL).floor() as u64
}

/// Preset medium, or faster from 720 lines on; main profile; maximum bit rate 1.5 times that of its table.
fn mediacms(source: &SourceInfo, size: Size, crf: u32, file: &str) -> Vec<String> {
    let height = size.height;
    let width = (f64::from(height) * 16.0 / 9.0).round();
    let max_rate = mediacms_kilobits(source.rate.fps() > 30.0, height) * 3 / 2;
    let preset = if height >= 720 { "faster" } else { "medium" };
    let level = if height <= 1080 { "4.2" } else { "5.2" };
    let keyframes = (source.rate.fps() * 4.0) as u32;
    let mut args = input(source);
    args.extend(words("-c:v libx264 -filter:v"));
    args.push(format!(
        "scale=if(lt(iw\\,ih)\\,{height}\\,{width}):if(lt(iw\\,ih)\\,{width}\\,{height}):\
         force_original_aspect_ratio=decrease:force_divisible_by=2:flags=lanczos,fps=fps={}",
        source.rate
    ));
    args.extend(words(&format!("-pix_fmt yuv420p -crf {crf}")));
    if source.has_audio {
        args.extend(words("-c:a aac -b:a 128k -ac 2"));
    }
    args.extend(words(&format!(
        "-maxrate {max_rate}k -bufsize {max_rate}k -force_key_frames expr:gte(t,n_forced*4) \
         -x264-params keyint={}:keyint_min={keyframes} -preset {preset} -profile:v main -level {level} -strict -2 {file}",
        keyframes * 2
    )));
    args
}

/// MediaCMS's bit rates for H.264, kbit/s.
fn mediacms_kilobits(is_high_rate: bool, height: u32) -> u32 {
    match (height, is_high_rate) {
        (2160.., false) => 18_000,
        (2160.., true) => 40_000,
        (1440.., false) => 9000,
        (1440.., true) => 18_000,
        (1080.., false) => 4500,
        (1080.., true) => 7500,
        (720.., false) => 2500,
        (720.., true) => 3500,
        (480.., _) => 1000,
        (360.., _) => 500,
        _ => 300,
    }
}

fn naive(source: &SourceInfo, size: Size, crf: u32, file: &str) -> Vec<String> {
    let mut args = input(source);
    args.extend(words(&format!(
        "-vf scale={}:{} -c:v libx264 -crf {crf} -c:a aac {file}",
        size.width, size.height
    )));
    args
}

#[cfg(test)]
mod tests {
    use reelmill_media::{geometry::Size, rate::Rate};

    use super::{Encoder, SourceInfo, commands};

    fn source(bit_rate: f64) -> SourceInfo {
        SourceInfo {
            path: "in.mp4".to_owned(),
            bit_rate,
            rate: Rate::new(30, 1).expect("a rate"),
            aspect_ratio: 16.0 / 9.0,
            has_audio: true,
            sizes: vec![Size { width: 1920, height: 1080 }, Size { width: 854, height: 480 }],
        }
    }

    fn value<'a>(args: &'a [String], name: &str) -> &'a str {
        let index = args.iter().position(|arg| arg == name).expect(name);
        &args[index + 1]
    }

    #[test]
    fn peertube_bit_rate_depends_on_pixels_and_the_sources_bit_rate() {
        let peertube = commands(Encoder::PeerTube, &source(50e6), 23, "x");
        assert_eq!((peertube.rungs.len(), peertube.others.len()), (2, 0));
        // 1080 x 1920 x 30 frames x 0.10 bits.
        assert_eq!(value(&peertube.rungs[0], "-maxrate:v"), "6220800");
        assert_eq!(value(&peertube.rungs[0], "-bufsize:v"), "12441600");
        assert_eq!(value(&peertube.rungs[0], "-g:v"), "60");
        let low = commands(Encoder::PeerTube, &source(2e6), 23, "x");
        assert_eq!(value(&low.rungs[0], "-maxrate:v"), "2600000");
    }

    #[test]
    fn mediacms_preset_is_faster_from_720_lines() {
        let mediacms = commands(Encoder::MediaCms, &source(8e6), 20, "x");
        assert_eq!(
            (value(&mediacms.rungs[0], "-preset"), value(&mediacms.rungs[1], "-preset")),
            ("faster", "medium")
        );
        assert_eq!(
            (value(&mediacms.rungs[0], "-maxrate"), value(&mediacms.rungs[0], "-crf")),
            ("6750k", "20")
        );
        assert_eq!(mediacms.others.len(), 1, "the sprites");
    }
}
