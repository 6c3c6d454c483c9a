use super::{FIRST_FD, Input, InputFile, ProbeDepth, Stream, encode, packets, probe, remux};
use crate::{
    geometry::{Orientation, Size},
    plan::{Codec, Options, Plan, WorkUnit, plan},
    probe::{Audio, Contents, HdrMetadata, Mix, Source, Subtitles, Video, VideoRange},
    rate::Rate,
};

const INPUT: Input<'static> =
    Input { address: "http://127.0.0.1:1/x", seek: None, end: None, audio_format_changes: false };

fn source(seconds: f64) -> Source {
    let (language, title) = (String::new(), String::new());
    Source {
        container: "mov".into(),
        start_time: 1.0,
        first_stream_start: 1.0,
        has_b_frames: false,
        duration: Some(seconds),
        audio: vec![Audio {
            index: 3,
            codec: "aac".into(),
            channels: 2,
            mix: Mix::Standard,
            ends_early: false,
            sample_rate: 44_100,
            language,
            title,
        }],
        max_duration: f64::MAX,
        subtitles: Vec::new(),
        cover: None,
        output_version: crate::OUTPUT_VERSION,
        skipped: 0,
        other_programs: 0,
        contents: Contents::default(),
        probed_seconds: None,
        has_captions: false,
        has_clock_gap: false,
        pauses: Vec::new(),
        merges_tracks: false,
        stated_duration: None,
        is_seekable: true,
        has_another_recording: false,
        unknown_ends: Vec::new(),
        is_cut_off: false,
        claimed_duration: None,
        video: Some(Video {
            index: 1,
            codec: "h264".into(),
            stored: Size { width: 1280, height: 720 },
            crop: None,
            number: 0,
            pixel_aspect: (1, 1),
            orientation: Orientation::Clockwise,
            nominal_rate: Rate::new(25, 1),
            mean_rate: Rate::new(25, 1),
            pixel_format: "yuv420p".into(),
            interlaced: true,
            may_turn_interlaced: false,
            has_colour_tags: true,
            range: VideoRange::Sdr,
            needs_dolby_vision: false,
            hdr_metadata: HdrMetadata::default(),
            stated_end: None,
            end: None,
            held_from: None,
            coded_aspect: (1, 1),
            busiest_rate: None,
            start: Some(1.0),
            duration: None,
        }),
    }
}

/// A source whose duration is not known: its plan has one work unit.
fn endless() -> Source {
    Source { duration: None, ..source(10.0) }
}

fn planned(source: &Source, codec: Codec) -> Plan {
    plan(source, &Options { codec, threads: 2, ..Options::default() })
}

fn value<'a>(args: &'a [String], name: &str) -> &'a str {
    let index = args.iter().position(|arg| arg == name).expect(name);
    &args[index + 1]
}

fn graphs(plan: &Plan, unit: usize) -> Vec<String> {
    graphs_of(&encode(plan, &plan.work_units[unit], &INPUT).args)
}

fn graphs_of(args: &[String]) -> Vec<String> {
    args.windows(2).filter(|pair| pair[0] == "-filter_complex").map(|pair| pair[1].clone()).collect()
}

const FILE: InputFile<'_> = InputFile { uri: INPUT.address, container: "", merges_tracks: false };

fn graph(plan: &Plan, unit: usize) -> String {
    graphs(plan, unit).swap_remove(0)
}

#[test]
fn all_commands_whitelist_protocols_and_formats_of_every_input() {
    let plan = planned(&source(10.0), Codec::H264);
    let encoded = encode(&plan, &plan.work_units[0], &INPUT).args;
    let joined = remux(Some("v.mp4"), Some("a.mp4"), "o.mp4");
    for args in [probe(FILE, ProbeDepth::Deep), packets(FILE, 0, 0.0, 1.0), encoded, joined] {
        for part in args.split_inclusive(|arg| arg == "-i").filter(|part| part.ends_with(&["-i".into()])) {
            assert!(part.iter().any(|arg| arg == "-protocol_whitelist"), "{args:?}");
            assert!(part.iter().any(|arg| arg == "-format_whitelist"), "{args:?}");
        }
    }
}

