//! The graph of a chunk of video: frames are put on the constant grid first, then rotated, then scaled from rung to rung;
//! poster and thumbnails branch off.

use super::{
    super::input::Input,
    colours::{colour_tags, remove_alpha, tone_map},
};
use crate::{
    geometry::Size,
    plan::{Chunk, Plan, Poster, Rung, VideoPlan, WorkUnit},
    probe::{Crop, Video, VideoRange},
    seek::MAX_LAST_FRAME_SECONDS,
};

/// How much later than the end of the presentation a frame's time may be, seconds: that is estimated.
const WILD_TIME_SECONDS: f64 = 60.0;
/// By how much longer than expected the last frame may be held, seconds.
const HELD_PICTURE_SLACK_SECONDS: f64 = 0.5;

pub(super) fn graph(
    plan: &Plan,
    video: &VideoPlan,
    stream: &Video,
    unit: &WorkUnit,
    input: &Input<'_>,
    progress: &str,
) -> String {
    let grid = grid(plan, video, stream, unit, input, progress);
    let branches = branches(plan, video, stream, unit);
    // From a graph with a single input ffmpeg copies the source's side data, including the rotation, to every output:
    // players would rotate the video a second time. The second input ends at once, because the file is decoded while
    // any input is open.
    format!("{grid};{branches};[0:{}]trim=end_frame=1,nullsink", stream.index)
}

/// The source's frames on the grid, upright, from the chunk's first frame to its last.
///
/// The chunk is cut by frame numbers, not by times, which would be rounded to the source's time base.
fn grid(
    plan: &Plan,
    video: &VideoPlan,
    stream: &Video,
    unit: &WorkUnit,
    input: &Input<'_>,
    progress: &str,
) -> String {
    let chunk = unit.chunk.and_then(|chunk| video.chunks.get(chunk));
    let first = chunk.map_or(0, |chunk| chunk.first_frame);
    let frames = chunk.and_then(|chunk| chunk.frames);
    let end = input.end.filter(|_| frames.is_none());
    let mut filters = vec![format!("{}{}{}", same_frame(stream), remove_alpha(stream), colour_tags(stream))];
    if stream.interlaced || stream.may_turn_interlaced {
        filters.push("bwdif=mode=send_frame:deint=interlaced".into());
    }
    if let Some(latest) = latest_time(plan) {
        filters.push(format!("select=lte(t\\,{latest:.3})"));
    }
    if end.is_some() {
        filters.push(format!("tpad=stop_mode=clone:stop_duration={MAX_LAST_FRAME_SECONDS}"));
    }
    // The grid starts at zero, filled with the first frame if necessary; but not after a seek, which skips the start.
    let start = if input.seek.is_some() { "" } else { ":start_time=0" };
    let held = chunk.and_then(|chunk| held_frames(plan, video, chunk));
    // The last frame of a slow stream may be shorter than one on the grid.
    let last = if held.is_some() { ":eof_action=pass" } else { "" };
    filters.push(format!("fps=fps={}{start}{last}", video.rate));
    if let Some(held) = held {
        filters.push(format!("tpad=stop_mode=clone:stop={held}"));
    }
    let known_end = end.map(|end| video.frames_until((end - plan.time_origin).min(plan.end_seconds)));
    filters.push(match frames.map(|frames| first + frames).or(known_end) {
        Some(end) => format!("trim=start_pts={first}:end_pts={end}"),
        None => format!("trim=start_pts={first}:end={}", plan.end_seconds),
    });
    // Only frames with metadata are printed.
    let progress = progress.replace(':', "\\:");
    filters.push(format!("metadata=add:key=grid:value=1,metadata=print:file='{progress}':direct=1"));
    let rotation = stream.orientation.filters();
    filters.extend(rotation.iter().map(|&filter| filter.to_owned()));
    if !rotation.is_empty() {
        // ffmpeg from 7.1 on passes the matrix on to the outputs: players would rotate again.
        filters.push("sidedata=mode=delete:type=DISPLAYMATRIX".to_owned());
    }
    format!("[0:{}]{}[grid]", stream.index, filters.join(","))
}

/// The latest time of a frame of a broadcast that is no transmission error, seconds. A later one is left out, because all after
/// it would be too late.
fn latest_time(plan: &Plan) -> Option<f64> {
    let source = &plan.source;
    let end = plan.duration()? + source.start_time - plan.time_origin;
    source.is_broadcast().then_some(end + WILD_TIME_SECONDS)
}

/// How many times the last frame is appended to a chunk that holds it, on the grid. No more than that: if the end of the file
/// is missing, the picture must not be held instead.
fn held_frames(plan: &Plan, video: &VideoPlan, chunk: &Chunk) -> Option<u64> {
    let held_from = plan.source.video.as_ref()?.held_from? + plan.source.start_time - plan.time_origin;
    let end = chunk.first_frame + chunk.frames?;
    let moving = video.frames_until(held_from);
    (end >= moving).then(|| end - moving + video.frames_until(HELD_PICTURE_SLACK_SECONDS))
}

