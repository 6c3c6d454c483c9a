//! Chooses the streams to encode from ffprobe's description.

use std::collections::BTreeMap;

use super::{
    contents::Contents,
    description::{Description, Stream},
    hdr_metadata::HdrMetadata,
    numbers::{aspect_ratio, number, seconds},
    source::{Audio, END_TOLERANCE_SECONDS, MAX_SECONDS, Source, Video, VideoRange, is_too_large},
};
use crate::{Failure, FailureKind, geometry::Size, rate::Rate};

/// The most audio tracks, and the most subtitle tracks, that are encoded.
const MAX_TRACKS: usize = 8;
/// The most programmes that a message names.
const MAX_NAMED_PROGRAMS: usize = 16;
/// A usual probe reads this far, seconds: ffmpeg's default.
const USUAL_PROBE_SECONDS: f64 = 5.0;
/// A track is known once this much of it was read, seconds.
const PROBE_MARGIN_SECONDS: f64 = 5.0;
/// How far a stated duration may exceed [`MAX_SECONDS`], for the last frames of a file cut to that length.
const DURATION_SLACK_SECONDS: f64 = 60.0;

/// How far a duration may exceed the measured one, seconds.
const MEASURED_DURATION_SLACK_SECONDS: f64 = 1.0;
/// A stream has few pictures if it has fewer than one in this many of another one's.
const FEW_PICTURES: usize = 4;

/// Parses `ffprobe -show_streams -show_format -show_packets -of json`; the first packets are enough. Of the programmes of
/// a broadcast, `program` is chosen by its number; otherwise the one of the chosen picture is.
///
/// # Errors
/// `FileNotVideo`, `FileTruncated`, `NoVideoStream`, `CodecUnsupported`, `VideoTooLarge`, `LimitExceeded`,
/// `DecodeFailed`, `ProgramNotFound`.
pub fn parse(json: &[u8], program: Option<u32>) -> Result<Source, Failure> {
    parse_measured(json, program, &Measured::default())
}

/// What was measured of a file whose description does not suffice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Where its last packet ends, seconds after its start, if the stated duration is doubtful.
    pub end: Option<f64>,
    /// Number of packets of each stream with pictures, in samples of the file.
    pub pictures: BTreeMap<u32, usize>,
}

/// Like [`parse`], with what was measured.
///
/// # Errors
/// As [`parse`].
pub fn parse_measured(json: &[u8], program: Option<u32>, measured: &Measured) -> Result<Source, Failure> {
    let mut description: Description = serde_json::from_slice(json)
        .map_err(|_| Failure::new(FailureKind::FileNotVideo, "The file could not be read as a video."))?;
    let mut contents = Contents::of(&description);
    if let Some(number) = program {
        description.keep_program(number).map_err(|numbers| program_not_found(number, &numbers))?;
    }
    let streams = &description.streams;
    let has_audio = streams.iter().any(is_usable_audio);
    let mut video = choose_video(streams, has_audio, &measured.pictures)?.map(read_video).transpose()?;
    let picture = video.as_ref().map(|video| video.index);
    // Of a file without video, the programme of its first sound.
    let main = picture.or_else(|| choose_audio(streams.iter()).first().map(|audio| audio.index));
    let of_program = || streams.iter().filter(|stream| description.belongs_to(stream.index, main));
    let mut audio = choose_audio(of_program());
    let measured_duration = measured.end.map(|end| end + MEASURED_DURATION_SLACK_SECONDS);
    let max_duration = measured_duration.unwrap_or_else(|| description.max_duration());
    if let Some(video) = &mut video {
        let before = streams.iter().take_while(|stream| stream.index != video.index);
        video.number = before.filter(|stream| stream.is_video()).count();
        let limit = max_duration.min(MAX_SECONDS + DURATION_SLACK_SECONDS);
        video.duration = video.duration.filter(|&seconds| seconds <= limit);
        video.end = description.end(video.index).filter(|&end| end <= limit);
        video.may_turn_interlaced = description.may_turn_interlaced(&video.codec);
        let stated = video.start.zip(video.duration).map(|(start, duration)| start + duration);
        video.stated_end = stated.filter(|_| !description.has_constant_frame_durations(video));
    }
    let chosen: Vec<u32> =
        video.iter().map(|video| video.index).chain(audio.iter().map(|audio| audio.index)).collect();
    let duration = description.duration(&chosen).filter(|&seconds| seconds <= max_duration);
    if duration.is_some_and(|seconds| seconds > MAX_SECONDS + DURATION_SLACK_SECONDS) {
        return Err(Failure::new(
            FailureKind::LimitExceeded,
            "The video is longer than 12 hours. Cut it into shorter ones.",
        ));
    }
    let has_no_end = |index: &&u32| description.end(**index).is_none();
    let unknown_ends: Vec<u32> = chosen.iter().filter(has_no_end).copied().collect();
    for track in &mut audio {
        let end = description.end(track.index);
        track.ends_early = duration.is_some_and(|duration| match end {
            Some(end) => duration - end > END_TOLERANCE_SECONDS,
            // Its packets say nothing, but the duration was measured.
            None => description.is_broadcast(),
        });
    }
    let subtitles: Vec<_> = of_program().filter_map(Stream::subtitles).take(MAX_TRACKS).collect();
    let audio_and_subtitles =
        of_program().filter(|stream| matches!(stream.codec_type.as_str(), "audio" | "subtitle")).count();
    let cover = streams.iter().find(|stream| stream.disposition.attached_pic != 0 && stream.has_decoder());
    let indices = || video.iter().map(|video| video.index).chain(audio.iter().map(|audio| audio.index));
    let last_start = description.last_start(indices());
    let shown_cover = cover.filter(|_| video.is_none()).map(|stream| stream.index);
    let used: Vec<_> = indices().chain(subtitles.iter().map(|text| text.index)).chain(shown_cover).collect();
    contents.mark_used(&used, program.or_else(|| description.program_of(main?)));
    Ok(Source {
        start_time: description.start_time(),
        first_stream_start: description.first_stream_start(indices()),
        has_b_frames: streams.iter().any(|stream| stream.has_b_frames > 0),
        duration,
        stated_duration: None,
        is_seekable: true,
        has_another_recording: false,
        unknown_ends,
        is_cut_off: description.is_cut_off(),
        claimed_duration: None,
        max_duration,
        output_version: crate::OUTPUT_VERSION,
        skipped: audio_and_subtitles - audio.len() - subtitles.len(),
        has_captions: false,
        has_clock_gap: false,
        pauses: Vec::new(),
        merges_tracks: false,
        // A caller who chose a programme knows that there are others.
        other_programs: main.filter(|_| program.is_none()).map_or(0, |main| description.other_programs(main)),
        probed_seconds: (last_start > USUAL_PROBE_SECONDS).then_some(last_start + PROBE_MARGIN_SECONDS),
        video,
        audio,
        subtitles,
        cover: cover.map(|stream| stream.index),
        contents,
        container: description.format.format_name,
    })
}

