//! Which parts there are, which of them are there already, and in what order the rest is sent. No I/O.

use std::collections::{BTreeMap, HashSet};

use reelmill_proto::upload::{UploadPart, UploadSession, upload_session::State};

use crate::ClientError;

/// How a file is cut into parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    part_size: u64,
    count: i32,
}

/// The bytes of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRange {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// What can be done with an upload that was begun before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Former {
    /// Its parts can be gone on with.
    Open,
    /// Its parts are being joined at this moment.
    Joining,
    /// Nothing is left to send.
    Whole,
    /// It is of no use: a new one is needed.
    Gone,
}

/// A part that the store holds, as far as can be told without reading the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Counts from 1.
    pub number: i32,
    /// The store's entity tag.
    pub etag: String,
    /// MD5 of the part's bytes in hex, where the entity tag is one.
    pub md5: Option<String>,
}

impl Layout {
    /// Reads how the server cut a file of `size` bytes, and checks that the parts make the file.
    pub fn of(session: &UploadSession, size: u64) -> Result<Self, ClientError> {
        let invalid =
            || ClientError::failed("ANSWER_INVALID", "the server cut the file into parts that don't make it");
        let part_size =
            u64::try_from(session.part_size_bytes).ok().filter(|&size| size > 0).ok_or_else(invalid)?;
        let count = i32::try_from(size.div_ceil(part_size)).map_err(|_| invalid())?;
        if count != session.part_count || u64::try_from(session.size_bytes) != Ok(size) {
            return Err(invalid());
        }
        Ok(Self { size, part_size, count })
    }

    /// How many parts there are.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The bytes of a part; none where there is no such part.
    pub fn range(&self, number: i32) -> Option<PartRange> {
        if number < 1 || number > self.count {
            return None;
        }
        let offset = u64::from(number.unsigned_abs() - 1) * self.part_size;
        Some(PartRange { offset, length: self.part_size.min(self.size - offset) })
    }

    /// The parts that the store holds in their right size.
    pub fn held(&self, parts: &[UploadPart]) -> Vec<Held> {
        let whole = |part: &&UploadPart| {
            self.range(part.part_number)
                .is_some_and(|range| u64::try_from(part.size_bytes) == Ok(range.length))
        };
        let held = |part: &UploadPart| Held {
            number: part.part_number,
            etag: part.etag.clone(),
            md5: md5_of(&part.etag),
        };
        // A later entry of the same number replaces an earlier one.
        let by_number: BTreeMap<i32, Held> =
            parts.iter().filter(whole).map(|part| (part.part_number, held(part))).collect();
        by_number.into_values().collect()
    }

    /// The parts still to send: first as the server asked, then the others as they come.
    pub fn missing(&self, asked: &[i32], there: &HashSet<i32>) -> Vec<i32> {
        let mut known = there.clone();
        let all = 1..=self.count;
        asked
            .iter()
            .copied()
            .filter(|number| all.contains(number))
            .chain(all.clone())
            .filter(|&n| known.insert(n))
            .collect()
    }
}

/// What can be done with a former upload of a file of `size` bytes.
pub fn former(session: &UploadSession, size: u64) -> Former {
    if u64::try_from(session.size_bytes) != Ok(size) {
        return Former::Gone;
    }
    match session.state() {
        State::Open => Former::Open,
        State::Completing => Former::Joining,
        State::Completed => Former::Whole,
        State::Aborted | State::Unspecified => Former::Gone,
    }
}

/// The MD5 that an entity tag states, where it looks like one: most stores tag a part so.
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
    fn parts_that_do_not_make_the_file_are_refused() {
        assert!(Layout::of(&session(10, 4, 3), 10).is_ok());
        for wrong in [session(10, 0, 3), session(10, -4, 3), session(10, 4, 2), session(9, 4, 3)] {
            assert!(Layout::of(&wrong, 10).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_parts_of_their_right_size_are_held() {
        let layout = Layout::of(&session(10, 4, 3), 10).unwrap();
        let md5 = "\"D41D8CD98F00B204E9800998ECF8427E\"";
        let held =
            layout.held(&[part(3, 2, md5), part(1, 3, md5), part(2, 4, "\"opaque\""), part(7, 4, md5)]);
        assert_eq!(held.iter().map(|held| held.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(held[0].md5, None);
        assert_eq!(held[1].md5.as_deref(), Some("d41d8cd98f00b204e9800998ecf8427e"));
        assert_eq!(held[1].etag, md5);
    }

    #[test]
    fn the_servers_order_comes_first_and_nothing_is_sent_twice() {
        let layout = Layout::of(&session(20, 4, 5), 20).unwrap();
        assert_eq!(layout.missing(&[5, 1, 5, 9], &HashSet::from([2])), [5, 1, 3, 4]);
        assert_eq!(layout.missing(&[], &HashSet::new()), [1, 2, 3, 4, 5]);
        assert!(layout.missing(&[1], &(1..=5).collect()).is_empty());
    }

    #[test]
    fn a_former_upload_is_used_as_its_state_allows() {
        let with = |state: State| UploadSession { state: state.into(), ..session(10, 4, 3) };
        assert_eq!(former(&with(State::Open), 10), Former::Open);
        assert_eq!(former(&with(State::Completing), 10), Former::Joining);
        assert_eq!(former(&with(State::Completed), 10), Former::Whole);
        assert_eq!(former(&with(State::Aborted), 10), Former::Gone);
        assert_eq!(former(&with(State::Open), 11), Former::Gone);
    }

    proptest::proptest! {
        #[test]
        fn ranges_cover_the_file_once(size in 1u64..1_000_000, part_size in 1u64..10_000) {
            let count = size.div_ceil(part_size);
            let session = session(size.try_into().unwrap(), part_size.try_into().unwrap(), count.try_into().unwrap());
            let layout = Layout::of(&session, size).unwrap();
            let mut at = 0;
            for number in 1..=layout.count() {
                let range = layout.range(number).unwrap();
                proptest::prop_assert_eq!(range.offset, at);
                proptest::prop_assert!(range.length > 0 && range.length <= part_size);
                at += range.length;
            }
            proptest::prop_assert_eq!(at, size);
            proptest::prop_assert!(layout.range(0).is_none() && layout.range(layout.count() + 1).is_none());
        }
    }
}
