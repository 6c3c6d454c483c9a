//! Encoding options on the command line.

use std::time::Duration;

use clap::{Args, ValueEnum};
use reelmill_proto::transcode::{TranscodeOptions, transcode_options};

/// Short sides of a rung that the server accepts, pixels.
const RUNG_PIXELS: std::ops::RangeInclusive<i32> = 64..=4320;
/// Number of rungs that the server accepts.
const MAX_RUNGS: usize = 16;

/// Numbers of the programmes of a broadcast; 0 leaves the choice to the server.
const PROGRAMS: std::ops::RangeInclusive<i64> = 0..=65_535;

/// How to encode the video; the server's configuration applies to what is not given.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Encoding")]
pub struct EncodingArgs {
    /// Video codec
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Trade-off between encoding time and size at equal quality
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Rungs by their short side, for example 720,480 [default: the whole ladder]
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', value_parser = rung)]
    pub rungs: Vec<i32>,
    /// Keep the dynamic range of an HDR source in an additional rung
    #[arg(long)]
    pub keep_hdr: bool,
    /// Position of the poster image [default: chosen by the server]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub poster_time: Option<Duration>,
    /// Programme of a broadcast (MPEG-TS) by its number; 0: the one of the best picture
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(PROGRAMS))]
    pub program: Option<i32>,
}

/// Video codec.
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

/// Trade-off between encoding time and size at equal quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Shortest encoding time
    Fast,
    /// With H.264 about 1.4 times the time of fast, and 5 % smaller
    Balanced,
    /// With H.264 about 3.6 times the time of fast, and 10 % smaller
    Small,
}

impl EncodingArgs {
    /// The message for the server; `None` if no option was given.
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
            source_program: self.program.unwrap_or_default(),
        };
        // Given explicitly, the default replaces what an earlier request chose.
        (options != TranscodeOptions::default() || self.program.is_some()).then_some(options)
    }
}

/// Parses `720` or `720p`.
fn rung(text: &str) -> Result<i32, String> {
    let pixels = text.trim().trim_end_matches('p').parse().ok().filter(|pixels| RUNG_PIXELS.contains(pixels));
    let (min, max) = (RUNG_PIXELS.start(), RUNG_PIXELS.end());
    pixels.ok_or_else(|| {
        format!("expected up to {MAX_RUNGS} rungs, each {min} to {max} pixels on its short side, for example 720,480")
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "expected seconds from the beginning, for example 12.5".to_owned())
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
    fn options_nothing_given_returns_none() {
        assert_eq!(parse("").unwrap(), None);
    }

    #[test]
    fn options_everything_given_sets_every_field() {
        let line = "--profile av1 --preset small --rungs 720,480p --keep-hdr --poster-time 2.5 --program 2";
        let options = TranscodeOptions {
            profile: transcode_options::Profile::Av1.into(),
            preset: transcode_options::Preset::Small.into(),
            rungs: vec![720, 480],
            keep_hdr: true,
            poster_time: Some(reelmill_proto::duration(Duration::from_millis(2500))),
            source_program: 2,
        };
        assert_eq!(parse(line).unwrap(), Some(options));
    }

    #[test]
    fn options_poster_time_zero_is_set_and_not_left_to_the_server() {
        let poster_time = parse("--poster-time 0").unwrap().unwrap().poster_time.unwrap();
        assert_eq!((poster_time.seconds, poster_time.nanos), (0, 0));
    }

    #[test]
    fn options_program_zero_replaces_an_earlier_choice() {
        assert_eq!(parse("--program 0").unwrap(), Some(TranscodeOptions::default()));
    }

    #[test]
    fn parse_unsupported_values_return_error() {
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
            "--program -1",
            "--program 65536",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
