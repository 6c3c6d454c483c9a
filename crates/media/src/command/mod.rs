//! The ffmpeg and ffprobe command lines, as pure lists of arguments. Inputs are always opened with
//! a whitelist of protocols and of formats: playlists inside videos must not open anything else.

mod encoders;
mod graph;

use crate::geometry::Size;
use crate::plan::{Codec, Encoding, Options, Plan, Rung, SEGMENT_SECONDS, WorkUnit};
use crate::probe::{MAX_PIXELS, VideoRange};

/// The demuxers an upload may be read with. None of them opens another address.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,ogg,mxf,dv,\
                       mp3,aac,flac,wav,w64,aiff,amr,ac3,eac3,caf,rm,nut,h264,hevc,m4v,ivf,gxf,wtv";
/// Streams a file may have.
pub const MAX_STREAMS: u32 = 128;
/// What makes ffmpeg write fragments of a CMAF track that can be joined, with nothing at the end.
const CMAF: &str = "+cmaf+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+skip_trailer";

/// What comes out of one of the encoder's pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Fragmented MP4 of the rung with that place in the plan.
    Rung(usize),
    /// Fragmented MP4 of the sound with that place.
    Audio(usize),
    /// WebVTT of the text with that place.
    Subtitles(usize),
    /// A JPEG.
    Poster,
    /// JPEGs one after the other, each a sheet of thumbnails.
    Thumbnails,
    /// A line `frame:N …` for each frame of the grid, from 0; other lines are nothing. There is none without a picture.
    Progress,
}

/// The first file descriptor that carries an output. 0 to 2 are the usual ones.
pub const FIRST_FD: i32 = 3;

/// The encoder's arguments, and what it writes to the descriptors from [`FIRST_FD`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeCommand {
    /// Arguments after `ffmpeg`.
    pub args: Vec<String>,
    /// What is written to `FIRST_FD`, `FIRST_FD + 1` and so on.
    pub streams: Vec<Stream>,
}

/// Arguments of an ffprobe that describes `input` as JSON, its first packets too.
pub fn probe(input: &str) -> Vec<String> {
    let mut args = words("-v error -show_streams -show_format -show_packets -read_intervals %+#4 -of json");
    args.extend(demuxer_limits("http,tcp"));
    args.extend(["-max_pixels".into(), MAX_PIXELS.to_string(), "-i".into(), input.into()]);
    args
}

/// Arguments of an ffprobe that tells what the first picture of stream `index` says of its light, as
/// [`crate::probe::parse_hdr_metadata`] reads it.
pub fn hdr_metadata(input: &str, index: u32) -> Vec<String> {
    let mut args = words("-v error -show_frames -show_streams -read_intervals %+#1 -of json -select_streams");
    args.push(index.to_string());
    args.extend(demuxer_limits("http,tcp"));
    args.extend(["-max_pixels".into(), MAX_PIXELS.to_string(), "-i".into(), input.into()]);
    args
}

/// Arguments of an ffprobe that lists the packets of stream `index` between two moments, in the file's own times,
/// as [`crate::seek::last_keyframe`] reads them.
pub fn packets(input: &str, index: u32, from: f64, to: f64) -> Vec<String> {
    let mut args = words("-v error -show_entries packet=pts_time,dts_time,flags -of csv=p=0 -select_streams");
    args.push(index.to_string());
    args.push("-read_intervals".into());
    args.push(format!("{from:.6}%{to:.6}"));
    args.extend(demuxer_limits("http,tcp"));
    args.extend(["-i".into(), input.into()]);
    args
}

/// Where a share's source is, and where in it decoding begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Input<'a> {
    /// An address on the loopback.
    pub address: &'a str,
    /// Seconds after the file's start to seek to; before the first frame that is wanted, by so much that a
    /// keyframe is met.
    pub seek: Option<f64>,
    /// When the last picture ends, in the file's own times, where that is known and ffmpeg may take it for shorter.
    pub end: Option<f64>,
    /// Whether channels or sample rate of a sound change in mid-stream.
    pub audio_format_changes: bool,
}

