use proptest::prelude::*;

use super::{Converted, to_webvtt};

const HEAD: &str = "[Script Info]\nPlayResX: 640\nPlayResY: 360\n\n[V4+ Styles]\n\
    Format: Name, Fontname, Bold, Italic, Underline, Alignment\n\
    Style: Default,Arial,0,0,0,2\nStyle: Sign,Arial,-1,1,0,8\n\n[Events]\n\
    Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n";

fn event(text: &str) -> String {
    format!("Dialogue: 0,0:00:01.00,1:02:03.45,Default,,0,0,0,,{text}\n")
}

/// The cue of one event: its settings, and its text.
fn converted(event: &str) -> (String, String) {
    let Converted { webvtt, cues, lost_events } = to_webvtt(format!("{HEAD}{event}").as_bytes(), 0.0);
    assert_eq!((cues, lost_events), (1, 0), "{webvtt}");
    let cue = webvtt.strip_prefix("WEBVTT\n\n").expect("header");
    let (times, text) = cue.split_once('\n').expect("times");
    let settings = times.strip_prefix("00:00:01.000 --> 01:02:03.450").expect("times");
    (settings.trim().to_owned(), text.strip_suffix('\n').expect("end").to_owned())
}

fn text(markup: &str) -> String {
    converted(&event(markup)).1
}

fn settings(markup: &str) -> String {
    converted(&event(markup)).0
}

#[test]
fn text_is_escaped() {
    assert_eq!(text(r"a < b && c --> <i>"), "a &lt; b &amp;&amp; c --&gt; &lt;i&gt;");
    assert_eq!(text("&lt; stays"), "&amp;lt; stays");
}

#[test]
fn looks_become_balanced_tags() {
    assert_eq!(text(r"{\i1}one{\i0} two {\b1}three"), "<i>one</i> two <b>three</b>");
    assert_eq!(text(r"{\b1\i1}a{\b0}b{\r}c"), "<b><i>a</i></b><i>b</i>c");
    assert_eq!(text(r"{\u1}a{\rSign}b"), "<u>a</u><b><i>b</i></b>");
    let sign = "Dialogue: 0,0:00:01.00,1:02:03.45,Sign,,0,0,0,,EXIT\n";
    assert_eq!(converted(sign), ("line:0".to_owned(), "<b><i>EXIT</i></b>".to_owned()));
    assert_eq!(text(r"{\c&HFFFFFF&\fs20\bord2}plain{\rnds1}"), "plain");
}

#[test]
fn lines_are_kept_and_never_blank() {
    assert_eq!(text(r"one\Ntwo\hthree\nfour"), "one\ntwo\u{a0}three four");
    assert_eq!(text(r"\N one\N\N \Ntwo\N"), " one\n\u{a0}\n\u{a0}\ntwo");
    assert_eq!(text(r"\{literal\} \\ and {unclosed"), r"{literal} \ and {unclosed");
}

#[test]
fn positions_become_settings() {
    assert_eq!(settings("usual"), "");
    assert_eq!(settings(r"{\an8}top"), "line:0");
    assert_eq!(settings(r"{\an4}middle left"), "line:50% align:left");
    assert_eq!(settings(r"{\an3}bottom right"), "align:right");
    assert_eq!(settings(r"{\a6}top, as in SSA"), "line:0");
    assert_eq!(settings(r"{\pos(320,90)}sign"), "line:25% position:50%");
    assert_eq!(settings(r"{\pos(9999,9999)}sign"), "line:90% position:100%");
}

#[test]
fn events_without_text_are_left_out() {
    let events = [event(r"{\p1}m 0 0 l 100 0{\p0}"), event(r" \N\h"), event("shown")].concat();
    let Converted { cues, lost_events, webvtt } = to_webvtt(format!("{HEAD}{events}").as_bytes(), 0.08);
    assert_eq!((cues, lost_events), (1, 0));
    assert!(webvtt.starts_with("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:7200\n\n00:"), "{webvtt}");
}

#[test]
fn events_are_sorted_and_invalid_ones_counted() {
    let at = |start: &str, text: &str| format!("Dialogue: 0,{start},0:00:09.00,Default,,0,0,0,,{text}\n");
    let events = [at("0:00:05.00", "b"), at("0:00:02.00", "a"), at("-0:0:1", "c"), at("0:00:09.50", "d")];
    let Converted { webvtt, cues, lost_events } =
        to_webvtt(format!("{HEAD}{}", events.concat()).as_bytes(), 0.0);
    assert_eq!((cues, lost_events), (3, 1));
    let order = [
        "00:00:02.000 --> 00:00:09.000\na",
        "00:00:05.000 --> 00:00:09.000\nb",
        "00:00:09.500 --> 00:00:09.501\nd",
    ];
    let places: Vec<_> = order.iter().map(|cue| webvtt.find(cue).expect(&webvtt)).collect();
    assert!(places.is_sorted());
}