#[test]
fn encode_writes_every_output_to_its_own_descriptor() {
    let mut source = endless();
    let (language, title) = (String::new(), String::new());
    source.subtitles = vec![Subtitles { index: 4, language, title, default: false, forced: false }];
    let plan = planned(&source, Codec::H264);
    let encode = encode(&plan, &plan.work_units[0], &INPUT);
    let pipes: Vec<_> = encode.args.iter().filter(|arg| arg.starts_with("pipe:")).collect();
    let rungs = plan.video.as_ref().expect("video").rungs.len();
    assert_eq!(encode.streams.len(), rungs + 5, "audio, subtitles, poster, thumbnails, progress");
    for (index, &stream) in encode.streams.iter().enumerate() {
        let name = format!("pipe:{}", FIRST_FD as usize + index);
        // A filter prints the progress.
        let outputs = usize::from(stream != Stream::Progress);
        assert_eq!(pipes.iter().filter(|pipe| ***pipe == name).count(), outputs);
    }
    assert_eq!(encode.streams.last(), Some(&Stream::Progress));
}

#[test]
fn encode_single_work_unit_has_one_cascade_and_a_separate_audio_graph() {
    let graphs = graphs(&planned(&endless(), Codec::H264), 0);
    let [video, audio] = &graphs[..] else { panic!("{graphs:?}") };
    assert_eq!(
        video,
        "[0:1]scale=w='round(iw*sar/(1/1)*min(1280/(iw*sar/(1/1))\\,720/ih))':\
         h='round(ih*min(1280/(iw*sar/(1/1))\\,720/ih))':eval=frame,\
         pad=w=1280:h=720:x='(ow-iw)/2':y='(oh-ih)/2':eval=frame,bwdif=mode=send_frame:deint=interlaced,fps=fps=25/1:start_time=0,\
         trim=start_pts=0:end=43200,\
         metadata=add:key=grid:value=1,metadata=print:file='pipe\\:9':direct=1,\
         transpose=clock,sidedata=mode=delete:type=DISPLAYMATRIX[grid];\
         [grid]scale=720:1280:flags=lanczos,setsar=1,format=yuv420p,split=2[grid_0][grid_1];\
         [grid_0]null[v0];[grid_1]null[s0];\
         [s0]scale=480:854:flags=lanczos,setsar=1,format=yuv420p,split=2[s0_0][s0_1];\
         [s0_0]null[v1];[s0_1]null[s1];\
         [s1]scale=360:640:flags=lanczos,setsar=1,format=yuv420p,split=3[s1_0][s1_1][s1_2];[s1_0]null[v2];\
         [s1_1]select=gte(t\\,0)*isnan(prev_selected_t),scale=360:640:flags=lanczos,format=yuvj420p[poster];\
         [s1_2]select=not(mod(n\\,25)),scale=90:160:flags=bilinear,format=yuvj420p,tile=5x5[thumbnails];\
         [0:1]trim=end_frame=1,nullsink"
    );
    assert_eq!(
        audio,
        "[0:3]aresample=48000:async=1:min_hard_comp=0.04:first_pts=0,aformat=sample_fmts=fltp:channel_layouts=stereo,\
         atrim=start_sample=1024:end=43200[a0]"
    );
}

#[test]
fn encode_chunk_is_cut_on_the_grid() {
    let plan = planned(&source(100.0), Codec::H264);
    let unit = plan.work_units.iter().position(|unit| unit.chunk == Some(2)).expect("chunk");
    assert!(graph(&plan, unit).contains("fps=fps=25/1:start_time=0,trim=start_pts=300:end_pts=700,"));
    assert!(graph(&plan, unit).ends_with(";[0:1]trim=end_frame=1,nullsink"));
    let seek = Input { seek: Some(9.7), ..INPUT };
    let args = encode(&plan, &plan.work_units[unit], &seek).args.join(" ");
    assert!(args.contains("-ss 9.700000 -noaccurate_seek -copyts -itsoffset -1.000001 -i http"), "{args}");
    assert!(args.contains("fps=fps=25/1,trim=start_pts=300:end_pts=700,"), "{args}");
    assert!(
        args.contains("-frames:v 400 ") && args.contains("-g 100 ") && args.contains("-fragment_index 4 "),
        "{args}"
    );
    assert!(!args.contains(" -t "), "an output -t with -copyts produces empty chunks");
}

#[test]
fn encode_repeats_the_last_frame_until_the_known_end() {
    let plan = planned(&source(100.0), Codec::H264);
    let input = Input { end: Some(101.02), ..INPUT };
    let graph = |unit| graphs_of(&encode(&plan, unit, &input).args).join(" ");
    let graphs: Vec<_> = plan.work_units.iter().map(graph).collect();
    let padded: Vec<_> = graphs.iter().filter(|graph| graph.contains("tpad")).collect();
    let [last] = &padded[..] else { panic!("{graphs:?}") };
    // 100.02 s after the start at one second: 2500 frames, rounded.
    assert!(
        last.contains("tpad=stop_mode=clone:stop_duration=1,fps=fps=25/1:start_time=0,trim=start_pts="),
        "{last}"
    );
    assert!(last.contains(":end_pts=2500,"), "{last}");
}

