//! What others run for the same rungs: their options, written out.
//!
//! - PeerTube: github.com/Chocobozzz/PeerTube, packages/ffmpeg/src/ffmpeg-vod.ts, ffmpeg-default-transcoding-profile.ts
//!   and shared/*.ts, packages/core-utils/src/videos/bitrate.ts; one thread a process by config/default.yaml.
//! - MediaCMS: github.com/mediacms-io/mediacms, files/helpers.py (commit 58fea13) and `produce_sprite_from_video` of
//!   files/tasks.py. Not counted, to its advantage: its 240p and its preview, joining the sprites, and packaging for HLS.
//! - The naive way: nothing but a size.

use reelmill_media::{geometry::Size, rate::Rate};

/// Whose commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    PeerTube,
    MediaCms,
    Naive,
}

/// What the commands depend on.
pub(super) struct Facts {
    pub input: String,
    /// Bits a second of the whole input.
    pub bit_rate: f64,
    pub rate: Rate,
    /// Width over height.
    pub ratio: f64,
    pub has_sound: bool,
    /// The rungs, highest first.
    pub sizes: Vec<Size>,
}

/// The arguments of each ffmpeg.
pub(super) struct Commands {
    /// One a rung.
    pub rungs: Vec<Vec<String>>,
    /// What a rung's command leaves behind that can be decoded.
    pub files: Vec<String>,
    /// What else is run for the video.
    pub others: Vec<Vec<String>>,
}

/// A peer's commands at a CRF; 23 is what all of them have.
pub(super) fn commands(way: Way, facts: &Facts, crf: u32, name: &str) -> Commands {
    let mut commands = Commands { rungs: Vec::new(), files: Vec::new(), others: Vec::new() };
    for &size in &facts.sizes {
        let file = format!("{name}-{}.mp4", size.short());
        commands.rungs.push(match way {
            Way::PeerTube => peertube(facts, size, &file),
            Way::MediaCms => mediacms(facts, size, crf, &file),
            Way::Naive => naive(facts, size, crf, &file),
        });
        commands.files.push(file);
    }
    if way == Way::MediaCms {
        let mut sprites = input(facts);
        sprites.extend(words("-f image2 -vf fps=1/10,scale=160:90"));
        sprites.push(format!("{name}-%03d.jpg"));
        commands.others.push(sprites);
    }
    commands
}

/// Quiet and without questions; the peers' own commands differ in nothing else.
fn input(facts: &Facts) -> Vec<String> {
    let mut args = words("-v error -nostdin -y -i");
    args.push(facts.input.clone());
    args
}

/// HLS with the sound in every rung, as the defaults have it. x264's CRF is left at 23.
fn peertube(facts: &Facts, size: Size, file: &str) -> Vec<String> {
    // It rounds the rate.
    let fps = facts.rate.fps().round();
    let bit_rate = peertube_bit_rate(facts, size.height, fps);
    let mut args = input(facts);
    args.extend(if facts.has_sound { words("-acodec aac -channel_layout stereo") } else { words("-an") });
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

/// Bits a pixel by lines, between a least and 1.3 times what the input has.
fn peertube_bit_rate(facts: &Facts, height: u32, fps: f64) -> u64 {
    const LEAST: f64 = 0.02;
    let average = match height {
        2160.. => 0.08,
        1440.. => 0.09,
        1080.. => 0.10,
        720.. => 0.11,
        480.. => 0.12,
        360.. => 0.15,
        240.. => 0.17,
        _ => 0.19,
    };
    let pixels = f64::from(height) * f64::from(height) * facts.ratio * fps;
    (pixels * average).min(facts.bit_rate * 1.3).max(pixels * LEAST).floor() as u64
}

/// Medium, and faster from 720 lines on; main profile; peaks of half as much again as its table of bit rates.
fn mediacms(facts: &Facts, size: Size, crf: u32, file: &str) -> Vec<String> {
    let height = size.height;
    let wide = (f64::from(height) * 16.0 / 9.0).round();
    let max_rate = mediacms_kilobits(facts.rate.fps() > 30.0, height) * 3 / 2;
    let preset = if height >= 720 { "faster" } else { "medium" };
    let level = if height <= 1080 { "4.2" } else { "5.2" };
    let keyframes = (facts.rate.fps() * 4.0) as u32;
    let mut args = input(facts);
    args.extend(words("-c:v libx264 -filter:v"));
    args.push(format!(
        "scale=if(lt(iw\\,ih)\\,{height}\\,{wide}):if(lt(iw\\,ih)\\,{wide}\\,{height}):\
         force_original_aspect_ratio=decrease:force_divisible_by=2:flags=lanczos,fps=fps={}",
        facts.rate
    ));
    args.extend(words(&format!("-pix_fmt yuv420p -crf {crf}")));
    if facts.has_sound {
        args.extend(words("-c:a aac -b:a 128k -ac 2"));
    }
    args.extend(words(&format!(
        "-maxrate {max_rate}k -bufsize {max_rate}k -force_key_frames expr:gte(t,n_forced*4) \
         -x264-params keyint={}:keyint_min={keyframes} -preset {preset} -profile:v main -level {level} -strict -2 {file}",
        keyframes * 2
    )));
    args
}

/// Its table for H.264, kilobits a second.
fn mediacms_kilobits(is_fast: bool, height: u32) -> u32 {
    match (height, is_fast) {
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

fn naive(facts: &Facts, size: Size, crf: u32, file: &str) -> Vec<String> {
    let mut args = input(facts);
    args.extend(words(&format!(
        "-vf scale={}:{} -c:v libx264 -crf {crf} -c:a aac {file}",
        size.width, size.height
    )));
    args
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{Facts, Way, commands};
    use reelmill_media::{geometry::Size, rate::Rate};

    fn facts(bit_rate: f64) -> Facts {
        Facts {
            input: "in.mp4".to_owned(),
            bit_rate,
            rate: Rate::new(30, 1).expect("a rate"),
            ratio: 16.0 / 9.0,
            has_sound: true,
            sizes: vec![Size { width: 1920, height: 1080 }, Size { width: 854, height: 480 }],
        }
    }

    fn value<'a>(args: &'a [String], name: &str) -> &'a str {
        let place = args.iter().position(|arg| arg == name).expect(name);
        &args[place + 1]
    }

    #[test]
    fn peertube_goes_by_pixels_and_the_inputs_bit_rate() {
        let made = commands(Way::PeerTube, &facts(50e6), 23, "x");
        assert_eq!((made.rungs.len(), made.others.len()), (2, 0));
        // 1080 x 1920 x 30 frames x 0.10 bits.
        assert_eq!(value(&made.rungs[0], "-maxrate:v"), "6220800");
        assert_eq!(value(&made.rungs[0], "-bufsize:v"), "12441600");
        assert_eq!(value(&made.rungs[0], "-g:v"), "60");
        let poor = commands(Way::PeerTube, &facts(2e6), 23, "x");
        assert_eq!(value(&poor.rungs[0], "-maxrate:v"), "2600000");
    }

    #[test]
    fn mediacms_changes_preset_at_720_lines() {
        let made = commands(Way::MediaCms, &facts(8e6), 20, "x");
        assert_eq!(
            (value(&made.rungs[0], "-preset"), value(&made.rungs[1], "-preset")),
            ("faster", "medium")
        );
        assert_eq!((value(&made.rungs[0], "-maxrate"), value(&made.rungs[0], "-crf")), ("6750k", "20"));
        assert_eq!(made.others.len(), 1, "the sprites");
    }
}