/// Arguments of the one ffmpeg that makes all of a share from one decode.
pub fn encode(plan: &Plan, unit: &WorkUnit, input: &Input<'_>) -> EncodeCommand {
    let streams = streams(unit);
    let pipe = |wanted: Stream| {
        let place = streams.iter().position(|&stream| stream == wanted).unwrap_or(0);
        format!("pipe:{}", FIRST_FD as usize + place)
    };
    let mut args = words("-v error -nostdin -y");
    args.extend(words(threads(plan, unit)));
    args.extend(source(plan, input));
    for graph in graph::graphs(plan, unit, input, &pipe(Stream::Progress)) {
        args.extend(["-filter_complex".into(), graph]);
    }
    for &stream in &streams {
        let output = match stream {
            Stream::Rung(place) => rung(plan, unit, place),
            Stream::Audio(place) => sound(plan, place),
            Stream::Subtitles(place) => text(plan, place),
            Stream::Poster => {
                let images = plan.poster.as_ref().map_or(1, |poster| poster.images(plan));
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

/// Threads for filters and decoders, where they are not to be as many as there are cores: those that wait for one another
/// cost time.
fn threads(plan: &Plan, unit: &WorkUnit) -> &'static str {
    let is_plain = plan.source.video.as_ref().is_some_and(|video| video.range == VideoRange::Sdr);
    match unit.chunk {
        // Alone, it takes all the cores it can use, but scaling is too little for a second one.
        Some(_) if plan.is_single() && is_plain => "-filter_complex_threads 1",
        // One of a long video's many tasks: the others keep the cores busy.
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

fn source(plan: &Plan, input: &Input<'_>) -> Vec<String> {
    let mut args = demuxer_limits("http,tcp");
    // The turn is ours (`-noautorotate`), and a picture that changes size in mid-stream must not
    // rebuild the graph, which would begin its frame grid anew: the first scale absorbs it.
    args.extend(words("-noautorotate"));
    args.extend(words(if input.audio_format_changes { "-reinit_filter:v 0" } else { "-reinit_filter 0" }));
    args.push("-max_pixels".into());
    args.push(MAX_PIXELS.to_string());
    if let Some(seek) = input.seek {
        args.extend(words(&format!("-ss {seek:.6} -noaccurate_seek")));
    }
    if plan.is_single() {
        // Without -copyts ffmpeg closes gaps where timestamps jump.
        args.extend(words(&format!("-itsoffset {:.6}", plan.source.start - plan.time_origin)));
    } else {
        // Tasks of one job must count from the same zero, wherever in the file they begin.
        args.extend(words(&format!("-copyts -itsoffset {:.6}", -plan.time_origin)));
    }
    args.extend(["-i".into(), input.address.into()]);
    args
}

fn rung(plan: &Plan, unit: &WorkUnit, place: usize) -> Vec<String> {
    let mut args = words(&format!("-map [v{place}]"));
    let Some((video_plan, rung)) = plan.video.as_ref().and_then(|p| Some((p, p.rungs.get(place)?))) else {
        return args;
    };
    if let Some(frames) = unit.chunk.and_then(|chunk| video_plan.chunks.get(chunk)?.frames) {
        args.extend(words(&format!("-frames:v {}", frames / u64::from(rung.frame_step.max(1)))));
    }
    args.extend(words("-fps_mode passthrough"));
    let hdr_metadata = plan.source.video.as_ref().map(|video| &video.hdr_metadata);
    args.extend(encoders::video(
        rung,
        video_plan.segment_frames / rung.frame_step.max(1),
        plan.threads,
        hdr_metadata,
    ));
    let first =
        unit.chunk.and_then(|chunk| video_plan.chunks.get(chunk)).map_or(0, |chunk| chunk.first_segment);
    // Numbers and times of the fragments go on from one chunk to the next.
    args.extend(words(&format!(
        "-f mp4 -movflags {CMAF}+frag_discont -fragment_index {} -video_track_timescale {}",
        u64::from(first) + 1,
        video_plan.rate.timescale()
    )));
    args
}

fn sound(plan: &Plan, place: usize) -> Vec<String> {
    let bit_rate = plan.audio.get(place).map_or(128_000, |audio| audio.bit_rate);
    words(&format!(
        "-map [a{place}] -c:a aac -b:a {bit_rate} -f mp4 -movflags {CMAF} -frag_duration {SEGMENT_SECONDS}000000"
    ))
}

fn text(plan: &Plan, place: usize) -> Vec<String> {
    let index = plan.subtitles.get(place).map_or(0, |text| text.index);
    words(&format!("-map 0:{index} -c:s webvtt -f webvtt"))
}

/// Arguments of an ffmpeg that encodes a second of test pictures and prints a digest of what comes out: it tells builds
/// apart that do not make the same bytes.
pub fn self_test(codec: Codec) -> Vec<String> {
    let options = Options { codec, threads: 2, ..Options::default() };
    let size = Size { width: 128, height: 96 };
    let encoding = Encoding::of(&options, size.short(), false);
    let rung = Rung { id: String::new(), size, frame_step: 1, range: VideoRange::Sdr, encoding };
    let mut args = words("-v error -nostdin -f lavfi -i testsrc2=size=192x144:rate=25 -frames:v 25 -vf");
    args.push(format!("scale={}:{}:flags=lanczos,format=yuv420p", size.width, size.height));
    args.extend(encoders::video(&rung, 25, options.threads, None));
    args.extend(bitexact());
    args.extend(words("-f md5 -"));
    args
}

/// Arguments of the ffmpeg that joins a rung's and the sound's fragments into one progressive MP4,
/// index first. All are names of local files of ours; at least one of the two is there.
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

fn demuxer_limits(protocols: &str) -> Vec<String> {
    words(&format!("-protocol_whitelist {protocols} -format_whitelist {FORMATS} -max_streams {MAX_STREAMS}"))
}

/// No versions, dates or names of this machine or of the uploader in what is published.
fn bitexact() -> Vec<String> {
    words("-flags +bitexact -fflags +bitexact -map_metadata -1 -map_chapters -1")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
