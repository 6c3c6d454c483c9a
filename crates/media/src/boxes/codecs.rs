//! RFC 6381 codec strings from the sample entry of a track.

use super::reader::{be16, be32, children, find};

/// Bytes of a visual sample entry before its child boxes (ISO/IEC 14496-12, 12.1.3).
const VISUAL_ENTRY_BYTES: usize = 78;
/// Bytes of an audio sample entry before its child boxes (ISO/IEC 14496-12, 12.2.3).
const AUDIO_ENTRY_BYTES: usize = 28;

/// The track's RFC 6381 codec string, for example `avc1.64001f` or `mp4a.40.2`.
pub(crate) fn codec(moov: &[u8]) -> Option<String> {
    let stsd = find(moov, &[b"trak", b"mdia", b"minf", b"stbl", b"stsd"])?;
    let entry = children(stsd.get(8..)?).next()?;
    let kind = std::str::from_utf8(&entry.kind).ok()?;
    let visual = entry.body.get(VISUAL_ENTRY_BYTES..).unwrap_or_default();
    match &entry.kind {
        b"avc1" | b"avc3" => avc(kind, find(visual, &[b"avcC"])?),
        b"hvc1" | b"hev1" => hevc(kind, find(visual, &[b"hvcC"])?),
        b"av01" => av1(find(visual, &[b"av1C"])?, Colour::of(visual)),
        b"vp09" => vp9(find(visual, &[b"vpcC"])?),
        b"mp4a" => {
            let esds = find(entry.body.get(AUDIO_ENTRY_BYTES..)?, &[b"esds"])?;
            Some(format!("mp4a.40.{}", audio_object_type(esds.get(4..)?)?))
        }
        b"ac-3" | b"ec-3" | b"Opus" | b"fLaC" => Some(kind.to_owned()),
        _ => None,
    }
}

fn avc(kind: &str, config: &[u8]) -> Option<String> {
    let &[_, profile, constraints, level, ..] = config else { return None };
    Some(format!("{kind}.{profile:02x}{constraints:02x}{level:02x}"))
}

/// ISO/IEC 14496-15, annex E.3: profile, compatibility flags with their bits reversed, tier and level, then the
/// constraint bytes without trailing zeros.
fn hevc(kind: &str, config: &[u8]) -> Option<String> {
    let (&first, level) = (config.get(1)?, *config.get(12)?);
    let space = ["", "A", "B", "C"][usize::from(first >> 6)];
    let tier = if first & 0x20 != 0 { 'H' } else { 'L' };
    let profile = first & 0x1f;
    let compatibility = be32(config, 2)?.reverse_bits();
    let mut text = format!("{kind}.{space}{profile}.{compatibility:X}.{tier}{level}");
    let constraints = config.get(6..12)?;
    let count = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..count] {
        text.push_str(&format!(".{byte:X}"));
    }
    Some(text)
}

/// AV1 Codec ISO Media File Format Binding, section 5. The short form implies BT.709, so HDR needs the long form.
fn av1(config: &[u8], colour: Option<Colour>) -> Option<String> {
    let &[_, first, second, ..] = config else { return None };
    let (profile, level) = (first >> 5, first & 0x1f);
    let bit = |position: u8| second >> position & 1;
    let tier = if bit(7) == 1 { 'H' } else { 'M' };
    let depth = match (bit(6), bit(5)) {
        (0, _) => 8,
        (_, 1) if profile == 2 => 12,
        _ => 10,
    };
    let mut text = format!("av01.{profile}.{level:02}{tier}.{depth:02}");
    if let Some(colour) = colour.filter(Colour::is_hdr) {
        let (mono, x, y) = (bit(4), bit(3), bit(2));
        let position = if x == 1 && y == 1 { second & 3 } else { 0 };
        let Colour { primaries, transfer, matrix, full } = colour;
        let full = u8::from(full);
        text.push_str(&format!(".{mono}.{x}{y}{position}.{primaries:02}.{transfer:02}.{matrix:02}.{full}"));
    }
    Some(text)
}

/// VP Codec ISO Media File Format Binding, "Codecs Parameter String". The short form implies BT.709 at 8 bits, so a
/// higher bit depth needs the long form.
fn vp9(config: &[u8]) -> Option<String> {
    let &[profile, level, packed, primaries, transfer, matrix, ..] = config.get(4..)? else { return None };
    let (depth, chroma, full) = (packed >> 4, packed >> 1 & 7, packed & 1);
    let mut text = format!("vp09.{profile:02}.{level:02}.{depth:02}");
    if depth > 8 {
        text.push_str(&format!(".{chroma:02}.{primaries:02}.{transfer:02}.{matrix:02}.{full:02}"));
    }
    Some(text)
}

