//! A set of indices as ranges: small however many indices of a contiguous range there are.

use sea_orm::FromJsonQueryResult;
use serde::{Deserialize, Serialize};

/// A set of indices, as inclusive ranges in order. A JSON array of pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub(crate) struct IndexRanges(Vec<(i32, i32)>);

impl IndexRanges {
    /// The indices, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    /// The set with more indices.
    pub(crate) fn with(&self, added: impl IntoIterator<Item = i32>) -> Self {
        let mut indices: Vec<i32> = self.iter().chain(added).collect();
        indices.sort_unstable();
        let mut ranges: Vec<(i32, i32)> = Vec::new();
        for index in indices {
            match ranges.last_mut() {
                Some((_, last)) if index <= last.saturating_add(1) => *last = index,
                _ => ranges.push((index, index)),
            }
        }
        Self(ranges)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn index_ranges_hold_what_was_added(added in prop::collection::vec(prop::collection::vec(-1..60i32, 0..9), 0..9)) {
            let mut ranges = IndexRanges::default();
            for indices in &added {
                ranges = ranges.with(indices.iter().copied());
            }
            let expected: BTreeSet<i32> = added.into_iter().flatten().collect();
            prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
