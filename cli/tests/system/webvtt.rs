//! Subtitles of any content are valid for the WebVTT parser of a player (video.js).

use std::{path::Path, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use reelmill_media::subtitles::to_webvtt;
use serde::Deserialize;
use tokio::{process::Command, time::timeout};

const HEAD: &str = "[Script Info]\nPlayResX: 640\nPlayResY: 360\n\n[V4+ Styles]\n\
    Format: Name, Fontname, Bold, Italic, Underline, Alignment\nStyle: Default,Arial,0,0,0,2\n\n[Events]\n\
    Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n";
/// What has a meaning in ASS or WebVTT, and some that has none.
const PARTS: [&str; 32] = [
    "{\\i1}",
    "{\\i0}",
    "{\\b1}",
    "{\\an8}",
    "{\\pos(10,20)}",
    "{",
    "}",
    "\\N",
    "\\n",
    "\\h",
    "\\",
    "<",
    ">",
    "&",
    "&lt;",
    "-->",
    "<c>",
    "<v Bob>",
    "</i>",
    "<00:01.000>",
    "WEBVTT",
    "NOTE",
    "STYLE",
    "REGION",
    "00:00:01.000 --> 00:00:02.000",
    "\u{feff}",
    "\u{2028}",
    "\u{200f}",
    "日本",
    "word",
    " ",
    "🎬",
];
/// Those that are shown as they are.
const LITERAL: [&str; 14] =
    ["<", ">", "&", "&lt;", "-->", "<c>", "<v Bob>", "</i>", "WEBVTT", "NOTE", "日本", "word", " ", "🎬"];
const TEXTS: usize = 500;

#[derive(Deserialize)]
struct Parsed {
    errors: Vec<String>,
    cues: Vec<Cue>,
}

#[derive(Deserialize)]
struct Cue {
    start: f64,
    end: f64,
    text: String,
}

/// A subtitle track with these texts, one every two seconds.
fn script(texts: &[String]) -> String {
    let events = texts.iter().enumerate().map(|(index, text)| {
        let (minutes, seconds) = (index * 2 / 60, index * 2 % 60);
        format!("Dialogue: 0,0:{minutes:02}:{seconds:02}.00,0:{minutes:02}:{seconds:02}.90,Default,,0,0,0,,{text}\n")
    });
    HEAD.to_owned() + &events.collect::<String>()
}

async fn parsed(files: &[String]) -> Vec<Parsed> {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("files.json");
    std::fs::write(&list, serde_json::to_vec(files).unwrap()).unwrap();
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../web/test/webvtt.mjs"));
    let ran = Command::new("node").arg(script).arg(&list).kill_on_drop(true).output();
    let output = timeout(Duration::from_secs(60), ran).await.expect("in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_subtitles_are_valid_for_a_player() {
    let mut random = StdRng::seed_from_u64(7);
    let mut text = |parts: &[&str]| -> String {
        let length = random.random_range(1..12);
        (0..length).map(|_| *parts.choose(&mut random).expect("parts")).collect()
    };
    let literal: Vec<String> = (0..TEXTS).map(|_| format!("x{}x", text(&LITERAL))).collect();
    let any: Vec<String> = (0..TEXTS).map(|_| text(&PARTS)).collect();
    // One file for each, so that a broken one hides nothing; and all in one.
    let alone = any.iter().map(|text| script(std::slice::from_ref(text)));
    let scripts: Vec<String> = [script(&literal), script(&any)].into_iter().chain(alone).collect();
    let converted: Vec<_> = scripts.iter().map(|script| to_webvtt(script.as_bytes(), 0.0)).collect();
    let files: Vec<_> = converted.iter().map(|converted| converted.webvtt.clone()).collect();
    let found = parsed(&files).await;
    assert_eq!(found.len(), files.len());
    for (converted, found) in converted.iter().zip(&found) {
        assert!(found.errors.is_empty(), "{:?}\n{}", found.errors, converted.webvtt);
        assert_eq!(found.cues.len(), converted.cues, "{}", converted.webvtt);
    }
    for (index, (text, cue)) in literal.iter().zip(&found[0].cues).enumerate() {
        let shown = cue.text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        assert_eq!(&shown, text);
        assert!((cue.start - index as f64 * 2.0).abs() < 0.001 && (cue.end - cue.start - 0.9).abs() < 0.001);
    }
}

/// The parser reports what is not valid: the test above can fail.
#[tokio::test(flavor = "multi_thread")]
async fn parser_of_a_player_reports_invalid_files() {
    let broken = parsed(&["WEBVTT\n\n00:00:01 -> 2\nx\n".to_owned(), "no header\n\n".to_owned()]).await;
    assert!(broken.iter().all(|file| file.cues.is_empty() || !file.errors.is_empty()));
    assert!(broken.iter().any(|file| !file.errors.is_empty()));
}
