//! The filter graphs: one decode feeds all. Frames are put on the constant grid first; then come the turn, the sizes,
//! each from the one above it, and the stills.

use crate::plan::{AUDIO_SAMPLE_RATE, AudioRendition, Picture, Plan, Poster, Rung, Share};
use crate::probe::{Video, VideoRange};

/// Frames the AAC encoder puts before the first sample.
const AAC_PRIMING_SAMPLES: u32 = 1024;

/// The graphs of a share, decoding from the beginning of the file or, when it `seeks`, from somewhere before the share.
///
/// Each sound has its own: within one graph ffmpeg holds back every frame of the picture for as long as it waits for
/// the sound, which is to the end where none can be decoded.
///
/// Each frame of the grid is told to `progress`: ffmpeg itself tells nothing before every output has begun, and a sheet of
/// thumbnails begins when it is full.
pub(super) fn graphs(plan: &Plan, share: &Share, seeks: bool, progress: &str) -> Vec<String> {
    let mut graphs = Vec::new();
    if let (Some(picture), Some(video)) = (&plan.picture, &plan.source.video) {
        if share.chunk.is_some() {
            let grid = grid(plan, picture, video, share, seeks, progress);
            let branches = branches(plan, picture, video, share);
            // From a graph with a single input ffmpeg copies the source's side data to every output, the
            // turn with it: players would turn the picture a second time. The other input ends at once, for
            // as long as one is open the file is decoded.
            graphs.push(format!("{grid};{branches};[0:{}]trim=end_frame=1,nullsink", video.index));
        }
    } else if share.poster {
        graphs.push(poster_of_sound(plan));
    }
    graphs.extend(share.audio.iter().filter_map(|&place| Some(sound(plan, place, plan.audio.get(place)?))));
    graphs
}

/// The source's frames on the grid, upright, from the chunk's first to its last.
///
/// The chunk is cut by whole frame numbers, not by times, which would be rounded to the source's own time base.
fn grid(plan: &Plan, picture: &Picture, video: &Video, share: &Share, seeks: bool, progress: &str) -> String {
    let chunk = share.chunk.and_then(|chunk| picture.chunks.get(chunk));
    let first = chunk.map_or(0, |chunk| chunk.first_frame);
    let mut filters = vec![format!("scale={}:{}", video.stored.width, video.stored.height)];
    if video.interlaced {
        filters.push("bwdif=mode=send_frame:deint=interlaced".into());
    }
    // The grid begins at zero, with the first frame held backwards if need be; not where a seek has left it out.
    let start = if seeks { "" } else { ":start_time=0" };
    filters.push(format!("fps=fps={}{start}", picture.rate));
    filters.push(match chunk.and_then(|chunk| chunk.frames) {
        Some(frames) => format!("trim=start_pts={first}:end_pts={}", first + frames),
        None => format!("trim=start_pts={first}:end={}", plan.end_seconds),
    });
    // What has no metadata is not printed.
    let address = progress.replace(':', "\\:");
    filters.push(format!("metadata=add:key=grid:value=1,metadata=print:file='{address}':direct=1"));
    filters.extend(video.orientation.filters().iter().map(|&filter| filter.to_owned()));
    format!("[0:{}]{}[grid]", video.index, filters.join(","))
}