fn program_not_found(number: u32, existing: &[u32]) -> Failure {
    let numbers: Vec<_> = existing.iter().take(MAX_NAMED_PROGRAMS).map(u32::to_string).collect();
    let more = if existing.len() > MAX_NAMED_PROGRAMS { " and others" } else { "" };
    let message = match numbers.as_slice() {
        [] => format!("The file has no programmes, so that number {number} cannot be chosen."),
        numbers => format!("The file has no programme {number}. It has {}{more}.", numbers.join(", ")),
    };
    Failure::new(FailureKind::ProgramNotFound, message)
}

/// Whether tracks are declared of which a usual probe knows too little, because they begin late.
pub fn needs_deeper_probe(json: &[u8]) -> bool {
    serde_json::from_slice(json).is_ok_and(|description: Description| description.lacks_parameters())
}

/// Whether several streams have pictures, which must be counted to choose one.
pub fn has_several_pictures(json: &[u8]) -> bool {
    let description = serde_json::from_slice(json).ok();
    let is_usable = |stream: &&Stream| stream.is_video() && stream.has_decoder();
    description.is_some_and(|file: Description| file.streams.iter().filter(is_usable).count() > 1)
}

/// Whether the file states a longer duration than files of its size have, so that its end must be measured.
pub fn has_doubtful_duration(json: &[u8]) -> bool {
    serde_json::from_slice(json).is_ok_and(|description: Description| description.has_doubtful_duration())
}

/// Whether streams follow one another in `ffprobe -show_entries packet=stream_index,pts_time -of csv=p=0`: each begins when the
/// one before ends.
pub fn follow_one_another(packets: &str) -> bool {
    let mut spans: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for line in packets.lines() {
        let mut fields = line.split(',');
        let stream = fields.next().and_then(|field| field.parse().ok());
        let (Some(stream), Some(time)) = (stream, fields.next().and_then(number)) else { continue };
        let (first, last) = spans.entry(stream).or_insert((time, time));
        (*first, *last) = (first.min(time), last.max(time));
    }
    let mut spans: Vec<_> = spans.into_values().collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    spans.len() > 1 && spans.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

/// Counts the packets of each stream in such a list.
pub fn packet_counts(packets: &str) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for stream in packets.lines().filter_map(|line| line.split(',').next()?.parse().ok()) {
        *counts.entry(stream).or_default() += 1;
    }
    counts
}

