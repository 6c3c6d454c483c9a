//! Text tracks become WebVTT subtitles.

use crate::support::{Clip, Job, options, transcoded};
use reelmill_media::FailureKind;
use rstest::rstest;

#[rstest]
#[case::matroska("film.mkv", "subrip")]
#[case::mp4("film.mp4", "mov_text")]
#[tokio::test(flavor = "multi_thread")]
async fn transcode_subtitles_yields_webvtt(#[case] name: &str, #[case] codec: &str) {
    let cues =
        "1\n00:00:01,000 --> 00:00:02,500\nGrüße\n\n2\n00:00:03,000 --> 00:00:04,000\nand <i>more</i>\n";
    let text = Clip::with_content("text.srt", cues);
    let args = format!(
        "-f lavfi -i testsrc2=s=128x72:r=25:d=6 -i {{0}} -i {{0}} -map 0 -map 1 -map 2 -c:v libx264 -preset ultrafast -c:s {codec} -metadata:s:s:0 language=deu \
         -metadata:s:s:1 language=fra -disposition:s:0 default -disposition:s:1 forced"
    );
    let clip = Clip::from_inputs(name, &[&text.file], &args);
    let job = transcoded(&clip.file, &options(&[])).await;
    for track in ["subtitles-0", "subtitles-1"] {
        let file = job.file(|output| output.rendition == track).expect("text");
        let text = std::fs::read_to_string(file).expect("text");
        // Two frames at 25 fps in ticks of 90 kHz, the unit of HLS.
        let head = "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:7200\n\n";
        assert!(text.starts_with(head), "{name}: {text}");
        assert!(text.contains("00:00:01.000 --> 00:00:02.500\nGrüße\n"), "{name}: {text}");
        assert!(text.contains("00:00:03.000 --> 00:00:04.000\nand <i>more</i>\n"), "{name}: {text}");
    }
    let master = job.text("master.m3u8");
    let line = |language: &str| {
        let is_it = |line: &&str| line.contains("TYPE=SUBTITLES") && line.contains(language);
        master.lines().find(is_it).unwrap_or_else(|| panic!("{name}: {master}"))
    };
    assert!(line("LANGUAGE=\"de\"").contains("DEFAULT=YES"), "{name}: {master}");
    assert!(line("LANGUAGE=\"fr\"").contains("FORCED=YES"), "{name}: {master}");
    assert!(job.text("subtitles-0.m3u8").contains("subtitles-0/text.vtt"));
}

/// A job of a video with one text track of these bytes, and its WebVTT and warnings.
async fn transcoded_text(bytes: &[u8]) -> (Option<String>, Vec<FailureKind>) {
    let text = Clip::empty("text.srt");
    std::fs::write(&text.file, bytes).expect("write");
    let args = "-f lavfi -i testsrc2=s=128x72:r=25:d=6 -sub_charenc_mode do_nothing -i {0} -map 0 -map 1 -c:v libx264 \
                -preset ultrafast -c:s copy";
    let clip = Clip::from_inputs("film.mkv", &[&text.file], args);
    let job = Job::planned(&clip.file, &options(&[])).await;
    let done = job.run().await.expect("done");
    let webvtt = job
        .file(|output| output.rendition == "subtitles-0")
        .map(|file| std::fs::read_to_string(file).expect("UTF-8"));
    (webvtt, done.warnings.iter().map(|warning| warning.kind).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_subtitles_that_are_not_utf8_are_complete() {
    let srt = b"1\n00:00:00,500 --> 00:00:01,500\nUn caf\xe9 noir\n\n2\n00:00:02,000 --> 00:00:03,000\nPlain & simple\n\n\
        3\n00:00:03,200 --> 00:00:04,500\n{\\an8}Gar\xe7on \xe0 No\xebl\n";
    let (webvtt, warnings) = transcoded_text(srt).await;
    let webvtt = webvtt.expect("text");
    for cue in [
        "00:00:00.500 --> 00:00:01.500\nUn café noir\n",
        "00:00:02.000 --> 00:00:03.000\nPlain &amp; simple\n",
        "00:00:03.200 --> 00:00:04.500 line:0\nGarçon à Noël\n",
    ] {
        assert!(webvtt.contains(cue), "{webvtt}");
    }
    assert_eq!(warnings, []);
}