#[test]
fn encode_halved_rungs_keep_every_second_frame() {
    let mut high_rate = source(100.0);
    if let Some(video) = &mut high_rate.video {
        (video.nominal_rate, video.mean_rate) = (Rate::new(50, 1), Rate::new(50, 1));
    }
    let plan = planned(&high_rate, Codec::H264);
    let unit = plan.work_units.iter().position(|unit| unit.chunk == Some(1)).expect("chunk");
    assert!(graph(&plan, unit).contains("null,framestep=step=2[v2]"));
    let args = encode(&plan, &plan.work_units[unit], &INPUT).args.join(" ");
    assert!(args.contains("-map [v0] -frames:v 400 ") && args.contains("-map [v2] -frames:v 200 "), "{args}");
    assert!(args.contains("-g 200 ") && args.contains("-g 100 "), "{args}");
}

#[test]
fn encode_each_codec_uses_its_encoder() {
    for (codec, encoder) in [
        (Codec::H264, "libx264"),
        (Codec::Hevc, "libx265"),
        (Codec::Av1, "libsvtav1"),
        (Codec::Vp9, "libvpx-vp9"),
    ] {
        let plan = planned(&source(10.0), codec);
        assert_eq!(value(&encode(&plan, &plan.work_units[0], &INPUT).args, "-c:v"), encoder);
    }
}

#[test]
fn encode_hdr_source_is_tone_mapped_once_and_kept_in_the_hdr_rung() {
    let mut hdr = endless();
    if let Some(video) = &mut hdr.video {
        video.range = VideoRange::Pq;
    }
    let plan = plan(&hdr, &Options { keep_hdr: true, threads: 2, ..Options::default() });
    let graph = graph(&plan, 0);
    assert_eq!(graph.matches("tonemap=tonemap").count(), 1);
    assert!(
        graph.contains("[b0]scale=720:1280:flags=lanczos,setsar=1,format=yuv420p10le[v0];[d0]scale=720:1280"),
        "{graph}"
    );
}

#[test]
fn encode_hdr_rung_carries_the_hdr_metadata_of_the_source() {
    let mut hdr = endless();
    if let Some(video) = &mut hdr.video {
        let display = Some([8500, 39850, 6550, 2300, 35400, 14600, 15635, 16450, 10_000_000, 50]);
        (video.range, video.hdr_metadata) =
            (VideoRange::Pq, HdrMetadata { display, content: Some((1000, 400)) });
    }
    let options = Options { keep_hdr: true, codec: Codec::Hevc, threads: 2, ..Options::default() };
    let plan = plan(&hdr, &options);
    let args = encode(&plan, &plan.work_units[0], &INPUT).args;
    let params: Vec<_> = args.iter().filter(|arg| arg.contains("const-vbv")).collect();
    let expected = "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,50):max-cll=1000,400";
    assert!(params[0].ends_with(expected), "{params:?}");
    assert!(params.len() > 1 && params[1..].iter().all(|params| !params.contains("max-cll")), "{params:?}");
}

#[test]
fn encode_stills_without_an_sdr_rung_are_tone_mapped() {
    let mut hdr = source(100.0);
    if let Some(video) = &mut hdr.video {
        video.range = VideoRange::Pq;
    }
    let options = Options { keep_hdr: true, rungs: vec![720], threads: 2, ..Options::default() };
    let plan = plan(&hdr, &options);
    let hdr_only = |unit: &WorkUnit| unit.rungs == [0] && unit.thumbnails;
    let unit = plan.work_units.iter().position(hdr_only).expect("the rest of the first chunk");
    let graph = graph(&plan, unit);
    let (_, after) = graph.split_once("tonemap=tonemap").expect(&graph);
    assert!(after.contains("tile=5x5[thumbnails]"), "{graph}");
}

#[test]
fn encode_poster_is_not_scaled_up() {
    let mut small = source(10.0);
    if let Some(video) = &mut small.video {
        (video.stored, video.orientation) = (Size { width: 640, height: 360 }, Orientation::Upright);
    }
    let graph = graph(&planned(&small, Codec::H264), 0);
    // Two rungs, 360p and 240p: the poster is scaled from the first, the thumbnails from the second.
    assert!(graph.contains("split=3[grid_0][grid_1][grid_2];"), "{graph}");
    assert!(graph.contains("[grid_2]select=gte") && graph.contains("[s0_1]select=not(mod"), "{graph}");
}

