//! Recognises a file by its first bytes. Rejects early what is certainly not a video, above all the text formats
//! (playlists, manifests, concat lists) that make a demuxer open other URLs.

use crate::{Failure, FailureKind};

/// Bytes from the start of the file to pass to [`sniff`].
pub const SNIFF_BYTES: usize = 64 * 1024;

/// A recognised container, or bytes that may still be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MP4, QuickTime, 3GP.
    Mp4,
    /// Matroska or WebM.
    Matroska,
    /// MPEG transport stream, also with 192-byte packets.
    MpegTs,
    /// MPEG program stream or elementary video.
    Mpeg,
    /// AVI.
    Avi,
    /// Flash video.
    Flv,
    /// Ogg.
    Ogg,
    /// ASF, WMV.
    Asf,
    /// MXF.
    Mxf,
    /// Audio only, or unrecognised binary: the probe decides.
    Unknown,
}

/// Recognises the container by the file's first bytes.
///
/// # Errors
/// `FileNotVideo` when the bytes are certainly something else.
pub fn sniff(head: &[u8]) -> Result<Kind, Failure> {
    if head.is_empty() {
        return Err(not_video("The file is empty. Upload it again."));
    }
    if let Some(kind) = container(head) {
        return Ok(kind);
    }
    if let Some(what) = known_other(head) {
        return Err(not_video(&format!("The file is {what}, not a video.")));
    }
    if is_text(head) {
        return Err(not_video("The file is text, or a playlist that points at other files, not a video."));
    }
    Ok(Kind::Unknown)
}

fn not_video(message: &str) -> Failure {
    Failure::new(FailureKind::FileNotVideo, message)
}

fn container(head: &[u8]) -> Option<Kind> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    const MP4_BOXES: [&[u8]; 8] = [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"];
    if MP4_BOXES.iter().any(|kind| at(4, kind)) {
        // HEIF and AVIF images use the same boxes.
        const IMAGE_BRANDS: [&[u8]; 6] = [b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis"];
        return (!(at(4, b"ftyp") && IMAGE_BRANDS.iter().any(|brand| at(8, brand)))).then_some(Kind::Mp4);
    }
    if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
        return Some(Kind::Matroska);
    }
    if at(0, b"RIFF") && (at(8, b"AVI ") || at(8, b"AVIX")) {
        return Some(Kind::Avi);
    }
    if at(0, b"FLV") {
        return Some(Kind::Flv);
    }
    if at(0, b"OggS") {
        return Some(Kind::Ogg);
    }
    if at(0, &[0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11]) {
        return Some(Kind::Asf);
    }
    if at(0, &[0x06, 0x0e, 0x2b, 0x34]) {
        return Some(Kind::Mxf);
    }
    if at(0, &[0, 0, 1, 0xba]) || at(0, &[0, 0, 1, 0xb3]) {
        return Some(Kind::Mpeg);
    }
    let packets = |first: usize, step: usize| at(first, b"G") && at(first + step, b"G");
    (packets(0, 188) || packets(4, 192)).then_some(Kind::MpegTs)
}

fn known_other(head: &[u8]) -> Option<&'static str> {
    const OTHERS: [(&[u8], &str); 21] = [
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"GIF8", "a GIF image"),
        (b"BM", "a bitmap image"),
        (b"II*\0", "a TIFF image"),
        (b"MM\0*", "a TIFF image"),
        (b"8BPS", "a Photoshop image"),
        (b"PK\x03\x04", "a ZIP archive or an office document"),
        (b"PK\x05\x06", "an empty ZIP archive"),
        (b"Rar!", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"BZh", "a bzip2 archive"),
        (b"\xfd7zXZ", "an xz archive"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
        (b"%PDF", "a PDF document"),
        (b"\x7fELF", "a program"),
        (b"wOFF", "a font"),
        (b"SQLite format 3", "a database"),
        (b"\xca\xfe\xba\xbe", "a program"),
        (b"\xd0\xcf\x11\xe0", "an office document"),
    ];
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(what);
    }
    if head.get(4..8) == Some(b"ftyp") {
        return Some("an image");
    }
    if head.starts_with(b"RIFF") {
        return match head.get(8..12) {
            Some(b"WEBP") => Some("a WebP image"),
            _ => None,
        };
    }
    None
}

/// Text has no control characters except white space. UTF-16 text starts with a byte order mark.
fn is_text(head: &[u8]) -> bool {
    let sample = &head[..head.len().min(4096)];
    if sample.starts_with(&[0xff, 0xfe]) || sample.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    let trimmed = sample.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(sample);
    const TEXT_STARTS: [&[u8]; 6] = [b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"WEBVTT", b"<!DOCTYPE"];
    TEXT_STARTS.iter().any(|start| trimmed.starts_with(start))
        || trimmed.iter().all(|&b| b >= 0x20 && b != 0x7f || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Kind, sniff};
    use crate::FailureKind;

    #[test]
    fn sniff_container_returns_its_kind() {
        let mut ts = vec![0u8; 400];
        ts[0] = b'G';
        ts[188] = b'G';
        let cases: [(&[u8], Kind); 11] = [
            (b"\0\0\0\x18ftypisom", Kind::Mp4),
            (b"\0\0\0\x08wide\0\0\0\0mdat", Kind::Mp4),
            (b"\x1a\x45\xdf\xa3rest", Kind::Matroska),
            (b"RIFF\0\0\0\0AVI LIST", Kind::Avi),
            (b"FLV\x01", Kind::Flv),
            (b"OggS\0", Kind::Ogg),
            (b"\0\0\x01\xba!", Kind::Mpeg),
            (&ts, Kind::MpegTs),
            (b"\x1f\x07\0\x3f\x90\x90", Kind::Unknown),
            (b"ID3\x04\0sound", Kind::Unknown),
            (b"RIFF\0\0\0\0WAVEfmt ", Kind::Unknown),
        ];
        for (head, kind) in cases {
            assert_eq!(sniff(head), Ok(kind), "{head:?}");
        }
    }

    #[test]
    fn sniff_other_file_is_rejected() {
        let cases: [&[u8]; 11] = [
            b"",
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
            b"#EXTM3U\n\0\0binary",
            b"ffconcat version 1.0\nfile a",
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><MPD/>",
            b"1\n00:00:01,000 --> 00:00:02,000\nhello\n",
            b"\x89PNG\r\n\x1a\n",
            b"PK\x03\x04\0",
            b"%PDF-1.7\n\x01",
            b"\0\0\0\x18ftypheic",
            b"RIFF\0\0\0\0WEBPVP8 ",
        ];
        for head in cases {
            assert_eq!(sniff(head).map_err(|error| error.kind), Err(FailureKind::FileNotVideo), "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn sniff_any_bytes_does_not_panic(head in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ignored = sniff(&head);
        }

        #[test]
        fn sniff_playlist_is_rejected(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let head = [b"#EXTM3U".as_slice(), &rest].concat();
            prop_assert!(sniff(&head).is_err());
        }
    }
}