/// Colour description: code points of ISO/IEC 23091-2.
#[derive(Clone, Copy)]
struct Colour {
    primaries: u16,
    transfer: u16,
    matrix: u16,
    full: bool,
}

impl Colour {
    /// Reads the `colr` box among the child boxes of a sample entry.
    fn of(boxes: &[u8]) -> Option<Self> {
        let colr = find(boxes, &[b"colr"])?.strip_prefix(b"nclx")?;
        Some(Self {
            primaries: be16(colr, 0)?,
            transfer: be16(colr, 2)?,
            matrix: be16(colr, 4)?,
            full: colr.get(6)? & 0x80 != 0,
        })
    }

    /// Whether the transfer function is PQ (16) or HLG (18).
    fn is_hdr(&self) -> bool {
        matches!(self.transfer, 16 | 18)
    }
}

/// The AAC object type in an elementary stream descriptor (ISO/IEC 14496-1, 7.2.6).
fn audio_object_type(esds: &[u8]) -> Option<u8> {
    let (tag, body) = descriptor(esds)?;
    let config = (tag == 3).then(|| body.get(3..)).flatten()?;
    let (tag, body) = descriptor(config)?;
    let specific = (tag == 4 && body.first() == Some(&0x40)).then(|| body.get(13..)).flatten()?;
    let (tag, body) = descriptor(specific)?;
    (tag == 5).then(|| body.first().map(|first| first >> 3)).flatten()
}

