//! The ffmpeg and ffprobe command lines, as pure lists of arguments. Inputs are always opened with
//! a whitelist of protocols and of formats: playlists inside videos must not open anything else.

use crate::plan::{AUDIO_BITRATE, AUDIO_SAMPLE_RATE, Plan, Rung, SEGMENT_SECONDS};
use crate::probe::MAX_PIXELS;

/// The demuxers an upload may be read with. None of them opens another address.
const FORMATS: &str =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,ogg,mxf,dv";
/// Streams a file may have.
const MAX_STREAMS: u32 = 32;
/// Frames the AAC encoder puts before the first sample.
const AAC_PRIMING_SAMPLES: u32 = 1024;
/// What makes ffmpeg write fragments of a CMAF track that can be joined, with nothing at the end.
const CMAF: &str = "+cmaf+frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets+skip_trailer";

/// What comes out of one of the encoder's pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Fragmented MP4 of the rung with that place in the plan.
    Rung(usize),
    /// Fragmented MP4 of the sound.
    Audio,
    /// A JPEG.
    Poster,
    /// `key=value` lines.
    Progress,
}

/// The first file descriptor that carries an output. 0 to 2 are the usual ones.
pub const FIRST_FD: i32 = 3;

/// The encoder's arguments, and what it writes to the descriptors from [`FIRST_FD`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encode {
    /// Arguments after `ffmpeg`.
    pub args: Vec<String>,
    /// What is written to `FIRST_FD`, `FIRST_FD + 1` and so on.
    pub streams: Vec<Stream>,
}

/// Arguments of an ffprobe that describes `input` as JSON.
pub fn probe(input: &str) -> Vec<String> {
    let mut args = words("-v error -show_streams -show_format -of json");
    args.extend(demuxer_limits("http,tcp"));
    args.extend(["-max_pixels".into(), MAX_PIXELS.to_string(), "-i".into(), input.into()]);
    args
}

/// Arguments of the one ffmpeg that encodes every rung, the sound and the poster of `input` (an
/// address on the loopback) from one decode.
pub fn encode(plan: &Plan, input: &str) -> Encode {
    let mut streams: Vec<_> = (0..plan.rungs.len()).map(Stream::Rung).collect();
    streams.extend(plan.audio_index.map(|_| Stream::Audio));
    streams.extend([Stream::Poster, Stream::Progress]);
    let pipe = |wanted: Stream| {
        let place = streams.iter().position(|&stream| stream == wanted).unwrap_or(0);
        format!("pipe:{}", FIRST_FD as usize + place)
    };

    let mut args = words("-v error -nostdin -y -stats_period 0.25 -progress");
    args.push(pipe(Stream::Progress));
    args.extend(demuxer_limits("http,tcp"));
    // The turn is ours (`-noautorotate`), and a picture that changes size in mid-stream must not
    // rebuild the graph, which would begin its frame grid anew: the first scale absorbs it.
    args.extend(words("-noautorotate -reinit_filter 0 -max_pixels"));
    args.extend([MAX_PIXELS.to_string(), "-i".into(), input.into()]);
    args.extend(words("-sn -dn -filter_complex"));
    args.push(filter_graph(plan));
    for (place, rung) in plan.rungs.iter().enumerate() {
        args.extend(["-map".into(), format!("[v{place}]")]);
        args.extend(video_encoder(rung, plan.threads));
        args.extend(bitexact());
        args.extend(words(&format!("-f mp4 -movflags {CMAF}")));
        args.push(pipe(Stream::Rung(place)));
    }
    if plan.audio_index.is_some() {
        args.extend(words(&format!("-map [a] -c:a aac -b:a {AUDIO_BITRATE}")));
        args.extend(bitexact());
        args.extend(words(&format!("-f mp4 -movflags {CMAF} -frag_duration {SEGMENT_SECONDS}000000")));
        args.push(pipe(Stream::Audio));
    }
    args.extend(words("-map [poster] -frames:v 1 -c:v mjpeg -q:v 4"));
    args.extend(bitexact());
    args.extend(words("-f image2pipe"));
    args.push(pipe(Stream::Poster));
    Encode { args, streams }
}

/// Arguments of the ffmpeg that joins a rung's and the sound's fragments into one progressive MP4,
/// index first. All three are names of local files of ours.
pub fn remux(video: &str, audio: Option<&str>, output: &str) -> Vec<String> {
    let mut args = words("-v error -nostdin -y");
    for input in std::iter::once(video).chain(audio) {
        args.extend(words("-protocol_whitelist file -format_whitelist mov,mp4 -i"));
        args.push(format!("file:{input}"));
    }
    args.extend(words("-map 0:v"));
    if audio.is_some() {
        args.extend(words("-map 1:a"));
    }
    args.extend(words("-c copy"));
    args.extend(bitexact());
    args.extend(words("-f mp4 -movflags +faststart"));
    args.push(format!("file:{output}"));
    args
}

