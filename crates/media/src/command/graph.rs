//! The filter graphs: one decode feeds all. Frames are put on the constant grid first; then come the turn, the sizes,
//! each from the one above it, and the stills.

use super::Input;
use crate::plan::{AUDIO_SAMPLE_RATE, AudioRendition, Plan, Poster, Rung, VideoPlan, WorkUnit};
use crate::probe::{Video, VideoRange};
use crate::seek::LONGEST_HOLD;

/// Pixel formats of red, green and blue, by how their names begin.
const RGB: [&str; 9] = ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2"];
/// From so many lines on pictures are of high definition, and coded by BT.709 unless they say otherwise.
const FROM_HIGH: u32 = 720;
/// Frames the AAC encoder puts before the first sample.
const AAC_PRIMING_SAMPLES: u32 = 1024;

/// The graphs of a share, decoding from the beginning of the file or from somewhere before the share.
///
/// Each sound has its own: within one graph ffmpeg holds back every frame of the picture for as long as it waits for
/// the sound, which is to the end where none can be decoded.
///
/// Each frame of the grid is told to `progress`: ffmpeg itself tells nothing before every output has begun, and a sheet of
/// thumbnails begins when it is full.
pub(super) fn graphs(plan: &Plan, unit: &WorkUnit, input: &Input<'_>, progress: &str) -> Vec<String> {
    let mut graphs = Vec::new();
    if let (Some(video_plan), Some(video)) = (&plan.video, &plan.source.video) {
        if unit.chunk.is_some() {
            let grid = grid(plan, video_plan, video, unit, input, progress);
            let branches = branches(plan, video_plan, video, unit);
            // From a graph with a single input ffmpeg copies the source's side data to every output, the
            // turn with it: players would turn the picture a second time. The other input ends at once, for
            // as long as one is open the file is decoded.
            graphs.push(format!("{grid};{branches};[0:{}]trim=end_frame=1,nullsink", video.index));
        }
    } else if unit.poster {
        graphs.push(poster_of_sound(plan));
    }
    let sounds = unit
        .audio
        .iter()
        .filter_map(|&place| Some(sound(plan, place, plan.audio.get(place)?, input.audio_format_changes)));
    graphs.extend(sounds);
    graphs
}

/// The source's frames on the grid, upright, from the chunk's first to its last.
///
/// The chunk is cut by whole frame numbers, not by times, which would be rounded to the source's own time base.
fn grid(
    plan: &Plan,
    video_plan: &VideoPlan,
    video: &Video,
    unit: &WorkUnit,
    input: &Input<'_>,
    progress: &str,
) -> String {
    let chunk = unit.chunk.and_then(|chunk| video_plan.chunks.get(chunk));
    let first = chunk.map_or(0, |chunk| chunk.first_frame);
    let frames = chunk.and_then(|chunk| chunk.frames);
    let end = input.end.filter(|_| frames.is_none());
    let mut filters = vec![format!(
        "scale={}:{}{}{}",
        video.stored.width,
        video.stored.height,
        opaque(video),
        colours(video)
    )];
    if video.interlaced {
        filters.push("bwdif=mode=send_frame:deint=interlaced".into());
    }
    if end.is_some() {
        filters.push(format!("tpad=stop_mode=clone:stop_duration={LONGEST_HOLD}"));
    }
    // The grid begins at zero, with the first frame held backwards if need be; not where a seek has left it out.
    let start = if input.seek.is_some() { "" } else { ":start_time=0" };
    filters.push(format!("fps=fps={}{start}", video_plan.rate));
    let known = end.map(|end| video_plan.frames_until((end - plan.time_origin).min(plan.end_seconds)));
    filters.push(match frames.map(|frames| first + frames).or(known) {
        Some(end) => format!("trim=start_pts={first}:end_pts={end}"),
        None => format!("trim=start_pts={first}:end={}", plan.end_seconds),
    });
    // What has no metadata is not printed.
    let address = progress.replace(':', "\\:");
    filters.push(format!("metadata=add:key=grid:value=1,metadata=print:file='{address}':direct=1"));
    filters.extend(video.orientation.filters().iter().map(|&filter| filter.to_owned()));
    format!("[0:{}]{}[grid]", video.index, filters.join(","))
}