/// Tag and body of a descriptor, whose length is coded in up to four groups of seven bits.
fn descriptor(data: &[u8]) -> Option<(u8, &[u8])> {
    let tag = *data.first()?;
    let mut length = 0usize;
    for (index, &byte) in data.get(1..)?.iter().take(4).enumerate() {
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let start = index + 2;
            let end = start.checked_add(length)?.min(data.len());
            return Some((tag, data.get(start..end)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AUDIO_ENTRY_BYTES, VISUAL_ENTRY_BYTES, codec};

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len() + 8).expect("small");
        [&size.to_be_bytes()[..], kind, body].concat()
    }

    /// A `moov` body with one track of this sample entry.
    fn moov(kind: &[u8; 4], fixed: usize, boxes: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut entry = vec![0; fixed];
        for (kind, body) in boxes {
            entry.extend(boxed(kind, body));
        }
        let mut inside = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &boxed(kind, &entry)].concat();
        for kind in [b"stsd", b"stbl", b"minf", b"mdia", b"trak"] {
            inside = boxed(kind, &inside);
        }
        inside
    }

    fn visual(kind: &[u8; 4], boxes: &[(&[u8; 4], &[u8])]) -> Option<String> {
        codec(&moov(kind, VISUAL_ENTRY_BYTES, boxes))
    }

    fn audio(kind: &[u8; 4], boxes: &[(&[u8; 4], &[u8])]) -> Option<String> {
        codec(&moov(kind, AUDIO_ENTRY_BYTES, boxes))
    }

    /// BT.2020 with the given transfer function, limited range, as ffmpeg 5.1 writes it.
    fn colr(transfer: u8) -> [u8; 11] {
        [b'n', b'c', b'l', b'x', 0, 9, 0, transfer, 0, 9, 0]
    }

    #[test]
    fn codec_hevc_by_x265_is_formatted() {
        let main = [1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3c, 0xf0, 0];
        assert_eq!(visual(b"hvc1", &[(b"hvcC", &main)]).as_deref(), Some("hvc1.1.6.L60.90"));
        let main_10 = [1, 2, 0x20, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3c, 0xf0, 0];
        assert_eq!(visual(b"hev1", &[(b"hvcC", &main_10)]).as_deref(), Some("hev1.2.4.L60.90"));
    }

    #[test]
    fn codec_hevc_with_all_fields_is_formatted() {
        // A profile space, the high tier, and a zero byte between constraint bytes.
        let config = [1, 0x61, 0x60, 0, 0, 0, 0xb0, 0, 0x20, 0, 0, 0, 93];
        assert_eq!(visual(b"hev1", &[(b"hvcC", &config)]).as_deref(), Some("hev1.A1.6.H93.B0.0.20"));
        let none = [1, 1, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 93];
        assert_eq!(visual(b"hvc1", &[(b"hvcC", &none)]).as_deref(), Some("hvc1.1.6.L93"));
        assert_eq!(visual(b"hvc1", &[(b"hvcC", &none[..12])]), None);
    }

    #[test]
    fn codec_av1_by_svt_is_formatted() {
        let sdr = [0x81, 0x00, 0x0c, 0x00];
        assert_eq!(visual(b"av01", &[(b"av1C", &sdr)]).as_deref(), Some("av01.0.00M.08"));
        let ten = [0x81, 0x00, 0x4c, 0x00];
        assert_eq!(
            visual(b"av01", &[(b"av1C", &ten), (b"colr", &colr(1))]).as_deref(),
            Some("av01.0.00M.10")
        );
        assert_eq!(
            visual(b"av01", &[(b"av1C", &ten), (b"fiel", &[1, 0]), (b"colr", &colr(16))]).as_deref(),
            Some("av01.0.00M.10.0.110.09.16.09.0")
        );
    }

    #[test]
    fn codec_av1_level_tier_and_bit_depth_are_formatted() {
        let text = |first, second| visual(b"av01", &[(b"av1C", &[0x81, first, second, 0])]).expect("a codec");
        assert_eq!(text(0x04, 0x0c), "av01.0.04M.08");
        assert_eq!(text(0x0d, 0x8c), "av01.0.13H.08");
        assert_eq!(text(0x48, 0x68), "av01.2.08M.12");
        assert_eq!(text(0x28, 0x60), "av01.1.08M.10", "only profile 2 has 12 bits");
    }

    #[test]
    fn codec_vp9_by_libvpx_is_formatted() {
        let sdr = [1, 0, 0, 0, 0, 0x0b, 0x82, 2, 2, 2, 0, 0];
        assert_eq!(visual(b"vp09", &[(b"vpcC", &sdr)]).as_deref(), Some("vp09.00.11.08"));
        let hlg = [1, 0, 0, 0, 2, 0x0b, 0xa2, 9, 18, 9, 0, 0];
        assert_eq!(visual(b"vp09", &[(b"vpcC", &hlg)]).as_deref(), Some("vp09.02.11.10.01.09.18.09.00"));
    }

    #[test]
    fn codec_audio_by_ffmpeg_is_formatted() {
        let esds = [
            0, 0, 0, 0, 3, 0x80, 0x80, 0x80, 0x25, 0, 1, 0, 4, 0x80, 0x80, 0x80, 0x17, 0x40, 0x15, 0, 0, 0,
            0, 1, 0x0d, 0x88, 0, 1, 0x0d, 0x88, 5, 0x80, 0x80, 0x80, 5, 0x12, 0x08, 0x56, 0xe5, 0,
        ];
        assert_eq!(audio(b"mp4a", &[(b"esds", &esds)]).as_deref(), Some("mp4a.40.2"));
        assert_eq!(audio(b"Opus", &[(b"dOps", &[0; 11])]).as_deref(), Some("Opus"));
        assert_eq!(audio(b"fLaC", &[(b"dfLa", &[0; 42])]).as_deref(), Some("fLaC"));
        assert_eq!(audio(b"ac-3", &[(b"dac3", &[0; 3])]).as_deref(), Some("ac-3"));
        assert_eq!(audio(b"ec-3", &[(b"dec3", &[0; 5])]).as_deref(), Some("ec-3"));
        assert_eq!(audio(b"samr", &[]), None);
    }

    proptest! {
        #[test]
        fn codec_truncated_configuration_returns_none(length in 0usize..13, which in 0usize..5) {
            let (kind, config): (&[u8; 4], &[u8; 4]) =
                [(b"avc1", b"avcC"), (b"hvc1", b"hvcC"), (b"av01", b"av1C"), (b"vp09", b"vpcC"), (b"mp4a", b"esds")][which];
            let enough = [4, 13, 3, 10, usize::MAX][which];
            let fixed = if which == 4 { AUDIO_ENTRY_BYTES } else { VISUAL_ENTRY_BYTES };
            let found = codec(&moov(kind, fixed, &[(config, &vec![0; length])]));
            prop_assert_eq!(found.is_some(), length >= enough);
        }
    }
}