#[test]
fn encode_poster_possibly_after_the_end_falls_back_to_the_first_frame() {
    let options = Options { poster_seconds: Some(7.48), threads: 2, ..Options::default() };
    let unknown = plan(&endless(), &options);
    let args = encode(&unknown, &unknown.work_units[0], &INPUT).args.join(" ");
    assert!(
        args.contains("select=isnan(prev_selected_t)+gte(t\\,7.48)*lt(prev_selected_t\\,7.48),"),
        "{args}"
    );
    assert!(args.contains("-map [poster] -frames:v 2 "), "{args}");
    let known = plan(&source(10.0), &options);
    let unit = known.work_units.iter().find(|unit| unit.poster).expect("poster");
    assert!(encode(&known, unit, &INPUT).args.join(" ").contains("-map [poster] -frames:v 1 "));
}

#[test]
fn encode_untagged_source_gets_colour_tags() {
    let graph_of = |format: &str, has_colour_tags: bool, width: u32, height: u32| {
        let mut source = source(10.0);
        if let Some(video) = &mut source.video {
            (video.pixel_format, video.has_colour_tags) = (format.to_owned(), has_colour_tags);
            (video.stored, video.orientation) = (Size { width, height }, Orientation::Upright);
        }
        graph(&planned(&source, Codec::H264), 0)
    };
    assert!(!graph_of("yuv420p", true, 1280, 720).contains("setparams"));
    assert!(graph_of("yuv420p", false, 1280, 720).contains("eval=frame,setparams=colorspace=bt709:"));
    assert!(graph_of("yuv420p", false, 720, 576).contains("setparams=colorspace=smpte170m:"));
    let rgb = graph_of("bgr0", false, 640, 360);
    assert!(
        rgb.contains(",scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,")
            && rgb.contains("setparams=colorspace=bt709")
    );
    let transparent = graph_of("yuva420p", true, 640, 360);
    assert!(transparent.contains("format=yuva444p,premultiply=inplace=1,"), "{transparent}");
    assert!(graph_of("argb", false, 640, 360).contains("format=gbrap,premultiply=inplace=1,"));
}

#[test]
fn encode_picture_that_ends_early_holds_its_last_frame_for_a_stated_number_of_frames() {
    let mut source = source(60.0);
    let video = source.video.as_mut().expect("video");
    (video.end, video.duration) = (Some(10.0), Some(10.0));
    source.hold_picture(source.start_time + 10.0);
    let plan = planned(&source, Codec::H264);
    let video = plan.video.as_ref().expect("video");
    let last = video.chunks.len() - 1;
    let unit = plan.work_units.iter().find(|unit| unit.chunk == Some(last)).expect("work unit");
    let args = encode(&plan, unit, &INPUT).args.join(" ");
    let end = video.chunks[last].first_frame + video.chunks[last].frames.expect("an end");
    let moving = video.frames_until(source.start_time + 10.0 - plan.time_origin);
    let held = end - moving + 13;
    assert!(args.contains(&format!(":eof_action=pass,tpad=stop_mode=clone:stop={held},trim=")), "{args}");
    assert!(args.contains(&format!(":end_pts={end},")));
    let first = encode(&plan, &plan.work_units[0], &INPUT).args.join(" ");
    assert!(last == 0 || !first.contains("tpad"), "{first}");
}

#[test]
fn encode_sound_that_ends_early_is_followed_by_silence() {
    let mut source = source(60.0);
    source.audio[0].ends_early = true;
    let plan = planned(&source, Codec::H264);
    let unit = plan.work_units.iter().find(|unit| !unit.audio.is_empty()).expect("sound");
    let args = |input: &Input<'_>| encode(&plan, unit, input).args.join(" ");
    let end = plan.silence_until(0).expect("an end");
    assert!(args(&INPUT).contains(",apad,") && args(&INPUT).contains(&format!(":end={end}[a0]")));
    assert!(args(&Input { seek: Some(9.0), ..INPUT }).contains(",apad,"), "the last part");
    assert!(!args(&Input { audio_format_changes: true, ..INPUT }).contains("apad"));
}

