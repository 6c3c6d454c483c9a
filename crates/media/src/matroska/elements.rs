//! Elements of EBML, and where the tracks are.

pub(super) const SEGMENT: u32 = 0x1853_8067;
pub(super) const CLUSTER: u32 = 0x1F43_B675;
pub(super) const TRACKS: u32 = 0x1654_AE6B;
pub(super) const TRACK_ENTRY: u32 = 0xAE;

/// The elements of a file before its first cluster, by the file's first bytes.
pub(super) fn head_elements(head: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let segment = elements(head).find(|element| element.id == SEGMENT);
    segment.into_iter().flat_map(|segment| elements(segment.body)).take_while(|element| element.id != CLUSTER)
}

/// The descriptions of the tracks, in their order. Empty if they are not within these first bytes of the file.
pub(super) fn track_entries(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let tracks = head_elements(head).find(|element| element.id == TRACKS && element.is_complete);
    let entries = tracks.into_iter().flat_map(|tracks| elements(tracks.body));
    entries.filter(|entry| entry.id == TRACK_ENTRY).map(|entry| entry.body)
}

/// The value of an unsigned integer element.
pub(super) fn number(parent: &[u8], id: u32) -> Option<u64> {
    let body = elements(parent).find(|element| element.id == id)?.body;
    (body.len() <= 8).then(|| body.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

pub(super) struct Element<'a> {
    pub(super) id: u32,
    /// As much of it as there is.
    pub(super) body: &'a [u8],
    pub(super) is_complete: bool,
}

/// The elements of a body, until its end or until one that cannot be read.
pub(super) fn elements(mut rest: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        let (id, id_length) = variable_length(rest, true)?;
        let (size, size_length) = variable_length(&rest[id_length..], false)?;
        let body = &rest[id_length + size_length..];
        let is_unknown = size == (1 << (7 * size_length)) - 1;
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(body.len());
        let length = if is_unknown { body.len() } else { length };
        let is_complete = !is_unknown && u64::try_from(length) == Ok(size);
        rest = &body[length..];
        Some(Element { id: u32::try_from(id).ok()?, body: &body[..length], is_complete })
    })
}

/// A number of variable length, and how many bytes it has.
pub(super) fn variable_length(bytes: &[u8], keeps_marker: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = usize::try_from(first.leading_zeros()).ok()? + 1;
    let number = bytes.get(..length).filter(|_| length <= 8)?;
    let value = number.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    let marker = 1_u64 << (7 * length);
    Some((if keeps_marker { value } else { value & (marker - 1) }, length))
}