#[test]
fn charset_is_detected_line_by_line() {
    let convert = |lines: &[&[u8]]| {
        let mut ass = HEAD.as_bytes().to_vec();
        for line in lines {
            ass.extend(b"Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,");
            ass.extend_from_slice(line);
            ass.push(b'\n');
        }
        to_webvtt(&ass, 0.0)
    };
    let latin = convert(&[b"Un caf\xe9 noir", b"Plain line", b"Gar\xe7on \xe0 No\xebl"]);
    assert_eq!((latin.cues, latin.lost_events), (3, 0));
    for line in ["Un café noir", "Plain line", "Garçon à Noël"] {
        assert!(latin.webvtt.contains(line), "{}", latin.webvtt);
    }
    // Windows-1251, and a line that is UTF-8 already.
    let cyrillic =
        convert(&[b"\xcf\xf0\xe8\xe2\xe5\xf2, \xea\xe0\xea \xe4\xe5\xeb\xe0?", "Grüße".as_bytes()]);
    assert!(cyrillic.webvtt.contains("Привет, как дела?"), "{}", cyrillic.webvtt);
    assert!(cyrillic.webvtt.contains("Grüße"), "{}", cyrillic.webvtt);
    // Shift JIS.
    let japanese: &[u8] = b"\x82\xb1\x82\xf1\x82\xc9\x82\xbf\x82\xcd\x81A\x90\xa2\x8aE";
    assert!(convert(&[japanese]).webvtt.contains("こんにちは、世界"));
}

/// The header of a file may name fewer columns than ffmpeg writes, and its first frame may be later than its first text.
#[test]
fn events_are_read_as_ffmpeg_writes_them() {
    let ass = "[Events]\nFormat: Layer, Start, End, Style, Name, Text\n\
        Dialogue: 0,0:00:00.-2,0:00:00.48,Default ,Olly,,,,,first, and more\n\
        Dialogue: 0,0:00:-1.-50,0:00:-1.-2,Default,,,,,,before the start\n";
    let Converted { webvtt, cues, lost_events } = to_webvtt(ass.as_bytes(), 0.0);
    assert_eq!((cues, lost_events), (1, 0));
    assert!(webvtt.contains("00:00:00.000 --> 00:00:00.480\nfirst, and more\n"), "{webvtt}");
}

/// Parses a file by the rules of the standard, as far as they concern what is written: returns the plain text of each cue.
fn parse(webvtt: &str) -> Vec<String> {
    let mut blocks = webvtt.split("\n\n");
    assert!(blocks.next().expect("header").starts_with("WEBVTT"));
    let blocks = blocks.map(|block| block.strip_suffix('\n').unwrap_or(block));
    blocks
        .map(|block| {
            let (times, text) = block.split_once('\n').expect("a cue");
            assert!(times.contains(" --> ") && !text.contains("-->"), "{block}");
            let mut plain = String::new();
            let mut open = Vec::new();
            let mut rest = text;
            while let Some(at) = rest.find('<') {
                plain += &rest[..at];
                let (tag, after) = rest[at + 1..].split_once('>').expect("a tag");
                match tag.strip_prefix('/') {
                    Some(tag) => assert_eq!(open.pop(), Some(tag), "{text}"),
                    None => {
                        assert!(["b", "i", "u"].contains(&tag), "{text}");
                        open.push(tag);
                    }
                }
                rest = after;
            }
            assert!(open.is_empty(), "{text}");
            plain += rest;
            let plain = plain.replace("&lt;", "<").replace("&gt;", ">");
            assert!(plain.split('&').skip(1).all(|after| after.starts_with("amp;")), "{text}");
            plain.replace("&amp;", "&")
        })
        .collect()
}

proptest! {
    #[test]
    fn any_bytes_become_valid_webvtt(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let ass = [HEAD.as_bytes(), b"Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,", &bytes].concat();
        let converted = to_webvtt(&ass, 0.0);
        prop_assert_eq!(parse(&converted.webvtt).len(), converted.cues);
        let any = to_webvtt(&bytes, 0.0);
        prop_assert_eq!(parse(&any.webvtt).len(), any.cues);
    }

    #[test]
    fn any_markup_becomes_valid_webvtt(markup in r"(\{(\\(i1|i0|b1|b0|u1|u0|r|an[0-9]|pos\([0-9,]*\)))*\}?|[a-z<>& -]|\\[Nnh{}\\]|\})*") {
        let converted = to_webvtt(format!("{HEAD}{}", event(&markup)).as_bytes(), 0.0);
        prop_assert_eq!(parse(&converted.webvtt).len(), converted.cues);
    }

    #[test]
    fn text_without_markup_is_shown_as_it_is(text in r"[^\\{}\r\n\x00\x0b\x0c\u{85}\u{2028}\u{2029}]*[a-z]") {
        let converted = to_webvtt(format!("{HEAD}{}", event(&text)).as_bytes(), 0.0);
        prop_assert_eq!(parse(&converted.webvtt), [text]);
    }
}
