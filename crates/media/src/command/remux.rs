//! The command that writes a file to download.

use super::args::{bitexact, words};

/// Arguments of the ffmpeg that joins the fragments of a rung and of audio into one progressive MP4, index first. All
/// three are names of local files; at least one input is required.
pub fn remux(video: Option<&str>, audio: Option<&str>, output: &str) -> Vec<String> {
    let mut args = words("-v error -nostdin -y");
    for input in video.into_iter().chain(audio) {
        args.extend(words("-protocol_whitelist file -format_whitelist mov,mp4 -i"));
        args.push(format!("file:{input}"));
    }
    let inputs = usize::from(video.is_some()) + usize::from(audio.is_some());
    for input in 0..inputs {
        args.extend(words(&format!("-map {input}:0")));
    }
    args.extend(words("-c copy"));
    args.extend(bitexact());
    args.extend(words("-f mp4 -movflags +faststart"));
    args.push(format!("file:{output}"));
    args
}