/// The video stream to encode; none for a file with audio only.
///
/// A single picture is not a video, nor is a stream with less than a quarter of another one's pictures or pixels: files have
/// such thumbnails and previews. Of the others it is the default one, or else the first one.
fn choose_video<'a>(
    streams: &'a [Stream],
    has_audio: bool,
    pictures: &BTreeMap<u32, usize>,
) -> Result<Option<&'a Stream>, Failure> {
    let candidates: Vec<_> = streams.iter().filter(|stream| stream.is_video()).collect();
    let Some(first) = candidates.first() else {
        return match streams {
            _ if has_audio => Ok(None),
            [] => Err(Failure::new(
                FailureKind::FileTruncated,
                "The file has no streams. Its end may be missing.",
            )),
            _ => Err(Failure::new(
                FailureKind::NoVideoStream,
                "The file has neither a video nor an audio stream to play.",
            )),
        };
    };
    let usable: Vec<_> = candidates.iter().filter(|s| s.has_decoder()).collect();
    let Some(fallback) = usable.first() else {
        return Err(Failure::new(
            FailureKind::CodecUnsupported,
            format!(
                "The video's codec ({}) is not supported. Convert it, for example to H.264.",
                first.codec_tag()
            ),
        ));
    };
    let most_pixels = usable.iter().map(|stream| stream.pixels()).max().unwrap_or(0);
    let count = |stream: &Stream| pictures.get(&stream.index).copied().unwrap_or(0);
    let most = usable.iter().map(|stream| count(stream)).max().unwrap_or(0);
    let has_few = |stream: &Stream| count(stream) < most / FEW_PICTURES;
    let rank = |stream: &Stream| {
        let is_small = stream.pixels() < most_pixels / 4;
        let is_still = stream.is_picture() || has_few(stream);
        (is_still, is_small, stream.disposition.default == 0)
    };
    // The first of several with the same rank.
    Ok(Some(usable.iter().min_by_key(|stream| rank(stream)).unwrap_or(fallback)))
}

fn read_video(stream: &Stream) -> Result<Video, Failure> {
    let stored = Size { width: stream.width.unwrap_or(0), height: stream.height.unwrap_or(0) };
    if stored.pixels() == 0 {
        return Err(Failure::new(
            FailureKind::DecodeFailed,
            "The frame size is missing: the file is damaged. Export the video again.",
        ));
    }
    if is_too_large(stored) {
        return Err(Failure::new(
            FailureKind::VideoTooLarge,
            format!(
                "Frames of {} x {} pixels are too large. The limit is 8192 x 4320.",
                stored.width, stored.height
            ),
        ));
    }
    let pixel_aspect = stream.sample_aspect_ratio.as_deref().and_then(aspect_ratio).unwrap_or((1, 1));
    let mut video = Video {
        index: stream.index,
        number: 0,
        codec: stream.codec_name.clone().unwrap_or_default(),
        stored,
        crop: None,
        pixel_aspect,
        coded_aspect: pixel_aspect,
        orientation: stream.orientation(),
        nominal_rate: stream.r_frame_rate.as_deref().and_then(Rate::parse),
        mean_rate: stream.avg_frame_rate.as_deref().and_then(Rate::parse),
        pixel_format: stream.pix_fmt.clone().unwrap_or_default(),
        interlaced: stream.may_be_interlaced(),
        may_turn_interlaced: false,
        has_colour_tags: stream
            .color_space
            .as_deref()
            .is_some_and(|space| !matches!(space, "unknown" | "gbr")),
        range: match stream.color_transfer.as_deref() {
            Some("smpte2084") => VideoRange::Pq,
            Some("arib-std-b67") => VideoRange::Hlg,
            _ => VideoRange::Sdr,
        },
        needs_dolby_vision: stream.needs_dolby_vision(),
        hdr_metadata: HdrMetadata::default(),
        start: stream.start_time.as_deref().and_then(number),
        duration: stream.duration.as_deref().and_then(seconds),
        end: None,
        held_from: None,
        busiest_rate: None,
        stated_end: None,
    };
    if is_too_large(video.display_size()) {
        // Only a broken file has such a pixel aspect ratio.
        video.pixel_aspect = (1, 1);
    }
    Ok(video)
}

fn is_usable_audio(stream: &Stream) -> bool {
    stream.codec_type == "audio" && stream.has_decoder() && stream.has_audio_parameters()
}

/// Every audio track that can be decoded, the one to play first at the front. Others are left out: a silent video is
/// better than none.
fn choose_audio<'a>(streams: impl Iterator<Item = &'a Stream>) -> Vec<Audio> {
    let mut chosen: Vec<_> = streams.filter(|stream| is_usable_audio(stream)).collect();
    // A stable sort: the first of several default tracks, or of none, stays first.
    chosen.sort_by_key(|stream| (stream.is_supplementary(), stream.disposition.default == 0));
    let audio = |stream: &Stream| Audio {
        index: stream.index,
        codec: stream.codec_name.clone().unwrap_or_default(),
        channels: stream.channels.unwrap_or(0),
        mix: stream.mix(),
        sample_rate: stream.sample_rate(),
        ends_early: false,
        language: stream.language(),
        title: stream.title(),
    };
    chosen.into_iter().take(MAX_TRACKS).map(audio).collect()
}