fn branches(plan: &Plan, picture: &Picture, video: &Video, share: &Share) -> String {
    let rungs: Vec<_> =
        share.rungs.iter().filter_map(|&place| Some((place, picture.rungs.get(place)?))).collect();
    let (bright, standard): (Vec<_>, Vec<_>) =
        rungs.iter().partition(|(_, rung)| rung.range != VideoRange::Sdr);
    let mut parts = Vec::new();
    let mut from = "grid".to_owned();
    for (place, rung) in bright {
        parts.push(format!("[{from}]split=2[b{place}][d{place}]"));
        parts.push(format!("[b{place}]{},format=yuv420p10le{}[v{place}]", scale(rung), every(rung)));
        from = format!("d{place}");
    }
    let mut stills = Vec::new();
    stills.extend(plan.poster.as_ref().filter(|_| share.poster).map(poster));
    stills.extend(share.thumbnails.then(|| thumbnails(picture)));
    let last = standard.len().saturating_sub(1);
    for (nth, (place, rung)) in standard.iter().enumerate() {
        let range = if nth == 0 { tone_map(video.range) } else { "" };
        let onwards = nth < last || !stills.is_empty();
        let sized = format!("[{from}]{}{range},setsar=1,format=yuv420p", scale(rung));
        if onwards {
            parts.push(format!("{sized},split=2[g{place}][s{place}]"));
            parts.push(format!("[g{place}]null{}[v{place}]", every(rung)));
            from = format!("s{place}");
        } else {
            parts.push(format!("{sized}{}[v{place}]", every(rung)));
        }
    }
    match &stills[..] {
        [] => {}
        [one] => parts.push(format!("[{from}]{one}")),
        [one, other, ..] => {
            parts.push(format!("[{from}]split=2[still0][still1]"));
            parts.push(format!("[still0]{one}"));
            parts.push(format!("[still1]{other}"));
        }
    }
    parts.join(";")
}

fn scale(rung: &Rung) -> String {
    format!("scale={}:{}:flags=lanczos", rung.size.width, rung.size.height)
}

fn every(rung: &Rung) -> String {
    if rung.every > 1 { format!(",framestep=step={}", rung.every) } else { String::new() }
}

/// From a high range of brightness to the standard one.
fn tone_map(range: VideoRange) -> &'static str {
    match range {
        VideoRange::Sdr => "",
        VideoRange::Pq => {
            ",zscale=tin=smpte2084:min=bt2020nc:pin=bt2020:rin=tv:t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
             tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
        }
        VideoRange::Hlg => {
            ",zscale=tin=arib-std-b67:min=bt2020nc:pin=bt2020:rin=tv:t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,\
             tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
        }
    }
}

fn poster(poster: &Poster) -> String {
    format!(
        "select=gte(t\\,{})*isnan(prev_selected_t),scale={}:{}:flags=lanczos,format=yuvj420p[poster]",
        poster.at_seconds, poster.size.width, poster.size.height
    )
}

fn thumbnails(picture: &Picture) -> String {
    let wanted = &picture.thumbnails;
    format!(
        "select=not(mod(n\\,{})),scale={}:{}:flags=bilinear,format=yuvj420p,tile={}x{}[thumbnails]",
        wanted.every_frames, wanted.size.width, wanted.size.height, wanted.columns, wanted.rows
    )
}

/// A cover where there is one, else the waveform.
fn poster_of_sound(plan: &Plan) -> String {
    let size = plan.poster.as_ref().map_or((640, 360), |poster| (poster.size.width, poster.size.height));
    if let Some(cover) = plan.source.cover {
        return format!(
            "[0:{cover}]scale={}:{}:force_original_aspect_ratio=decrease:force_divisible_by=2,format=yuvj420p[poster]",
            size.0, size.0
        );
    }
    let index = plan.audio.first().map_or(0, |audio| audio.index);
    // The filter keeps all it hears until the end: few samples a second keep that small.
    let rate = if plan.duration().is_some_and(|seconds| seconds <= 3600.0) { 8000 } else { 1000 };
    format!(
        "[0:{index}]aresample={rate},aformat=channel_layouts=mono,atrim=end={},\
         showwavespic=s={}x{}:colors=0x3b82f6,format=yuvj420p[poster]",
        plan.end_seconds, size.0, size.1
    )
}

/// Gaps are filled with silence, down to what may be a container's inexactness.
///
/// The encoder puts one frame of silence before the sound; leaving out as much of it keeps sound and picture together
/// without an edit list.
fn sound(plan: &Plan, place: usize, audio: &AudioRendition) -> String {
    let layout = match audio.channels {
        1 => "mono",
        2 => "stereo",
        _ => "5.1",
    };
    format!(
        "[0:{}]aresample={AUDIO_SAMPLE_RATE}:async=1:min_hard_comp=0.04:first_pts=0,aformat=sample_fmts=fltp:channel_layouts={layout},\
         atrim=start_sample={AAC_PRIMING_SAMPLES}:end={}[a{place}]",
        audio.index, plan.end_seconds
    )
}
