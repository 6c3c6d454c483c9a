//! The self-test of an encoder build.

use super::{
    args::{bitexact, words},
    encoders::encoder_args,
};
use crate::{
    geometry::Size,
    plan::{Codec, Encoding, Options, Rung},
    probe::VideoRange,
};

/// Arguments of an ffmpeg that encodes one second of test frames and prints a digest of the output. The digests of builds
/// that produce different bytes differ.
pub fn self_test(codec: Codec) -> Vec<String> {
    let options = Options { codec, threads: 2, ..Options::default() };
    let size = Size { width: 128, height: 96 };
    let encoding = Encoding::sdr(&options, size.short(), false);
    let rung = Rung { id: String::new(), size, frame_step: 1, range: VideoRange::Sdr, encoding };
    let mut args = words("-v error -nostdin -f lavfi -i testsrc2=size=192x144:rate=25 -frames:v 25 -vf");
    args.push(format!("scale={}:{}:flags=lanczos,format=yuv420p", size.width, size.height));
    args.extend(encoder_args(&rung, 25, options.threads, None));
    args.extend(bitexact());
    args.extend(words("-f md5 -"));
    args
}
