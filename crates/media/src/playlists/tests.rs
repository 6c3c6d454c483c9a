use super::{
    Presentation,
    fixtures::{audio, presentation, rung, subtitles},
};
use crate::probe::VideoRange;

#[test]
fn presentation_serialised_and_parsed_is_equal() {
    let whole = presentation(vec![
        rung(720, 9, VideoRange::Hlg),
        audio(0, 6, "deu", "Ton"),
        subtitles(0, "", "", true),
    ]);
    let text = serde_json::to_string(&whole).expect("written");
    assert_eq!(serde_json::from_str::<Presentation>(&text).expect("read"), whole);
}
