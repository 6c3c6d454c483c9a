//! How a file is cut into parts, and whether what arrived is that file.

use std::collections::HashMap;

use reelmill_platform::objects::Part;
use reelmill_proto::upload::CompletedPart;

use crate::UploadError;

const MIB: i64 = 1 << 20;
/// S3's bounds (Amazon S3 user guide, "Multipart upload limits").
const MIN_PART_SIZE: i64 = 5 * MIB;
const MAX_PARTS: i64 = 10_000;
const MAX_FILE_SIZE: i64 = 5 << 40;

/// How a file is cut: equal parts, the last one possibly shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartPlan {
    /// Size of the whole file, bytes.
    pub size: i64,
    /// Size of every part but the last, bytes.
    pub part_size: i64,
    /// How many parts there are.
    pub count: i32,
}

impl PartPlan {
    /// Cuts a file of `size` bytes into parts of at least `wanted` bytes, in whole MiB, and larger
    /// where there would be too many.
    pub(crate) fn new(size: i64, wanted: i64) -> Result<Self, UploadError> {
        match size {
            0 => return Err(UploadError::FileEmpty),
            ..0 => return Err(UploadError::field("size_bytes", "must not be negative")),
            size if size > MAX_FILE_SIZE => return Err(UploadError::FileTooLarge(MAX_FILE_SIZE)),
            _ => {}
        }
        let least = wanted.max(MIN_PART_SIZE).max(ceil_div(size, MAX_PARTS));
        let part_size = ceil_div(least, MIB) * MIB;
        let count = i32::try_from(ceil_div(size, part_size)).unwrap_or(i32::MAX);
        Ok(Self { size, part_size, count })
    }

    /// Size of a part, bytes; none where there is no such part.
    pub(crate) fn size_of(&self, number: i32) -> Option<i64> {
        if !(1..=self.count).contains(&number) {
            return None;
        }
        Some((self.size - i64::from(number - 1) * self.part_size).min(self.part_size))
    }

    /// Whether a part that the store holds is one of the plan's, and whole.
    pub(crate) fn is_whole(&self, part: &Part) -> bool {
        self.size_of(part.number) == Some(part.size)
    }

    /// The parts to join, in order, if what the client claims and what the store holds are both the
    /// whole file.
    pub(crate) fn check(
        &self,
        claimed: &[CompletedPart],
        stored: &[Part],
    ) -> Result<Vec<(i32, String)>, UploadError> {
        let claimed = self.claims(claimed)?;
        let stored: HashMap<i32, &Part> = stored.iter().map(|part| (part.number, part)).collect();
        let mut joined = Vec::with_capacity(claimed.len());
        for number in 1..=self.count {
            let etag = claimed.get(&number).ok_or(UploadError::PartMissing(number))?;
            let part = stored.get(&number).ok_or(UploadError::PartMissing(number))?;
            if bare(etag) != bare(&part.etag) {
                return Err(UploadError::PartEtagMismatch(number));
            }
            if !self.is_whole(part) {
                return Err(UploadError::SizeMismatch { declared: self.size });
            }
            joined.push((number, part.etag.clone()));
        }
        Ok(joined)
    }

    fn claims<'a>(&self, claimed: &'a [CompletedPart]) -> Result<HashMap<i32, &'a str>, UploadError> {
        let mut etags = HashMap::with_capacity(claimed.len());
        for part in claimed {
            let number = part.part_number;
            if self.size_of(number).is_none() {
                return Err(UploadError::field(
                    "parts",
                    format!("{number} is no part: they count from 1 to {}", self.count),
                ));
            }
            if etags.insert(number, part.etag.as_str()).is_some() {
                return Err(UploadError::field("parts", format!("part {number} is named twice")));
            }
        }
        Ok(etags)
    }
}

/// An entity tag without its quotes, which some clients drop.
fn bare(etag: &str) -> &str {
    etag.trim().trim_matches('"')
}

fn ceil_div(a: i64, b: i64) -> i64 {
    a / b + i64::from(a % b != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(number: i32, size: i64) -> Part {
        Part { number, size, etag: format!("\"tag{number}\"") }
    }

    fn claim(number: i32, etag: &str) -> CompletedPart {
        CompletedPart { part_number: number, etag: etag.to_owned() }
    }

    #[test]
    fn refused_sizes() {
        assert!(matches!(PartPlan::new(0, MIB), Err(UploadError::FileEmpty)));
        assert!(matches!(PartPlan::new(-1, MIB), Err(UploadError::Field { .. })));
        assert!(matches!(PartPlan::new(MAX_FILE_SIZE + 1, MIB), Err(UploadError::FileTooLarge(_))));
        assert_eq!(PartPlan::new(1, MIB).unwrap().count, 1);
    }

    #[test]
    fn each_fault_has_its_reason() {
        let plan = PartPlan::new(12 * MIB, 5 * MIB).unwrap();
        let good = [part(1, 5 * MIB), part(2, 5 * MIB), part(3, 2 * MIB)];
        let claims = [claim(1, "tag1"), claim(2, "\"tag2\""), claim(3, "tag3")];
        let joined = plan.check(&claims, &good).unwrap();
        assert_eq!(joined.iter().map(|part| part.0).collect::<Vec<_>>(), [1, 2, 3]);

        assert!(matches!(plan.check(&claims[..2], &good), Err(UploadError::PartMissing(3))));
        assert!(matches!(plan.check(&claims, &good[1..]), Err(UploadError::PartMissing(1))));
        let other = [claim(1, "tag1"), claim(2, "other"), claim(3, "tag3")];
        assert!(matches!(plan.check(&other, &good), Err(UploadError::PartEtagMismatch(2))));
        let short = [part(1, 5 * MIB), part(2, 4 * MIB), part(3, 2 * MIB)];
        assert!(matches!(plan.check(&claims, &short), Err(UploadError::SizeMismatch { .. })));
        assert!(matches!(plan.check(&[claim(4, "x")], &good), Err(UploadError::Field { .. })));
        let twice = [claim(1, "tag1"), claim(1, "tag1")];
        assert!(matches!(plan.check(&twice, &good), Err(UploadError::Field { .. })));
    }

    proptest! {
        #[test]
        fn parts_cover_the_file_exactly(size in 1i64..=MAX_FILE_SIZE, wanted in 1i64..(1 << 30)) {
            let plan = PartPlan::new(size, wanted).unwrap();
            prop_assert!(i64::from(plan.count) <= MAX_PARTS);
            prop_assert!(plan.part_size >= wanted.max(MIN_PART_SIZE) && plan.part_size <= 5 << 30);
            prop_assert_eq!(plan.part_size % MIB, 0);
            let total: i64 = (1..=plan.count).map(|number| plan.size_of(number).unwrap()).sum();
            prop_assert_eq!(total, size);
            prop_assert_eq!(plan.size_of(0), None);
            prop_assert_eq!(plan.size_of(plan.count + 1), None);
        }
    }
}
