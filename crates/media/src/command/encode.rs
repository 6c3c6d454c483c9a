//! The command that encodes a work unit.

use super::{
    args::{bitexact, words},
    encoders::encoder_args,
    graph::graphs,
    input::{Input, input_args},
};
use crate::{
    plan::{AudioPart, Plan, SEGMENT_SECONDS, WorkUnit},
    probe::VideoRange,
};

/// Makes ffmpeg write fragments of a CMAF track that can be concatenated, without an index at the end.
const CMAF_FLAGS: &str = "+cmaf+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+skip_trailer";
/// Bit rate of an audio rendition that the plan does not have, bits per second.
const DEFAULT_AUDIO_BIT_RATE: u32 = 128_000;

/// Frames before a later part of audio that its encoder gets, too, and that are dropped: the first one is silence, and the
/// encoder's choices for a frame depend on those before it.
pub(super) const AUDIO_LEAD_FRAMES: u32 = 8;

/// The first file descriptor that carries an output: 0 to 2 are the standard streams.
pub const FIRST_FD: i32 = 3;

/// The contents of one of the encoder's output pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Fragmented MP4 of the rung with this index.
    Rung(usize),
    /// Fragmented MP4 of the audio rendition with this index.
    Audio(usize),
    /// ASS events of the subtitle rendition with this index, for [`crate::subtitles::to_webvtt`].
    Subtitles(usize),
    /// A JPEG image.
    Poster,
    /// Concatenated JPEG images, each a sheet of thumbnails.
    Thumbnails,
    /// A line `frame:N …` for each frame of the grid, counted from 0; ignore other lines. Only with video.
    Progress,
}

/// The encoder's arguments and outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeCommand {
    /// Arguments after `ffmpeg`.
    pub args: Vec<String>,
    /// The outputs, in the order of their file descriptors from [`FIRST_FD`] on.
    pub streams: Vec<Stream>,
}

/// Arguments of the one ffmpeg that encodes all outputs of a work unit from a single decode.
pub fn encode(plan: &Plan, unit: &WorkUnit, input: &Input<'_>) -> EncodeCommand {
    let streams = streams(unit);
    let pipe = |stream: Stream| {
        let index = streams.iter().position(|&other| other == stream).unwrap_or(0);
        format!("pipe:{}", FIRST_FD as usize + index)
    };
    let mut args = words("-v error -nostdin -y");
    args.extend(words(thread_args(plan, unit)));
    if !unit.subtitles.is_empty() {
        // Decoders pass bytes through that are not UTF-8, instead of dropping the text.
        args.extend(words("-sub_charenc_mode ignore"));
    }
    args.extend(input_args(plan, input));
    for graph in graphs(plan, unit, input, &pipe(Stream::Progress)) {
        args.extend(["-filter_complex".into(), graph]);
    }
    for &stream in &streams {
        let output = match stream {
            Stream::Rung(index) => rung_args(plan, unit, index),
            Stream::Audio(index) => audio_args(plan, index, unit.audio_part),
            Stream::Subtitles(index) => subtitle_args(plan, index),
            Stream::Poster => {
                let images = plan.poster_images();
                words(&format!("-map [poster] -frames:v {images} -c:v mjpeg -q:v 4 -f image2pipe"))
            }
            Stream::Thumbnails => {
                words("-map [thumbnails] -fps_mode passthrough -c:v mjpeg -q:v 6 -f image2pipe")
            }
            Stream::Progress => continue,
        };
        args.extend(output);
        args.extend(bitexact());
        args.push(pipe(stream));
    }
    EncodeCommand { args, streams }
}

