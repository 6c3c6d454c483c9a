//! Converts the language codes of files to BCP 47 tags, as players expect them.

/// Pairs of a three-letter code of ISO 639-2, terminological or bibliographic, and its two-letter code of ISO 639-1. A
/// table, because files often have bibliographic codes (`ger`, `fre`, `chi`), which crates for ISO 639-3 do not know.
const ISO_639_2_TO_1: &str = "\
    aaraa abkab afraf akaak albsq amham araar argan armhy asmas avaav aveae aymay azeaz bakba bambm \
    baqeu belbe benbn bihbh bisbi bodbo bosbs brebr bulbg burmy catca cescs chach chece chizh chucu \
    chvcv corkw cosco crecr cymcy czecs danda deude divdv dutnl dzodz ellel engen epoeo estet euseu \
    eweee faofo fasfa fijfj finfi frafr frefr fryfy fulff geoka gerde glagd glega glggl glvgv greel \
    grngn gujgu hatht hauha hebhe herhz hinhi hmoho hrvhr hunhu hyehy iboig iceis idoio iiiii ikuiu \
    ileie inaia indid ipkik islis itait javjv jpnja kalkl kankn kasks katka kaukr kazkk khmkm kikki \
    kinrw kirky komkv konkg korko kuakj kurku laolo latla lavlv limli linln litlt ltzlb lublu luglg \
    macmk mahmh malml maomi marmr mayms mkdmk mlgmg mltmt monmn mrimi msams myamy nauna navnv nblnr \
    ndend ndong nepne nldnl nnonn nobnb norno nyany ocioc ojioj orior ormom ossos panpa perfa plipi \
    polpl porpt pusps quequ rohrm ronro rumro runrn rusru sagsg sansa sinsi slksk slosk slvsl smese \
    smosm snasn sndsd somso sotst spaes sqisq srdsc srpsr sswss sunsu swasw swesv tahty tamta tattt \
    telte tgktg tgltl thath tibbo tirti tonto tsntn tsots tuktk turtr twitw uigug ukruk urdur uzbuz \
    venve vievi volvo welcy wlnwa wolwo xhoxh yidyi yoryo zhaza zhozh zulzu";

/// The BCP 47 tag, which requires the shortest code: `en` for `eng`. None if the language is unknown or invalid.
pub(super) fn language_tag(language: &str) -> Option<String> {
    let mut parts = language.trim().split(['-', '_']);
    let first = parts.next()?.to_ascii_lowercase();
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !(2..=3).contains(&first.len()) || !letters(&first) || first == "und" {
        return None;
    }
    let shorter = ISO_639_2_TO_1
        .split(' ')
        .find_map(|pair| pair.strip_prefix(first.as_str()).filter(|code| code.len() == 2));
    let mut tag = shorter.unwrap_or(&first).to_owned();
    for part in parts {
        if !(1..=8).contains(&part.len()) || !part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            break;
        }
        tag.push('-');
        tag.push_str(part);
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ISO_639_2_TO_1, language_tag};

    #[test]
    fn language_tag_is_the_shortest_code() {
        let tag = |language| language_tag(language).unwrap_or_default();
        assert_eq!([tag("eng"), tag("ger"), tag("deu"), tag("DE")], ["en", "de", "de", "de"]);
        assert_eq!(
            [tag("pt-BR"), tag("por_BR"), tag("zho-Hant"), tag("fil")],
            ["pt-BR", "pt-BR", "zh-Hant", "fil"]
        );
        assert_eq!([tag(""), tag("und"), tag("English"), tag("e"), tag("x\"y")], [""; 5]);
        assert_eq!(tag("en-\"x"), "en");
        assert!(ISO_639_2_TO_1.split(' ').all(|pair| pair.len() == 5), "three letters, then two");
    }

    proptest! {
        #[test]
        fn language_tag_has_only_letters_digits_and_hyphens(language in any::<String>()) {
            if let Some(tag) = language_tag(&language) {
                prop_assert!(tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{tag}");
            }
        }
    }
}
