//! How a file is divided into parts, and whether the received parts are the file.

use std::collections::{BTreeMap, HashMap};

use reelmill_platform::objects::Part;
use reelmill_proto::upload::CompletedPart;

use crate::error::UploadError;

const MIB: i64 = 1 << 20;
/// S3 limits (Amazon S3 user guide, "Multipart upload limits").
const MIN_PART_SIZE: i64 = 5 * MIB;
const MAX_PARTS: i64 = 10_000;
const MAX_FILE_SIZE: i64 = 5 << 40;

/// Parts of a file: all of equal size, except that the last one may be smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartPlan {
    /// Size of the file, bytes.
    pub size: i64,
    /// Size of every part but the last, bytes.
    pub part_size: i64,
    /// Number of parts.
    pub count: i32,
}

/// ETags, by part number, of the parts that a client claims to have sent. Numbers are valid and unique.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClaimedParts(BTreeMap<i32, String>);

impl ClaimedParts {
    /// Part numbers and ETags.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, &str)> {
        self.0.iter().map(|(number, etag)| (*number, etag.as_str()))
    }
}

impl FromIterator<(i32, String)> for ClaimedParts {
    fn from_iter<I: IntoIterator<Item = (i32, String)>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

impl PartPlan {
    /// Divides a file of `size` bytes into parts of at least `min_part_size` bytes: a multiple of 1 MiB, and larger if
    /// the file would have too many parts.
    pub(crate) fn new(size: i64, min_part_size: i64) -> Result<Self, UploadError> {
        match size {
            0 => return Err(UploadError::FileEmpty),
            ..0 => return Err(UploadError::field("size_bytes", "must not be negative")),
            size if size > MAX_FILE_SIZE => return Err(UploadError::FileTooLarge(MAX_FILE_SIZE)),
            _ => {}
        }
        let min_part_size = min_part_size.max(MIN_PART_SIZE).max(ceil_div(size, MAX_PARTS));
        let part_size = ceil_div(min_part_size, MIB) * MIB;
        let count = i32::try_from(ceil_div(size, part_size)).unwrap_or(i32::MAX);
        Ok(Self { size, part_size, count })
    }

    /// Size of a part, bytes. `None` if there is no part with this number.
    pub(crate) fn size_of(&self, number: i32) -> Option<i64> {
        if !(1..=self.count).contains(&number) {
            return None;
        }
        Some((self.size - i64::from(number - 1) * self.part_size).min(self.part_size))
    }

    /// Whether a stored part belongs to the plan and has its full size.
    pub(crate) fn is_complete(&self, part: &Part) -> bool {
        self.size_of(part.number) == Some(part.size)
    }

    /// Validates the part list of a completion request, which may be incomplete.
    pub(crate) fn parse_claim(&self, parts: &[CompletedPart]) -> Result<ClaimedParts, UploadError> {
        let mut etags = BTreeMap::new();
        for part in parts {
            let number = part.part_number;
            if self.size_of(number).is_none() {
                let message = format!("there is no part {number}; parts are numbered 1 to {}", self.count);
                return Err(UploadError::field("parts", message));
            }
            let etag = unquoted(&part.etag);
            // No object store returns such an ETag, and Postgres rejects NUL in text.
            if etag.contains(char::is_control) {
                return Err(UploadError::PartEtagMismatch(number));
            }
            if etags.insert(number, etag.to_owned()).is_some() {
                return Err(UploadError::field("parts", format!("part {number} is listed twice")));
            }
        }
        Ok(ClaimedParts(etags))
    }

