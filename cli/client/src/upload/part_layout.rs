//! How a file is divided into parts, and which of them are to be sent. No I/O.

use std::collections::{BTreeMap, HashSet};

use reelmill_proto::upload::{UploadPart, UploadSession};

use crate::{error::ClientError, reason::ClientReason};

/// The division of a file into parts of equal size; only the last one may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLayout {
    size: u64,
    part_size: u64,
    count: i32,
}

/// The bytes of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRange {
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// A part that the object store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPart {
    /// Part number, from 1.
    pub number: i32,
    /// Entity tag.
    pub etag: String,
    /// MD5 of the part's bytes in hex, if the entity tag is one.
    pub md5: Option<String>,
}

impl PartLayout {
    /// The layout that the server chose for a file of `size` bytes; fails if its parts don't add up to the file.
    pub fn new(session: &UploadSession, size: u64) -> Result<Self, ClientError> {
        let invalid = || {
            let message = "the server's parts don't add up to the file's size";
            ClientError::local(ClientReason::AnswerInvalid, message)
        };
        let part_size =
            u64::try_from(session.part_size_bytes).ok().filter(|&size| size > 0).ok_or_else(invalid)?;
        let count = i32::try_from(size.div_ceil(part_size)).map_err(|_| invalid())?;
        if count != session.part_count || u64::try_from(session.size_bytes) != Ok(size) {
            return Err(invalid());
        }
        Ok(Self { size, part_size, count })
    }

    /// Number of parts.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The bytes of a part; `None` if there is no such part.
    pub fn range(&self, number: i32) -> Option<PartRange> {
        if number < 1 || number > self.count {
            return None;
        }
        let offset = u64::from(number.unsigned_abs() - 1) * self.part_size;
        Some(PartRange { offset, length: self.part_size.min(self.size - offset) })
    }

    /// The parts in the object store that have the right size, by number.
    pub fn stored_parts(&self, parts: &[UploadPart]) -> Vec<StoredPart> {
        let has_right_size = |part: &&UploadPart| {
            self.range(part.part_number)
                .is_some_and(|range| u64::try_from(part.size_bytes) == Ok(range.length))
        };
        let stored = |part: &UploadPart| StoredPart {
            number: part.part_number,
            etag: part.etag.clone(),
            md5: md5_of(&part.etag),
        };
        // A later entry of the same number replaces an earlier one.
        let by_number: BTreeMap<i32, StoredPart> =
            parts.iter().filter(has_right_size).map(|part| (part.part_number, stored(part))).collect();
        by_number.into_values().collect()
    }

    /// The numbers of the parts to send: first those that the server requested, in its order, then the others.
    pub fn missing(&self, requested: &[i32], stored: &HashSet<i32>) -> Vec<i32> {
        let mut seen = stored.clone();
        let all = 1..=self.count;
        requested
            .iter()
            .copied()
            .filter(|number| all.contains(number))
            .chain(all.clone())
            .filter(|&number| seen.insert(number))
            .collect()
    }
}

/// The MD5 in an entity tag, if it has the form of one, as in most object stores.
fn md5_of(etag: &str) -> Option<String> {
    let bare = etag.trim().trim_matches('"');
    (bare.len() == 32 && bare.bytes().all(|b| b.is_ascii_hexdigit())).then(|| bare.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(size: i64, part_size: i64, count: i32) -> UploadSession {
        UploadSession {
            size_bytes: size,
            part_size_bytes: part_size,
            part_count: count,
            ..UploadSession::default()
        }
    }

    fn part(number: i32, size: i64, etag: &str) -> UploadPart {
        UploadPart { part_number: number, size_bytes: size, etag: etag.to_owned() }
    }

    #[test]
    fn new_parts_that_do_not_add_up_to_the_file_return_error() {
        assert!(PartLayout::new(&session(10, 4, 3), 10).is_ok());
        for wrong in [session(10, 0, 3), session(10, -4, 3), session(10, 4, 2), session(9, 4, 3)] {
            assert!(PartLayout::new(&wrong, 10).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn stored_parts_of_wrong_size_are_left_out() {
        let layout = PartLayout::new(&session(10, 4, 3), 10).unwrap();
        let md5 = "\"D41D8CD98F00B204E9800998ECF8427E\"";
        let parts = [part(3, 2, md5), part(1, 3, md5), part(2, 4, "\"opaque\""), part(7, 4, md5)];
        let stored = layout.stored_parts(&parts);
        assert_eq!(stored.iter().map(|part| part.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(stored[0].md5, None);
        assert_eq!(stored[1].md5.as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(stored[1].etag, md5);
    }

    #[test]
    fn missing_requested_parts_come_first_and_each_part_once() {
        let layout = PartLayout::new(&session(20, 4, 5), 20).unwrap();
        assert_eq!(layout.missing(&[5, 1, 5, 9], &HashSet::from([2])), [5, 1, 3, 4]);
        assert_eq!(layout.missing(&[], &HashSet::new()), [1, 2, 3, 4, 5]);
        assert!(layout.missing(&[1], &(1..=5).collect()).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn range_parts_cover_the_file_once(size in 1u64..1_000_000, part_size in 1u64..10_000) {
            let count = size.div_ceil(part_size);
            let session = session(size.try_into().unwrap(), part_size.try_into().unwrap(), count.try_into().unwrap());
            let layout = PartLayout::new(&session, size).unwrap();
            let mut offset = 0;
            for number in 1..=layout.count() {
                let range = layout.range(number).unwrap();
                proptest::prop_assert_eq!(range.offset, offset);
                proptest::prop_assert!(range.length > 0 && range.length <= part_size);
                offset += range.length;
            }
            proptest::prop_assert_eq!(offset, size);
            proptest::prop_assert!(layout.range(0).is_none() && layout.range(layout.count() + 1).is_none());
        }
    }
}
