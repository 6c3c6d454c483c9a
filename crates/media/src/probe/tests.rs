use proptest::prelude::*;

use super::{Contents, Mix, follow_one_another, needs_deeper_probe, parse};
use crate::{FailureKind, geometry::Orientation};

const PHONE: &str = r#"{"streams":[
  {"index":0,"codec_type":"audio","codec_name":"aac","channels":1,"sample_rate":"44100","disposition":{"default":1}},
  {"index":1,"codec_type":"video","codec_name":"mjpeg","width":100,"height":100,"disposition":{"attached_pic":1}},
  {"index":2,"codec_type":"video","codec_name":"h264","width":568,"height":320,"pix_fmt":"yuv420p",
   "sample_aspect_ratio":"1:1","r_frame_rate":"30000/1001","avg_frame_rate":"37200/1241","duration":"2.07",
   "field_order":"progressive","disposition":{"default":1},
   "side_data_list":[{"side_data_type":"Display Matrix",
     "displaymatrix":"\n00000000:            0       65536           0\n00000001:       -65536           0           0\n00000002:            0           0  1073741824\n",
     "rotation":-90}]}],
  "format":{"format_name":"mov,mp4","duration":"2.068333"}}"#;

fn failure_kind(json: &str) -> FailureKind {
    parse(json.as_bytes(), None).map(|source| source.container).expect_err("rejected").kind
}

#[test]
fn parse_phone_video_reads_streams_and_rotation() {
    let source = parse(PHONE.as_bytes(), None).expect("probe");
    let video = source.video.expect("video");
    assert_eq!((video.index, source.cover), (2, Some(1)), "the cover image is not a video");
    assert_eq!(video.orientation, Orientation::Clockwise);
    assert_eq!((video.display_size().width, video.display_size().height), (320, 568));
    assert_eq!(source.duration, Some(2.068333), "the duration of the audio stream is unknown");
    assert_eq!(source.audio[0].channels, 1);
}

#[test]
fn parse_keeps_audio_and_text_tracks_with_the_default_first() {
    let json = r#"{"streams":[
      {"index":0,"codec_type":"audio","codec_name":"ac3","channels":6,"sample_rate":"48000","tags":{"language":"deu"}},
      {"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000","disposition":{"default":1},
       "tags":{"LANGUAGE":"eng","title":"Director\u0007"}},
      {"index":2,"codec_type":"subtitle","codec_name":"subrip","tags":{"language":"und"},"disposition":{"forced":1}},
      {"index":3,"codec_type":"subtitle","codec_name":"dvd_subtitle"}],
      "format":{"format_name":"matroska","start_time":"-0.5","duration":"10"}}"#;
    let source = parse(json.as_bytes(), None).expect("audio only is accepted");
    assert!(source.video.is_none());
    assert_eq!(source.start_time, -0.5);
    let audio: Vec<_> =
        source.audio.iter().map(|a| (a.index, a.language.as_str(), a.title.as_str())).collect();
    assert_eq!(audio, [(1, "eng", "Director"), (0, "deu", "")]);
    let [subtitles] = &source.subtitles[..] else { panic!("{:?}", source.subtitles) };
    assert_eq!(
        (subtitles.index, subtitles.language.as_str(), subtitles.forced),
        (2, "", true),
        "images are left out"
    );
    assert_eq!(source.skipped, 1, "which is counted");
    let audio = r#"{"index":9,"codec_type":"audio","codec_name":"aac","channels":1,"sample_rate":"8000"},"#;
    let many = PHONE.replacen("[\n", &format!("[\n{}", audio.repeat(9)), 1);
    let source = parse(many.as_bytes(), None).expect("probe");
    assert_eq!((source.audio.len(), source.skipped), (8, 2));
}