fn branches(plan: &Plan, video_plan: &VideoPlan, video: &Video, unit: &WorkUnit) -> String {
    let rungs: Vec<_> =
        unit.rungs.iter().filter_map(|&place| Some((place, video_plan.rungs.get(place)?))).collect();
    let (bright, standard): (Vec<_>, Vec<_>) =
        rungs.iter().partition(|(_, rung)| rung.range != VideoRange::Sdr);
    let mut parts = Vec::new();
    let mut from = "grid".to_owned();
    for (place, rung) in &bright {
        parts.push(format!("[{from}]split=2[b{place}][d{place}]"));
        parts.push(format!("[b{place}]{},setsar=1,format=yuv420p10le{}[v{place}]", scale(rung), every(rung)));
        from = format!("d{place}");
    }
    let poster = plan.poster.as_ref().filter(|_| unit.poster);
    // A still is taken from the lowest rung that is no smaller, so that it is never scaled up if it can be helped.
    let of_poster = poster.map(|poster| {
        let large = standard.iter().rposition(|(_, rung)| rung.size.width >= poster.size.width);
        (large.unwrap_or(0), still(plan, poster))
    });
    let of_thumbnails = unit.thumbnails.then(|| (standard.len().saturating_sub(1), thumbnails(video_plan)));
    let stills: Vec<_> = of_poster.into_iter().chain(of_thumbnails).collect();
    if let ([], Some((_, rung))) = (&standard[..], bright.last()) {
        let plain = format!("[{from}]{},setsar=1,format=yuv420p", first_scale(rung, video));
        parts.push(tapped(&plain, stills.iter().map(|(_, still)| still.as_str())));
    }
    for (nth, (place, rung)) in standard.iter().enumerate() {
        let scale = if nth == 0 { first_scale(rung, video) } else { scale(rung) };
        let sized = format!("[{from}]{scale},setsar=1,format=yuv420p");
        let own = format!("null{}[v{place}]", every(rung));
        let next = (nth + 1 < standard.len()).then(|| format!("null[s{place}]"));
        let here = stills.iter().filter(|(of, _)| *of == nth).map(|(_, still)| still.as_str());
        parts.push(tapped(&sized, std::iter::once(own.as_str()).chain(next.as_deref()).chain(here)));
        from = format!("s{place}");
    }
    parts.join(";")
}

/// A chain whose pictures go to several others, each of which ends in an output.
fn tapped<'a>(chain: &str, to: impl Iterator<Item = &'a str>) -> String {
    let to: Vec<_> = to.collect();
    match &to[..] {
        [] => format!("{chain},nullsink"),
        [one] => format!("{chain},{one}"),
        all => {
            // Named by the chain's own input, which no other has.
            let name = chain.trim_start_matches('[').split(']').next().unwrap_or_default();
            let label = |nth: usize| format!("[{name}_{nth}]");
            let labels: String = (0..all.len()).map(label).collect();
            let chains: Vec<_> =
                all.iter().enumerate().map(|(nth, to)| format!("{}{to}", label(nth))).collect();
            format!("{chain},split={}{labels};{}", all.len(), chains.join(";"))
        }
    }
}

/// The scale from the source to the first rung of the standard range.
fn first_scale(rung: &Rung, video: &Video) -> String {
    format!("{}{}", scale(rung), tone_map(video.range))
}

/// Says how colours are coded where the source does not: by its size, as players do that are not told. Else they
/// would take the lower rungs for something else than the higher ones. What is red, green and blue is coded here.
fn colours(video: &Video) -> String {
    if video.range != VideoRange::Sdr {
        return String::new();
    }
    let rgb = is_rgb(video);
    let coded = if rgb { ",scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" } else { "" };
    let told = match video {
        _ if video.tagged && !rgb => "",
        _ if rgb || video.stored.short() >= FROM_HIGH => {
            ",setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
        }
        _ => ",setparams=colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m",
    };
    format!("{coded}{told}")
}

fn is_rgb(video: &Video) -> bool {
    RGB.iter().any(|prefix| video.pixel_format.starts_with(prefix))
}

/// What is seen through shows black.
fn opaque(video: &Video) -> &'static str {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| video.pixel_format.starts_with(prefix));
    match video {
        _ if starts(&["yuva"]) => ",format=yuva444p,premultiply=inplace=1",
        _ if starts(&["rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16"]) => {
            ",format=gbrap,premultiply=inplace=1"
        }
        _ => "",
    }
}

fn scale(rung: &Rung) -> String {
    format!("scale={}:{}:flags=lanczos", rung.size.width, rung.size.height)
}

fn every(rung: &Rung) -> String {
    if rung.frame_step > 1 { format!(",framestep=step={}", rung.frame_step) } else { String::new() }
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

/// Where the file does not say how long it is, the moment may be behind its end: then the first frame stands in.
fn still(plan: &Plan, poster: &Poster) -> String {
    let (at, first) = (poster.at_seconds, "isnan(prev_selected_t)");
    let select = if poster.images(plan) > 1 {
        format!("{first}+gte(t\\,{at})*lt(prev_selected_t\\,{at})")
    } else {
        format!("gte(t\\,{at})*{first}")
    };
    format!(
        "select={select},scale={}:{}:flags=lanczos,format=yuvj420p[poster]",
        poster.size.width, poster.size.height
    )
}

fn thumbnails(video_plan: &VideoPlan) -> String {
    let wanted = &video_plan.thumbnails;
    format!(
        "select=not(mod(n\\,{})),scale={}:{}:flags=bilinear,format=yuvj420p,tile={}x{}[thumbnails]",
        wanted.interval_frames, wanted.size.width, wanted.size.height, wanted.columns, wanted.rows
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
///
/// Where the sound `changes` in mid-stream ffmpeg makes the graph anew at each change. Then nothing may be filled up
/// from zero on, or left out by count.
fn sound(plan: &Plan, place: usize, audio: &AudioRendition, changes: bool) -> String {
    let layout = match audio.channels {
        1 => "mono",
        2 => "stereo",
        _ => "5.1",
    };
    let (filled, priming) = if changes { ("", "start_pts") } else { (":first_pts=0", "start_sample") };
    format!(
        "[0:{}]aresample={AUDIO_SAMPLE_RATE}:async=1:min_hard_comp=0.04{filled},aformat=sample_fmts=fltp:channel_layouts={layout},\
         atrim={priming}={AAC_PRIMING_SAMPLES}:end={}[a{place}]",
        audio.index, plan.end_seconds
    )
}