    /// The parts to assemble, in order, if the claimed parts and the stored parts are both the complete file.
    pub(crate) fn check(
        &self,
        claimed: &ClaimedParts,
        stored: &[Part],
    ) -> Result<Vec<(i32, String)>, UploadError> {
        let stored: HashMap<i32, &Part> = stored.iter().map(|part| (part.number, part)).collect();
        let mut parts = Vec::with_capacity(stored.len());
        for number in 1..=self.count {
            let etag = claimed.0.get(&number).ok_or(UploadError::PartMissing(number))?;
            let part = stored.get(&number).ok_or(UploadError::PartMissing(number))?;
            if etag != unquoted(&part.etag) {
                return Err(UploadError::PartEtagMismatch(number));
            }
            if !self.is_complete(part) {
                return Err(UploadError::SizeMismatch { declared: self.size });
            }
            parts.push((number, part.etag.clone()));
        }
        Ok(parts)
    }
}

/// An ETag without its quotes, which some clients drop.
fn unquoted(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}

fn ceil_div(a: i64, b: i64) -> i64 {
    a / b + i64::from(a % b != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(number: i32, size: i64) -> Part {
        Part { number, size, etag: format!("\"tag{number}\"") }
    }

    fn claimed(number: i32, etag: &str) -> CompletedPart {
        CompletedPart { part_number: number, etag: etag.to_owned() }
    }

    #[test]
    fn new_with_invalid_size_returns_error() {
        assert!(matches!(PartPlan::new(0, MIB), Err(UploadError::FileEmpty)));
        assert!(matches!(PartPlan::new(-1, MIB), Err(UploadError::Field { .. })));
        assert!(matches!(PartPlan::new(MAX_FILE_SIZE + 1, MIB), Err(UploadError::FileTooLarge(_))));
        assert_eq!(PartPlan::new(1, MIB).unwrap().count, 1);
    }

    #[test]
    fn check_wrong_parts_returns_the_reason() {
        let plan = PartPlan::new(12 * MIB, 5 * MIB).unwrap();
        let complete = [stored(1, 5 * MIB), stored(2, 5 * MIB), stored(3, 2 * MIB)];
        let claims = [claimed(1, "tag1"), claimed(2, "\"tag2\""), claimed(3, "tag3")];
        let claim = plan.parse_claim(&claims).unwrap();
        let parts = plan.check(&claim, &complete).unwrap();
        assert_eq!(parts.iter().map(|part| part.0).collect::<Vec<_>>(), [1, 2, 3]);

        let partial = plan.parse_claim(&claims[..2]).unwrap();
        assert!(matches!(plan.check(&partial, &complete), Err(UploadError::PartMissing(3))));
        assert!(matches!(plan.check(&claim, &complete[1..]), Err(UploadError::PartMissing(1))));
        let other = [claimed(1, "tag1"), claimed(2, "other"), claimed(3, "tag3")];
        let other = plan.parse_claim(&other).unwrap();
        assert!(matches!(plan.check(&other, &complete), Err(UploadError::PartEtagMismatch(2))));
        let short = [stored(1, 5 * MIB), stored(2, 4 * MIB), stored(3, 2 * MIB)];
        assert!(matches!(plan.check(&claim, &short), Err(UploadError::SizeMismatch { .. })));
    }

    #[test]
    fn parse_claim_of_unknown_repeated_or_malformed_part_returns_error() {
        let plan = PartPlan::new(12 * MIB, 5 * MIB).unwrap();
        assert!(matches!(plan.parse_claim(&[claimed(4, "x")]), Err(UploadError::Field { .. })));
        let twice = [claimed(1, "tag1"), claimed(1, "tag1")];
        assert!(matches!(plan.parse_claim(&twice), Err(UploadError::Field { .. })));
        assert!(matches!(plan.parse_claim(&[claimed(1, "\0")]), Err(UploadError::PartEtagMismatch(1))));
    }

    proptest! {
        #[test]
        fn new_divides_the_file_exactly(size in 1i64..=MAX_FILE_SIZE, min_part_size in 1i64..(1 << 30)) {
            let plan = PartPlan::new(size, min_part_size).unwrap();
            prop_assert!(i64::from(plan.count) <= MAX_PARTS);
            prop_assert!(plan.part_size >= min_part_size.max(MIN_PART_SIZE) && plan.part_size <= 5 << 30);
            prop_assert_eq!(plan.part_size % MIB, 0);
            let total: i64 = (1..=plan.count).map(|number| plan.size_of(number).unwrap()).sum();
            prop_assert_eq!(total, size);
            prop_assert_eq!(plan.size_of(0), None);
            prop_assert_eq!(plan.size_of(plan.count + 1), None);
        }
    }
}