/// One decode feeds all: turn and deinterlace, then each size from the one above it. Frames are
/// put on the constant grid last, after scaling, so that a picture that is held is repeated by
/// reference and not scaled anew for every repeat.
fn filter_graph(plan: &Plan) -> String {
    let mut prepare = vec![format!("scale={}:{}", plan.stored.width, plan.stored.height)];
    if plan.deinterlace {
        prepare.push("bwdif=mode=send_frame:deint=interlaced".into());
    }
    if plan.keep_one_in > 1 {
        prepare.push(format!("framestep=step={}", plan.keep_one_in));
    }
    prepare.extend(plan.orientation.filters().iter().map(|&filter| filter.to_owned()));
    let mut graph = format!("[0:{}]{}", plan.video_index, prepare.join(","));

    let last = plan.rungs.len().saturating_sub(1);
    let grid = format!("fps=fps={}:start_time=0,trim=end={}", plan.rate, plan.end_seconds);
    for (place, rung) in plan.rungs.iter().enumerate() {
        let scale =
            format!("scale={}:{}:flags=lanczos,setsar=1,format=yuv420p", rung.size.width, rung.size.height);
        let next = if place == last { "poster_in".into() } else { format!("s{}", place + 1) };
        graph.push_str(&format!(",{scale},split=2[g{place}][{next}];[g{place}]{grid}[v{place}];[{next}]"));
        if place != last {
            // The next rung's own scale follows the label.
            graph.push_str("null");
        }
    }
    let poster = &plan.poster;
    graph.push_str(&format!(
        "select=gte(t\\,{})*isnan(prev_selected_t),scale={}:{}:flags=lanczos,format=yuvj420p[poster]",
        poster.at_seconds, poster.size.width, poster.size.height
    ));
    match plan.audio_index {
        // The encoder puts one frame of silence before the sound; leaving out as much of it keeps
        // sound and picture together without an edit list.
        Some(index) => graph.push_str(&format!(
            ";[0:{index}]aresample={AUDIO_SAMPLE_RATE}:async=1:first_pts=0,\
             aformat=sample_fmts=fltp:channel_layouts=stereo,\
             atrim=start_sample={AAC_PRIMING_SAMPLES}:end={}[a]",
            plan.end_seconds
        )),
        // From a graph with a single input ffmpeg copies the source's side data to every output, the
        // turn with it: players would turn the picture a second time.
        None => graph.push_str(&format!(";[0:{}]nullsink", plan.video_index)),
    }
    graph
}

fn video_encoder(rung: &Rung, threads: u32) -> Vec<String> {
    words(&format!(
        "-c:v libx264 -threads {threads} -preset {} -crf {} -maxrate {} -bufsize {} -g 9999 -keyint_min 9999 \
         -sc_threshold 0 -force_key_frames expr:gte(t,n_forced*{SEGMENT_SECONDS})",
        rung.preset, rung.crf, rung.max_rate, rung.buffer
    ))
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
mod tests {
    use super::{FIRST_FD, Stream, encode, probe, remux};
    use crate::geometry::{Orientation, Size};
    use crate::plan::plan;
    use crate::probe::{Audio, Source, Video};
    use crate::rate::Rate;

    fn source() -> Source {
        Source {
            container: "mov".into(),
            duration: Some(100.0),
            audio: Some(Audio { index: 3, codec: "aac".into(), channels: 2, sample_rate: 44_100 }),
            video: Video {
                index: 1,
                codec: "h264".into(),
                stored: Size { width: 1280, height: 720 },
                pixel_aspect: (1, 1),
                orientation: Orientation::Clockwise,
                nominal_rate: Rate::new(25, 1),
                mean_rate: Rate::new(25, 1),
                pixel_format: "yuv420p".into(),
                interlaced: true,
                transfer: String::new(),
                duration: None,
            },
        }
    }

    fn value<'a>(args: &'a [String], name: &str) -> &'a str {
        let place = args.iter().position(|arg| arg == name).expect(name);
        &args[place + 1]
    }

    #[test]
    fn every_input_has_its_whitelists_before_it() {
        let encoded = encode(&plan(&source(), 2), "http://127.0.0.1:1/x").args;
        let joined = remux("v.mp4", Some("a.mp4"), "o.mp4");
        for args in [probe("http://127.0.0.1:1/x"), encoded, joined] {
            for part in args.split_inclusive(|arg| arg == "-i").filter(|part| part.ends_with(&["-i".into()]))
            {
                assert!(part.iter().any(|arg| arg == "-protocol_whitelist"), "{args:?}");
                assert!(part.iter().any(|arg| arg == "-format_whitelist"), "{args:?}");
            }
        }
    }

    #[test]
    fn every_output_has_a_descriptor_of_its_own() {
        let plan = plan(&source(), 2);
        let encode = encode(&plan, "http://127.0.0.1:1/x");
        let pipes: Vec<_> = encode.args.iter().filter(|arg| arg.starts_with("pipe:")).collect();
        assert_eq!(encode.streams.len(), plan.rungs.len() + 3);
        for (place, _) in encode.streams.iter().enumerate() {
            let name = format!("pipe:{}", FIRST_FD as usize + place);
            assert_eq!(pipes.iter().filter(|pipe| ***pipe == name).count(), 1);
        }
        assert_eq!(encode.streams.last(), Some(&Stream::Progress));
    }

    #[test]
    fn the_graph_is_one_cascade() {
        let graph = value(&encode(&plan(&source(), 2), "x").args, "-filter_complex").to_owned();
        assert_eq!(
            graph,
            "[0:1]scale=1280:720,bwdif=mode=send_frame:deint=interlaced,transpose=clock,\
             scale=720:1280:flags=lanczos,setsar=1,format=yuv420p,split=2[g0][s1];\
             [g0]fps=fps=25/1:start_time=0,trim=end=43200[v0];\
             [s1]null,scale=480:854:flags=lanczos,setsar=1,format=yuv420p,split=2[g1][s2];\
             [g1]fps=fps=25/1:start_time=0,trim=end=43200[v1];\
             [s2]null,scale=360:640:flags=lanczos,setsar=1,format=yuv420p,split=2[g2][poster_in];\
             [g2]fps=fps=25/1:start_time=0,trim=end=43200[v2];\
             [poster_in]select=gte(t\\,10)*isnan(prev_selected_t),scale=360:640:flags=lanczos,format=yuvj420p[poster];\
             [0:3]aresample=48000:async=1:first_pts=0,aformat=sample_fmts=fltp:channel_layouts=stereo,\
             atrim=start_sample=1024:end=43200[a]"
        );
    }
}