/// Limits threads of filters and decoders where one per core would cost time, because they wait for one another.
fn thread_args(plan: &Plan, unit: &WorkUnit) -> &'static str {
    let is_sdr = plan.source.video.as_ref().is_some_and(|video| video.range == VideoRange::Sdr);
    match unit.chunk {
        // The only task of a job uses all cores, but scaling is too little work for a second thread.
        Some(_) if plan.is_single() && is_sdr => "-filter_complex_threads 1",
        // A short video has two or three such tasks; while the last one runs, a core is idle.
        Some(_) if unit.priority > 0 && !plan.is_single() && plan.is_short() => {
            "-filter_complex_threads 1 -threads 2"
        }
        // One of many tasks of a long video: the other tasks use the other cores.
        Some(_) if unit.priority > 0 && !plan.is_single() => "-filter_complex_threads 1 -threads 1",
        _ => "",
    }
}

fn streams(unit: &WorkUnit) -> Vec<Stream> {
    let mut streams: Vec<_> = unit.rungs.iter().copied().map(Stream::Rung).collect();
    streams.extend(unit.audio.iter().copied().map(Stream::Audio));
    streams.extend(unit.subtitles.iter().copied().map(Stream::Subtitles));
    streams.extend(unit.poster.then_some(Stream::Poster));
    streams.extend(unit.thumbnails.then_some(Stream::Thumbnails));
    streams.extend(unit.chunk.map(|_| Stream::Progress));
    streams
}

fn rung_args(plan: &Plan, unit: &WorkUnit, index: usize) -> Vec<String> {
    let mut args = words(&format!("-map [v{index}]"));
    let Some((video, rung)) = plan.video.as_ref().and_then(|video| Some((video, video.rungs.get(index)?)))
    else {
        return args;
    };
    let chunk = unit.chunk.and_then(|chunk| video.chunks.get(chunk));
    let frame_step = rung.frame_step.max(1);
    if let Some(frames) = chunk.and_then(|chunk| chunk.frames) {
        args.extend(words(&format!("-frames:v {}", frames / u64::from(frame_step))));
    }
    args.extend(words("-fps_mode passthrough"));
    let hdr_metadata = plan.source.video.as_ref().map(|video| &video.hdr_metadata);
    args.extend(encoder_args(rung, video.segment_frames / frame_step, plan.threads, hdr_metadata));
    let first_segment = chunk.map_or(0, |chunk| chunk.first_segment);
    // Numbers and times of the fragments continue from one chunk to the next.
    args.extend(words(&format!(
        "-f mp4 -movflags {CMAF_FLAGS}+frag_discont -fragment_index {} -video_track_timescale {}",
        u64::from(first_segment) + 1,
        video.rate.timescale()
    )));
    args
}

fn audio_args(plan: &Plan, index: usize, part: AudioPart) -> Vec<String> {
    let bit_rate = plan.audio.get(index).map_or(DEFAULT_AUDIO_BIT_RATE, |audio| audio.bit_rate);
    // Whether ffmpeg counts the frames that are dropped depends on its release. The part's reader ignores what is too much.
    let dropped = if part.first_segment > 0 { AUDIO_LEAD_FRAMES } else { 0 };
    let frames = part.frames().map(|frames| format!("-frames:a {}", frames + dropped)).unwrap_or_default();
    let (lead, continued) = if part.first_segment > 0 {
        let fragment = part.first_segment + 1;
        (
            format!("-bsf:a noise=drop=lt(n\\,{AUDIO_LEAD_FRAMES})"),
            format!("+frag_discont -fragment_index {fragment}"),
        )
    } else {
        Default::default()
    };
    words(&format!(
        "-map [a{index}] -c:a aac -b:a {bit_rate} {frames} {lead} -f mp4 -movflags {CMAF_FLAGS}{continued} \
         -frag_duration {SEGMENT_SECONDS}000000"
    ))
}

fn subtitle_args(plan: &Plan, index: usize) -> Vec<String> {
    let stream = plan.subtitles.get(index).map_or(0, |subtitles| subtitles.index);
    // Every format of text is decoded to events of ASS; `crate::subtitles` converts these.
    words(&format!("-map 0:{stream} -c:s ass -f ass -ignore_readorder 1"))
}