#[test]
fn parse_ranks_video_tracks_by_pictures_size_and_default() {
    let chosen = |tracks: &[(&str, u32, u8)]| {
        let tracks: Vec<_> = tracks
            .iter()
            .enumerate()
            .map(|(index, (frames, width, default))| {
                format!(
                    r#"{{"index":{index},"codec_type":"video","codec_name":"h264","width":{width},"height":{width},
                    "nb_frames":"{frames}","disposition":{{"default":{default}}}}}"#
                )
            })
            .collect();
        let json = format!(r#"{{"streams":[{}],"format":{{"format_name":"mov"}}}}"#, tracks.join(","));
        parse(json.as_bytes(), None).expect("probe").video.expect("video").index
    };
    assert_eq!(chosen(&[("1", 160, 1), ("150", 640, 1)]), 1, "a thumbnail");
    assert_eq!(chosen(&[("1", 4000, 1), ("150", 640, 0)]), 1, "a large picture");
    assert_eq!(chosen(&[("150", 160, 1), ("150", 640, 0)]), 1, "a preview");
    assert_eq!(chosen(&[("150", 640, 0), ("150", 480, 1)]), 1, "the default one");
    assert_eq!(chosen(&[("150", 480, 0), ("150", 640, 0)]), 0, "the first one");
    assert_eq!(chosen(&[("1", 640, 1)]), 0, "nothing but a picture");
}

