//! Walks boxes and reads big-endian fields. A truncated or contradictory box ends the walk.

/// A box: its four-character kind and its contents.
#[derive(Clone, Copy)]
pub(super) struct Mp4Box<'a> {
    /// The kind, for example `b"moof"`.
    pub(super) kind: [u8; 4],
    /// The contents, without the header.
    pub(super) body: &'a [u8],
}

/// The boxes in `data`, up to the first broken one.
pub(super) fn children(data: &[u8]) -> impl Iterator<Item = Mp4Box<'_>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (header, size) = header(rest)?;
        let size = usize::try_from(size).ok()?;
        let kind = rest.get(4..8)?.try_into().ok()?;
        let body = rest.get(header..size)?;
        rest = rest.get(size..)?;
        Some(Mp4Box { kind, body })
    })
}

/// The length of the header, and the size of the whole box including it. None while bytes are missing, or if the sizes
/// contradict each other.
pub(crate) fn header(data: &[u8]) -> Option<(usize, u64)> {
    let (header, size) = match be32(data, 0)? {
        1 => (16, be64(data, 8)?),
        short => (8, u64::from(short)),
    };
    data.get(4..8)?;
    (size >= header as u64).then_some((header, size))
}

/// The contents of the first box at `path`, a list of nested kinds.
pub(super) fn find<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let (first, deeper) = path.split_first()?;
    let found = children(data).find(|child| child.kind == **first)?.body;
    if deeper.is_empty() { Some(found) } else { find(found, deeper) }
}

/// A big-endian 16-bit number.
pub(super) fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(data.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// A big-endian 32-bit number.
pub(super) fn be32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A big-endian 64-bit number.
pub(super) fn be64(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(data.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The track's timescale (ticks per second) from `moov/trak/mdia/mdhd`.
pub(crate) fn timescale(moov: &[u8]) -> Option<u32> {
    let mdhd = find(moov, &[b"trak", b"mdia", b"mdhd"])?;
    let at = if mdhd.first() == Some(&1) { 20 } else { 12 };
    be32(mdhd, at).filter(|&ticks| ticks > 0)
}