/// Filters that give all frames the size and the pixel aspect ratio of the first one: a frame of another shape is scaled to
/// fit, with black bars. Or filters that crop them.
///
/// ffmpeg from 7.1 on crops Matroska itself: then the first frame has another size than the stored one.
fn same_frame(stream: &Video) -> String {
    let Size { width, height } = stream.stored;
    let Some(Crop { left, top, size }) = stream.crop else {
        if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
            // Bars are whole pixels of the colour planes.
            return format!("scale={width}:{height}");
        }
        let (num, den) = stream.coded_aspect;
        // Width in pixels of the first frame's shape.
        let wide = format!("iw*sar/({num}/{den})");
        let factor = format!("min({width}/({wide})\\,{height}/ih)");
        return format!(
            "scale=w='round({wide}*{factor})':h='round(ih*{factor})':eval=frame,\
             pad=w={width}:h={height}:x='(ow-iw)/2':y='(oh-ih)/2':eval=frame"
        );
    };
    let if_stored = |then: u32, otherwise: &str| {
        format!("'if(eq(iw\\,{width})*eq(ih\\,{height})\\,{then}\\,{otherwise})'")
    };
    format!(
        "scale=iw:ih,crop=w={}:h={}:x={}:y={},scale={}:{}",
        if_stored(size.width, "iw"),
        if_stored(size.height, "ih"),
        if_stored(left, "0"),
        if_stored(top, "0"),
        size.width,
        size.height
    )
}

/// The rungs, HDR first, each scaled from the one before, and the stills.
fn branches(plan: &Plan, video: &VideoPlan, stream: &Video, unit: &WorkUnit) -> String {
    let rungs: Vec<_> =
        unit.rungs.iter().filter_map(|&index| Some((index, video.rungs.get(index)?))).collect();
    let (hdr, sdr): (Vec<_>, Vec<_>) = rungs.iter().partition(|(_, rung)| rung.range != VideoRange::Sdr);
    let mut parts = Vec::new();
    let mut from = "grid".to_owned();
    for (index, rung) in &hdr {
        parts.push(format!("[{from}]split=2[b{index}][d{index}]"));
        let (scale, frame_step) = (scale(rung), frame_step(rung));
        parts.push(format!("[b{index}]{scale},setsar=1,format=yuv420p10le{frame_step}[v{index}]"));
        from = format!("d{index}");
    }
    let poster = plan.poster.as_ref().filter(|_| unit.poster);
    // A still is scaled from the lowest rung that is at least as wide, so that it is not scaled up if possible.
    let poster = poster.map(|poster| {
        let rung = sdr.iter().rposition(|(_, rung)| rung.size.width >= poster.size.width);
        (rung.unwrap_or(0), poster_chain(plan, poster))
    });
    let thumbnails = unit.thumbnails.then(|| (sdr.len().saturating_sub(1), thumbnails_chain(video)));
    let stills: Vec<_> = poster.into_iter().chain(thumbnails).collect();
    if let ([], Some((_, rung))) = (&sdr[..], hdr.last()) {
        let scaled = format!("[{from}]{},setsar=1,format=yuv420p", first_scale(rung, stream));
        parts.push(split(&scaled, stills.iter().map(|(_, still)| still.as_str())));
    }
    for (position, (index, rung)) in sdr.iter().enumerate() {
        let scale = if position == 0 { first_scale(rung, stream) } else { scale(rung) };
        let scaled = format!("[{from}]{scale},setsar=1,format=yuv420p");
        let output = format!("null{}[v{index}]", frame_step(rung));
        let next = (position + 1 < sdr.len()).then(|| format!("null[s{index}]"));
        let stills = stills.iter().filter(|(rung, _)| *rung == position).map(|(_, still)| still.as_str());
        parts.push(split(&scaled, std::iter::once(output.as_str()).chain(next.as_deref()).chain(stills)));
        from = format!("s{index}");
    }
    parts.join(";")
}

/// A chain whose frames go to several others, each of which ends in an output.
fn split<'a>(chain: &str, to: impl Iterator<Item = &'a str>) -> String {
    let to: Vec<_> = to.collect();
    match &to[..] {
        [] => format!("{chain},nullsink"),
        [one] => format!("{chain},{one}"),
        all => {
            // Labels start with the name of the chain's input, which is unique.
            let name = chain.trim_start_matches('[').split(']').next().unwrap_or_default();
            let label = |branch: usize| format!("[{name}_{branch}]");
            let labels: String = (0..all.len()).map(label).collect();
            let chains: Vec<_> =
                all.iter().enumerate().map(|(branch, to)| format!("{}{to}", label(branch))).collect();
            format!("{chain},split={}{labels};{}", all.len(), chains.join(";"))
        }
    }
}

/// The scale filter from the source to the first SDR rung.
fn first_scale(rung: &Rung, stream: &Video) -> String {
    format!("{}{}", scale(rung), tone_map(stream.range))
}

fn scale(rung: &Rung) -> String {
    format!("scale={}:{}:flags=lanczos", rung.size.width, rung.size.height)
}

fn frame_step(rung: &Rung) -> String {
    if rung.frame_step > 1 { format!(",framestep=step={}", rung.frame_step) } else { String::new() }
}

/// Selects the frame at the poster's time. If that may be after the end, selects the first frame too.
fn poster_chain(plan: &Plan, poster: &Poster) -> String {
    let (at, is_first) = (poster.at_seconds, "isnan(prev_selected_t)");
    let select = if plan.poster_images() > 1 {
        format!("{is_first}+gte(t\\,{at})*lt(prev_selected_t\\,{at})")
    } else {
        format!("gte(t\\,{at})*{is_first}")
    };
    format!(
        "select={select},scale={}:{}:flags=lanczos,format=yuvj420p[poster]",
        poster.size.width, poster.size.height
    )
}

fn thumbnails_chain(video: &VideoPlan) -> String {
    let thumbnails = &video.thumbnails;
    format!(
        "select=not(mod(n\\,{})),scale={}:{}:flags=bilinear,format=yuvj420p,tile={}x{}[thumbnails]",
        thumbnails.interval_frames,
        thumbnails.size.width,
        thumbnails.size.height,
        thumbnails.columns,
        thumbnails.rows
    )
}