#[test]
fn parse_takes_sound_and_texts_of_the_programme_of_the_picture() {
    let json = r#"{"programs":[{"program_id":1,"program_num":11,"streams":[{"index":0},{"index":1}]},
        {"program_id":2,"program_num":12,"streams":[{"index":2},{"index":3},{"index":4}]},{"program_id":3,"program_num":13,"streams":[{"index":6}]}],
      "streams":[
      {"index":0,"codec_type":"video","codec_name":"h264","width":320,"height":180},
      {"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000"},
      {"index":2,"codec_type":"video","codec_name":"h264","width":1280,"height":720},
      {"index":3,"codec_type":"audio","codec_name":"aac","channels":1,"sample_rate":"48000"},
      {"index":4,"codec_type":"subtitle","codec_name":"dvb_subtitle"},
      {"index":5,"codec_type":"audio","codec_name":"aac","channels":1,"sample_rate":"48000"},
      {"index":6,"codec_type":"data"}],"format":{"format_name":"mpegts"}}"#;
    let source = parse(json.as_bytes(), None).expect("probe");
    let audio: Vec<_> = source.audio.iter().map(|audio| audio.index).collect();
    assert_eq!((source.video.expect("video").index, audio), (2, vec![3, 5]), "5 is of no programme");
    assert_eq!((source.skipped, source.other_programs), (1, 1), "data is not a programme");
    let used = |contents: &Contents| -> Vec<u32> {
        contents.tracks.iter().filter(|track| track.is_used).map(|track| track.index).collect()
    };
    let programs = |contents: &Contents| -> Vec<_> {
        contents.programs.iter().map(|program| (program.number, program.is_used)).collect()
    };
    assert_eq!(source.contents.tracks.len(), 6, "all but data");
    assert_eq!(used(&source.contents), [2, 3, 5]);
    assert_eq!(programs(&source.contents), [(11, false), (12, true), (13, false)]);

    let source = parse(json.as_bytes(), Some(11)).expect("probe");
    assert_eq!((source.video.expect("video").index, source.audio[0].index), (0, 1), "as requested");
    assert_eq!((source.skipped, source.other_programs), (0, 0), "others were not requested");
    assert_eq!((used(&source.contents), source.contents.tracks.len()), (vec![0, 1], 6));
    assert_eq!(programs(&source.contents), [(11, true), (12, false), (13, false)]);
    let shared = json.replace(r#"{"index":2},{"index":3},{"index":4}"#, r#"{"index":0},{"index":3}"#);
    let source = parse(shared.as_bytes(), Some(12)).expect("probe");
    assert_eq!(
        source.audio.iter().map(|audio| audio.index).collect::<Vec<_>>(),
        [3],
        "with a picture of both"
    );
    let nothing = parse(json.as_bytes(), Some(13)).expect_err("a programme without pictures or sound");
    assert_eq!(nothing.kind, FailureKind::NoVideoStream);
    let unknown = parse(json.as_bytes(), Some(7)).expect_err("no such programme");
    assert_eq!(unknown.kind, FailureKind::ProgramNotFound);
    assert_eq!(unknown.message, "The file has no programme 7. It has 11, 12, 13.");
    let none = parse(PHONE.as_bytes(), Some(1)).expect_err("no programmes");
    assert_eq!(none.kind, FailureKind::ProgramNotFound);

    let radio = json.replace(r#""codec_type":"video""#, r#""codec_type":"data""#);
    let source = parse(radio.as_bytes(), None).expect("probe");
    assert_eq!(source.audio.iter().map(|audio| audio.index).collect::<Vec<_>>(), [1, 5]);
}

#[test]
fn parse_selects_channels_that_ffmpeg_cannot_mix() {
    let mix = |channels: u32, layout: &str| {
        let json = format!(
            r#"{{"streams":[{{"index":0,"codec_type":"audio","codec_name":"opus","channels":{channels},
            "sample_rate":"48000"{layout}}}],"format":{{"format_name":"x"}}}}"#
        );
        let source = parse(json.as_bytes(), None).expect("probe");
        (source.audio[0].mix, source.audio[0].played_channels())
    };
    assert_eq!(mix(4, r#","channel_layout":"ambisonic 1""#), (Mix::FirstChannel, 1));
    assert_eq!(mix(18, r#","channel_layout":"ambisonic 3+stereo""#), (Mix::FirstChannel, 1));
    assert_eq!(mix(12, r#","channel_layout":"unknown""#), (Mix::FirstTwoChannels, 2));
    assert_eq!(mix(12, r#","channel_layout":"12 channels""#), (Mix::FirstTwoChannels, 2));
    assert_eq!(mix(16, r#","channel_layout":"hexadecagonal""#), (Mix::Standard, 16));
    assert_eq!((mix(4, ""), mix(6, r#","channel_layout":"5.1""#)), ((Mix::Standard, 4), (Mix::Standard, 6)));
}

#[test]
fn parse_late_tracks_need_a_deeper_probe() {
    let json = |audio: &str| {
        format!(
            r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,"start_time":"1.4"}},
            {{"index":1,"codec_type":"audio","codec_name":"aac"{audio}}}],"format":{{"format_name":"mpegts","start_time":"1.4"}}}}"#
        )
    };
    let late = r#","channels":1,"sample_rate":"48000","start_time":"10.4""#;
    assert!(needs_deeper_probe(json(r#","channels":0,"sample_rate":"0""#).as_bytes()));
    assert!(!needs_deeper_probe(json(late).as_bytes()));
    let probed = |audio: &str| parse(json(audio).as_bytes(), None).expect("probe").probed_seconds;
    assert_eq!((probed(late), probed(&late.replace("10.4", "2"))), (Some(14.0), None));
}

#[test]
fn parse_sets_stated_end_if_frame_durations_are_not_constant() {
    let end = |rate: &str, mean: &str, packets: &str| {
        let json = format!(
            r#"{{"packets":[{{"stream_index":0,"duration_time":"0.02"}}{packets}],"streams":[
            {{"index":1,"codec_type":"video","codec_name":"h264","width":8,"height":8,"r_frame_rate":"{rate}",
            "avg_frame_rate":"{mean}","start_time":"0.5","duration":"9.0"}}],"format":{{"format_name":"mov"}}}}"#
        );
        parse(json.as_bytes(), None).expect("probe").video.expect("video").stated_end
    };
    let packet = |duration: &str| format!(r#",{{"stream_index":1,"duration_time":"{duration}"}}"#);
    assert_eq!(end("25/1", "25/1", &packet("0.04")), None);
    assert_eq!(end("25/1", "25/1", &packet("0.001667")), Some(9.5), "a guessed duration");
    assert_eq!(end("25/1", "25/1", r#",{"stream_index":1}"#), Some(9.5));
    assert_eq!(end("25/1", "25/1", ""), Some(9.5));
    assert_eq!(end("600/1", "25/1", &packet("0.04")), Some(9.5), "a variable rate");
    let mut source = parse(PHONE.as_bytes(), None).expect("probe");
    source.clear_duration();
    assert_eq!(source.video.expect("video").stated_end, None);
}

#[test]
fn parse_duration_is_that_of_the_chosen_streams() {
    let streams = |audio: &str| {
        format!(
            r#"{{"streams":[
            {{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,"start_time":"1.5","duration":"13.0"}},
            {{"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000",
              "start_time":"1.0"{audio}}},
            {{"index":2,"codec_type":"subtitle","duration":"16.57"}}],
            "format":{{"format_name":"mov","start_time":"1.0","duration":"16.57"}}}}"#
        )
    };
    let duration = |json: String| parse(json.as_bytes(), None).expect("probe").duration;
    assert_eq!(duration(streams(r#","duration":"13.1""#)), Some(13.5));
    assert_eq!(duration(streams("")), Some(16.57), "the duration of the audio stream is unknown");
}

#[test]
fn parse_rejected_file_returns_its_failure_kind() {
    let with = |stream: &str| format!(r#"{{"streams":[{stream}],"format":{{"format_name":"x"}}}}"#);
    assert_eq!(failure_kind("not json"), FailureKind::FileNotVideo);
    assert_eq!(failure_kind("{}"), FailureKind::FileTruncated);
    let undecodable = r#"{"index":0,"codec_type":"audio","codec_name":"unknown"}"#;
    assert_eq!(failure_kind(&with(undecodable)), FailureKind::NoVideoStream);
    assert_eq!(failure_kind(&with(r#"{"index":0,"codec_type":"data"}"#)), FailureKind::NoVideoStream);
    let vvc = r#"{"index":0,"codec_type":"video","codec_tag_string":"vvc1","width":8,"height":8}"#;
    assert_eq!(failure_kind(&with(vvc)), FailureKind::CodecUnsupported);
    let huge = r#"{"index":0,"codec_type":"video","codec_name":"h264","width":16000,"height":16000}"#;
    assert_eq!(failure_kind(&with(huge)), FailureKind::VideoTooLarge);
    let blank = r#"{"index":0,"codec_type":"video","codec_name":"h264","width":0,"height":0}"#;
    assert_eq!(failure_kind(&with(blank)), FailureKind::DecodeFailed);
    let long = r#"{"streams":[{"index":0,"codec_type":"video","codec_name":"h264","width":16,"height":16}],
        "format":{"format_name":"x","duration":"80000"}}"#;
    assert_eq!(failure_kind(long), FailureKind::LimitExceeded);
    let slightly_longer = long.replace("80000", "43200.5");
    assert_eq!(
        parse(slightly_longer.as_bytes(), None).expect("twelve hours and a frame").duration,
        Some(43_200.5)
    );
    let wrong = long.replace("80000", "143165.6\",\"size\":\"200000");
    let wrong = wrong.replace(r#""width":16,"#, r#""width":16,"duration":"143165.5","#);
    let parsed = parse(wrong.as_bytes(), None).expect("a short video");
    assert_eq!(parsed.duration, None, "its header is wrong");
    assert_eq!(parsed.video.expect("video").duration, None);
}

#[test]
fn parse_dolby_vision_without_base_layer_is_flagged() {
    let with = |side: &str| PHONE.replace(r#""side_data_list":["#, &format!(r#""side_data_list":[{side},"#));
    let five =
        r#"{"side_data_type":"DOVI configuration record","dv_profile":5,"dv_bl_signal_compatibility_id":0}"#;
    let flagged =
        |json: String| parse(json.as_bytes(), None).expect("probe").video.expect("video").needs_dolby_vision;
    assert!(flagged(with(five)) && !flagged(PHONE.to_owned()));
    let eight =
        r#"{"side_data_type":"DOVI configuration record","dv_profile":8,"dv_bl_signal_compatibility_id":4}"#;
    assert!(!flagged(with(eight)), "an HLG base layer");
}

#[test]
fn parse_interlacing_is_read_from_container_or_codec() {
    let interlaced = |codec: &str, order: &str| {
        let json = format!(
            r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"{codec}","width":720,"height":576{order}}}],
            "format":{{"format_name":"x","duration":"3"}}}}"#
        );
        parse(json.as_bytes(), None).expect("probe").video.expect("video").interlaced
    };
    assert!(interlaced("prores", r#","field_order":"tb""#));
    assert!(interlaced("dvvideo", "") && interlaced("mpeg2video", r#","field_order":"unknown""#));
    assert!(!interlaced("h264", r#","field_order":"progressive""#) && !interlaced("vp9", ""));
}

#[test]
fn parse_extreme_pixel_aspect_is_replaced_by_square() {
    let width = |aspect: &str| {
        let json = format!(
            r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"h264","width":1920,"height":1080,
            "sample_aspect_ratio":"{aspect}"}}],"format":{{"format_name":"x","duration":"3"}}}}"#
        );
        parse(json.as_bytes(), None).expect("probe").video.expect("video").display_size().width
    };
    assert_eq!((width("4:3"), width("8:1"), width("10:1")), (2560, 15_360, 1920));
}

proptest! {
    #[test]
    fn parse_any_values_does_not_panic(w in any::<u32>(), h in any::<u32>(), sar in "[0-9:]{0,12}",
                               rate in "[0-9/.-]{0,12}", duration in "[0-9.eNaif+-]{0,8}") {
        let json = format!(
            r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"h264","width":{w},"height":{h},
            "sample_aspect_ratio":"{sar}","r_frame_rate":"{rate}","duration":"{duration}"}}],
            "format":{{"format_name":"x","duration":"{duration}"}}}}"#
        );
        if let Ok(source) = parse(json.as_bytes(), None) {
            prop_assert!(source.video.is_some_and(|video| video.display_size().pixels() > 0));
            prop_assert!(source.duration.is_none_or(|seconds| seconds > 0.0));
        }
    }
}

#[test]
fn parse_length_is_end_minus_start_where_the_container_states_ends() {
    let duration = |container: &str, start: &str, stated: &str, tags: &str| {
        let json = format!(
            r#"{{"streams":[
            {{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,"tags":{{{tags}}}}}],
            "format":{{"format_name":"{container}","start_time":"{start}","duration":"{stated}","size":"100000000"}}}}"#
        );
        parse(json.as_bytes(), None).map(|source| source.duration).map_err(|failure| failure.kind)
    };
    assert_eq!(duration("matroska,webm", "600.0", "620.0", ""), Ok(Some(20.0)));
    assert_eq!(duration("flv", "600.0", "620.0", ""), Ok(Some(20.0)));
    assert_eq!(duration("matroska,webm", "72000.0", "72020.0", ""), Ok(Some(20.0)), "not too long");
    assert_eq!(
        duration("matroska,webm", "600.0", "20.0", ""),
        Ok(Some(20.0)),
        "no end: it is before the start"
    );
    assert_eq!(duration("matroska,webm", "0.02", "20.0", ""), Ok(Some(20.0)));
    assert_eq!(duration("mpegts", "600.0", "20.0", ""), Ok(Some(20.0)));
    assert_eq!(duration("mpegts", "600.0", "620.0", ""), Ok(Some(620.0)));
    let tag = r#""DURATION":"00:10:15.500000000""#;
    assert_eq!(duration("matroska,webm", "600.0", "620.0", tag), Ok(Some(15.5)), "of its only track");
}

#[test]
fn parse_tells_which_tracks_end_early() {
    let parsed = |container: &str, sound: &str| {
        let json = format!(
            r#"{{"streams":[
            {{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,"avg_frame_rate":"25/1",
              "duration":"20.0"}},
            {{"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000",
              "duration":"{sound}"}}],
            "format":{{"format_name":"{container}","duration":"20.0"}}}}"#
        );
        parse(json.as_bytes(), None).expect("probe")
    };
    let is_padded = |container: &str, sound: &str| parsed(container, sound).audio[0].ends_early;
    assert!(is_padded("mov,mp4", "19.9") && !is_padded("mov,mp4", "19.95") && !is_padded("mov,mp4", "20.5"));
    assert!(is_padded("mpegts", "20.0"), "ffprobe repeats the duration of the file");
    assert_eq!(parsed("mov,mp4", "19.0").early_picture_end(), None);
    assert_eq!(parsed("mov,mp4", "20.03").early_picture_end(), None);
    assert_eq!(parsed("mov,mp4", "25.0").early_picture_end(), Some(20.0));
    assert_eq!(parsed("mov,mp4", "25.0").duration, Some(25.0));
    let mut jumping = parsed("mov,mp4", "19.0");
    jumping.clear_duration();
    assert!(!jumping.audio[0].ends_early && jumping.early_picture_end().is_none());
}

