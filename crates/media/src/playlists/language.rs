//! Language tags: what files name, as players want it (BCP 47).

/// Codes of ISO 639-2, terminological and bibliographic, each with its two letters of ISO 639-1 behind.
const SHORTER: &str = "\
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

/// The tag by BCP 47, which asks for the shortest code there is: `en` for `eng`. None when the
/// language is unknown, or what stands there is no tag.
pub(super) fn tag(language: &str) -> Option<String> {
    let mut parts = language.trim().split(['-', '_']);
    let first = parts.next()?.to_ascii_lowercase();
    let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    if !(2..=3).contains(&first.len()) || !letters(&first) || first == "und" {
        return None;
    }
    let shorter =
        SHORTER.split(' ').find_map(|pair| pair.strip_prefix(first.as_str()).filter(|code| code.len() == 2));
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
    use super::{SHORTER, tag};
    use proptest::prelude::*;

    #[test]
    fn the_shortest_code_is_taken() {
        let told = |language| tag(language).unwrap_or_default();
        assert_eq!([told("eng"), told("ger"), told("deu"), told("DE")], ["en", "de", "de", "de"]);
        assert_eq!(
            [told("pt-BR"), told("por_BR"), told("zho-Hant"), told("fil")],
            ["pt-BR", "pt-BR", "zh-Hant", "fil"]
        );
        assert_eq!([told(""), told("und"), told("English"), told("e"), told("x\"y")], [""; 5]);
        assert_eq!(told("en-\"x"), "en");
        assert!(SHORTER.split(' ').all(|pair| pair.len() == 5), "three letters and two");
    }

    proptest! {
        #[test]
        fn tags_are_plain(language in any::<String>()) {
            if let Some(told) = tag(&language) {
                prop_assert!(told.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{told}");
            }
        }
    }
}