#[test]
fn encode_keeps_the_clock_of_the_file_if_its_duration_is_known() {
    let has_clock = |source: &Source| {
        let plan = planned(source, Codec::H264);
        encode(&plan, &plan.work_units[0], &INPUT).args.contains(&"-copyts".to_owned())
    };
    assert!(has_clock(&source(2.0)) && has_clock(&source(60.0)) && !has_clock(&endless()));
}

#[test]
fn encode_changing_audio_format_does_not_fill_from_zero() {
    let plan = planned(&endless(), Codec::H264);
    let changes = Input { audio_format_changes: true, ..INPUT };
    let args = encode(&plan, &plan.work_units[0], &changes).args.join(" ");
    assert!(args.contains("-reinit_filter:v 0 ") && !args.contains("-reinit_filter 0"), "{args}");
    assert!(!args.contains("first_pts") && args.contains("atrim=start_pts=1024:"), "{args}");
}

#[test]
fn encode_audio_only_has_waveform_or_cover_as_poster() {
    let mut audio_only = source(10.0);
    audio_only.video = None;
    assert!(graph(&planned(&audio_only, Codec::H264), 0).contains("showwavespic=s=640x360"));
    audio_only.cover = Some(7);
    assert!(graph(&planned(&audio_only, Codec::H264), 0).starts_with("[0:7]scale=640:640"));
}

#[test]
fn encode_limits_threads_of_chunks_that_run_in_parallel() {
    let threads = |plan: &Plan, unit: usize| {
        let args = encode(plan, &plan.work_units[unit], &INPUT).args;
        let before = args.split(|arg| arg == "-i").next().expect("an input").join(" ");
        (before.contains("-filter_complex_threads 1"), before.contains(" -threads 1"))
    };
    let long = planned(&source(100.0), Codec::H264);
    assert_eq!(threads(&long, 0), (false, false), "playback starts after this one");
    assert!(long.work_units[2].chunk.is_some());
    assert_eq!(threads(&long, 2), (true, true), "one of many chunks");
    let mut short = endless();
    assert_eq!(threads(&planned(&short, Codec::H264), 0), (true, false), "the only task");
    if let Some(video) = &mut short.video {
        video.range = VideoRange::Pq;
    }
    assert_eq!(
        threads(&planned(&short, Codec::H264), 0),
        (false, false),
        "tone mapping uses several threads"
    );
}

#[test]
fn encode_later_sound_is_cut_by_times_after_a_seek_and_padded_without_one() {
    let plan = planned(&source(4000.0), Codec::H264);
    let part = plan.work_units.iter().find(|unit| unit.audio_part.first_segment == 146).expect("part");
    let audio = |seek| encode(&plan, part, &Input { seek, ..INPUT }).args.join(" ");
    let (sought, from_start) = (audio(Some(600.0)), audio(None));
    // Segments of 188 frames of 1024 samples; 7 frames less than the first one, 9 more than the last one.
    let (start, end) = ((146 * 188 - 7) * 1024, (288 * 188 + 9) * 1024);
    assert!(
        sought.contains("min_hard_comp=0.04,aformat=sample_fmts=fltp:channel_layouts=stereo,"),
        "{sought}"
    );
    assert!(sought.contains(&format!("atrim=start_pts={start}:end_pts={end}[a0]")), "{sought}");
    assert!(from_start.contains("min_hard_comp=0.04:first_pts=0,apad,aformat"), "{from_start}");
    assert!(from_start.contains(&format!("atrim=start_sample={start}:end_sample={end}[a0]")), "{from_start}");
    assert!(sought.contains("-frames:a 26704 -bsf:a noise=drop=lt(n\\,8) "), "{sought}");
}

/// The bytes of a job's outputs must not change while its workers are upgraded, and the name of a worker's encoder build
/// contains [`crate::OUTPUT_VERSION`]. If this test fails, the commands have changed: raise the version, unless no output
/// byte changes, and then the hash.
#[test]
fn encode_arguments_change_only_with_the_output_version() {
    let mut commands = String::new();
    for seconds in [10.0, 90.0, 4000.0] {
        for codec in Codec::ALL {
            for range in [VideoRange::Sdr, VideoRange::Pq] {
                let mut source = source(seconds);
                source.video.as_mut().expect("video").range = range;
                let plan = planned(&source, codec);
                for unit in plan.work_units.iter().take(3) {
                    commands += &encode(&plan, unit, &INPUT).args.join("\u{0}");
                }
            }
        }
    }
    let hash = commands.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    assert_eq!((crate::OUTPUT_VERSION, format!("{hash:016x}").as_str()), (9, "0a719ea46b8ba00f"));
}