#[test]
fn set_ends_corrects_a_duration_that_differs_by_less_than_a_second() {
    let json = r#"{"streams":[
        {"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,"avg_frame_rate":"25/1"},
        {"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000"}],
        "format":{"format_name":"flv","start_time":"0.055","duration":"42.085"}}"#;
    let measured = |picture: f64, sound: f64| {
        let mut source = parse(json.as_bytes(), None).expect("probe");
        source.set_ends(&[(0, picture), (1, sound)].into_iter().collect());
        (source.duration, source.early_picture_end().is_some(), source.audio[0].ends_early)
    };
    assert_eq!(
        measured(42.02, 42.03),
        (Some(42.03), false, false),
        "both end together, before the stated time"
    );
    assert_eq!(measured(40.0, 42.03), (Some(42.03), true, false));
    assert_eq!(measured(42.5, 40.0), (Some(42.5), false, true), "the stated time is that of another track");
    assert_eq!(measured(30.0, 30.0), (Some(42.085), true, true), "more than a second");
}

#[test]
fn follow_one_another_requires_that_each_begins_after_the_one_before() {
    assert!(follow_one_another("0,1.0\n0,9.5\n2,10.0\n2,19.0\n"));
    assert!(!follow_one_another("0,1.0\n0,12.5\n2,10.0\n2,19.0\n") && !follow_one_another("0,1.0\n0,2.0\n"));
    assert!(!follow_one_another("") && !follow_one_another("x,1\n0,N/A\n"));
}

