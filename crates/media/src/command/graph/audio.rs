//! Graphs of audio renditions, and the poster of a file without video.

use crate::{
    command::{encode::AUDIO_LEAD_FRAMES, input::Input},
    plan::{AUDIO_FRAME_SAMPLES, AUDIO_SAMPLE_RATE, AudioPart, AudioRendition, Plan},
    probe::Mix,
};

/// Frames of silence that the AAC encoder writes before the first sample.
const AAC_PRIMING_FRAMES: u32 = 1;
/// Frames after a part that its encoder gets, too, to choose the transform lengths of the last ones.
const LOOKAHEAD_FRAMES: u32 = 8;
/// Sample rate of the waveform image, samples per second. The filter buffers all samples, so longer files get fewer.
const WAVEFORM_SAMPLE_RATE: u32 = 8000;
/// Sample rate of the waveform image of a file that is long or states no duration, samples per second.
const LONG_WAVEFORM_SAMPLE_RATE: u32 = 1000;
/// A file is long above this duration, seconds.
const LONG_WAVEFORM_SECONDS: f64 = 3600.0;

/// Fills gaps with silence, except for the inexact timestamps of containers.
///
/// The encoder prepends one frame of silence. The same amount is cut off here, so that audio and video stay in sync
/// without an edit list.
///
/// A part that is not the first one starts a few frames earlier, which the command drops.
///
/// If the audio format changes in mid-stream, ffmpeg rebuilds the graph at each change. Then the graph must not fill up
/// from zero, and must not cut by sample count. Nor after a seek: then a part that starts late, or ends early, is encoded
/// again from the start of the file, where silence is filled in.
pub(super) fn graph(
    plan: &Plan,
    index: usize,
    audio: &AudioRendition,
    part: AudioPart,
    input: &Input<'_>,
) -> String {
    let layout = match audio.channels {
        1 => "mono",
        2 => "stereo",
        _ => "5.1",
    };
    let is_sought = input.seek.is_some();
    let (fill, unit) =
        if input.audio_format_changes || is_sought { ("", "pts") } else { (":first_pts=0", "sample") };
    let lead = if part.first_segment > 0 { AUDIO_LEAD_FRAMES } else { 0 };
    let start = u64::from(part.first_frame() + AAC_PRIMING_FRAMES - lead) * u64::from(AUDIO_FRAME_SAMPLES);
    // Silence follows a track that ends early, to the end of the presentation.
    let silence_until = plan.silence_until(index).filter(|_| !input.audio_format_changes);
    let end = part.frames().map_or_else(
        || format!("end={}", silence_until.unwrap_or(plan.end_seconds)),
        |frames| {
            let lookahead = if input.audio_format_changes { 0 } else { LOOKAHEAD_FRAMES };
            let end = part.first_frame() + frames + AAC_PRIMING_FRAMES + lookahead;
            format!("end_{unit}={}", u64::from(end) * u64::from(AUDIO_FRAME_SAMPLES))
        },
    );
    // A part that is neither the first nor the last one must be complete.
    let is_padded = silence_until.is_some() || part.is_middle() && !is_sought;
    let pad = if is_padded { ",apad" } else { "" };
    let mix = mix(plan, audio.index);
    format!(
        "[0:{}]{mix}aresample={AUDIO_SAMPLE_RATE}:async=1:min_hard_comp=0.04{fill}{pad},aformat=sample_fmts=fltp:channel_layouts={layout},\
         atrim=start_{unit}={start}:{end}[a{index}]",
        audio.index
    )
}

/// Selects channels that ffmpeg cannot mix.
fn mix(plan: &Plan, stream: u32) -> &'static str {
    let track = plan.source.audio.iter().find(|track| track.index == stream);
    match track.map(|track| track.mix).unwrap_or_default() {
        Mix::Standard => "",
        Mix::FirstChannel => "pan=mono|c0=c0,",
        Mix::FirstTwoChannels => "pan=stereo|c0=c0|c1=c1,",
    }
}

/// The cover image if there is one, or else the waveform.
pub(super) fn poster_graph(plan: &Plan) -> String {
    let size = plan.poster.as_ref().map_or((640, 360), |poster| (poster.size.width, poster.size.height));
    if let Some(cover) = plan.source.cover {
        return format!(
            "[0:{cover}]scale={}:{}:force_original_aspect_ratio=decrease:force_divisible_by=2,format=yuvj420p[poster]",
            size.0, size.0
        );
    }
    let index = plan.audio.first().map_or(0, |audio| audio.index);
    let is_short = plan.duration().is_some_and(|seconds| seconds <= LONG_WAVEFORM_SECONDS);
    let rate = if is_short { WAVEFORM_SAMPLE_RATE } else { LONG_WAVEFORM_SAMPLE_RATE };
    format!(
        "[0:{index}]{}aresample={rate},aformat=channel_layouts=mono,atrim=end={},\
         showwavespic=s={}x{}:colors=0x3b82f6,format=yuvj420p[poster]",
        mix(plan, index),
        plan.end_seconds,
        size.0,
        size.1
    )
}
