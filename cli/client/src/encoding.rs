//! How a video shall be encoded, as a person types it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use reelmill_proto::transcode::{TranscodeOptions, transcode_options};

/// Short sides of a rung that the server takes, pixels.
const RUNG: std::ops::RangeInclusive<i32> = 64..=4320;
/// Rungs that the server takes.
const MOST_RUNGS: usize = 16;

/// How to encode the video; what is not given follows the server's configuration.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Encoding")]
pub struct EncodingArgs {
    /// Codec of the picture
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Computing time against size at equal quality
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Rungs by their short side, as 720,480 [default: the whole ladder]
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', value_parser = rung)]
    pub rungs: Vec<i32>,
    /// Keep an HDR source's range in a rung of its own
    #[arg(long)]
    pub keep_hdr: bool,
    /// The moment that the poster shows [default: chosen by the server]
    #[arg(long, value_name = "SECONDS", value_parser = moment)]
    pub poster_time: Option<Duration>,
}

/// Codec of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// H.264: plays everywhere
    H264,
    /// H.265
    Hevc,
    /// AV1
    Av1,
    /// VP9
    Vp9,
}

/// Computing time against size at equal quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Least computing time
    Fast,
    /// With H.264 about 1.4 times the time, and a twentieth smaller
    Balanced,
    /// With H.264 about 3.6 times the time of fast, and a tenth smaller
    Small,
}

impl EncodingArgs {
    /// The contract's form; none where nothing was asked for.
    pub fn options(&self) -> Option<TranscodeOptions> {
        let profile = self.profile.map(|profile| match profile {
            Profile::H264 => transcode_options::Profile::H264,
            Profile::Hevc => transcode_options::Profile::Hevc,
            Profile::Av1 => transcode_options::Profile::Av1,
            Profile::Vp9 => transcode_options::Profile::Vp9,
        });
        let preset = self.preset.map(|preset| match preset {
            Preset::Fast => transcode_options::Preset::Fast,
            Preset::Balanced => transcode_options::Preset::Balanced,
            Preset::Small => transcode_options::Preset::Small,
        });
        let options = TranscodeOptions {
            profile: profile.unwrap_or_default().into(),
            preset: preset.unwrap_or_default().into(),
            rungs: self.rungs.clone(),
            keep_hdr: self.keep_hdr,
            poster_time: self.poster_time.map(reelmill_proto::duration),
        };
        (options != TranscodeOptions::default()).then_some(options)
    }
}

/// Reads `720` or `720p`.
fn rung(text: &str) -> Result<i32, String> {
    let pixels = text.trim().trim_end_matches('p').parse().ok().filter(|pixels| RUNG.contains(pixels));
    let (least, most) = (RUNG.start(), RUNG.end());
    pixels.ok_or_else(|| {
        format!("at most {MOST_RUNGS} rungs, each {least} to {most} pixels on its short side, as 720,480")
    })
}

fn moment(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "seconds from the beginning, as 12.5".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        encoding: EncodingArgs,
    }

    fn parse(line: &str) -> Result<Option<TranscodeOptions>, clap::Error> {
        let line = std::iter::once("x").chain(line.split_whitespace());
        Cli::try_parse_from(line).map(|cli| cli.encoding.options())
    }

    #[test]
    fn what_is_typed_becomes_the_contracts_options() {
        assert_eq!(parse("").unwrap(), None);
        let line = "--profile av1 --preset small --rungs 720,480p --keep-hdr --poster-time 2.5";
        let options = TranscodeOptions {
            profile: transcode_options::Profile::Av1.into(),
            preset: transcode_options::Preset::Small.into(),
            rungs: vec![720, 480],
            keep_hdr: true,
            poster_time: Some(reelmill_proto::duration(Duration::from_millis(2500))),
        };
        assert_eq!(parse(line).unwrap(), Some(options));
        // The very first moment is asked for, not left open.
        let first = parse("--poster-time 0").unwrap().unwrap().poster_time.unwrap();
        assert_eq!((first.seconds, first.nanos), (0, 0));
    }

    #[test]
    fn what_no_server_takes_is_wrong_usage() {
        for line in [
            "--profile h261",
            "--preset slow",
            "--rungs 63",
            "--rungs 720,tall",
            "--rungs 720,,480",
            "--rungs 4321",
            "--poster-time -1",
            "--poster-time nan",
            "--poster-time soon",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