#[test]
fn parse_broadcast_may_turn_interlaced() {
    let interlaced = |container: &str, codec: &str| {
        let json = format!(
            r#"{{"streams":[{{"index":0,"codec_type":"video","codec_name":"{codec}","width":8,"height":8,
            "field_order":"progressive"}}],"format":{{"format_name":"{container}","duration":"3"}}}}"#
        );
        let video = parse(json.as_bytes(), None).expect("probe").video.expect("video");
        assert!(!video.interlaced, "not at its start");
        video.may_turn_interlaced
    };
    assert!(interlaced("mpegts", "h264") && interlaced("mpeg", "mpeg2video"));
    assert!(!interlaced("mov,mp4", "h264") && !interlaced("mpegts", "hevc"));
}

#[test]
fn parse_file_with_fewer_bytes_than_its_index_lists_is_cut_off() {
    let parsed = |container: &str, size: u32| {
        let json = format!(
            r#"{{"streams":[
            {{"index":0,"codec_type":"video","codec_name":"h264","width":8,"height":8,"duration":"7200","bit_rate":"80000"}},
            {{"index":1,"codec_type":"audio","codec_name":"aac","channels":2,"sample_rate":"48000","duration":"7000",
              "bit_rate":"8000"}}],
            "format":{{"format_name":"{container}","duration":"7200","size":"{size}"}}}}"#
        );
        parse(json.as_bytes(), None).expect("probe")
    };
    assert!(!parsed("mov,mp4", 79_000_000).is_cut_off && !parsed("mov,mp4", 76_000_000).is_cut_off);
    assert!(parsed("mov,mp4", 40_000_000).is_cut_off && !parsed("matroska,webm", 40_000_000).is_cut_off);
    let mut half = parsed("mov,mp4", 40_000_000);
    assert!(half.audio[0].ends_early);
    half.cut_off(3600.0);
    assert_eq!((half.duration, half.stated_duration), (Some(3600.0), Some(7200.0)));
    assert_eq!(half.video.as_ref().and_then(|video| video.duration), Some(3600.0));
    assert!(half.early_picture_end().is_none() && !half.audio[0].ends_early);
}
