//! Finds captions inside the pictures of a video (CEA-608, CEA-708), which are carried as user data (ATSC A/53 part 4, 6.2.3):
//! `GA94`, a type of 3, a byte with the number of constructs, a reserved byte, then constructs of three bytes.

/// What user data with captions starts with.
const START: &[u8] = b"GA94\x03";
/// Bits of the byte after it.
const HAS_CONSTRUCTS: u8 = 0x40;
const COUNT_MASK: u8 = 0x1f;
/// Bits of the first byte of a construct: whether it is valid, and its type.
const IS_VALID: u8 = 0x04;
const TYPE_MASK: u8 = 0x03;
/// Types of constructs from which on they carry CEA-708. Those before carry CEA-608, with a parity bit in each byte.
const FIRST_708_TYPE: u8 = 2;
const PARITY_MASK: u8 = 0x7f;

/// What a part of a file says about captions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Captions {
    /// Nothing.
    None,
    /// There is a place for them, which is empty here: broadcasts have one throughout.
    Empty,
    /// There are captions.
    Present,
}

/// Looks for captions in a part of a file, without a demuxer.
pub fn find(bytes: &[u8]) -> Captions {
    let starts = bytes.windows(START.len()).enumerate().filter(|(_, window)| *window == START);
    let all = starts.map(|(at, _)| of_user_data(&bytes[at + START.len()..]));
    all.max().unwrap_or(Captions::None)
}

fn of_user_data(data: &[u8]) -> Captions {
    let [head, _reserved, constructs @ ..] = data else { return Captions::None };
    if head & HAS_CONSTRUCTS == 0 {
        return Captions::Empty;
    }
    let mut constructs = constructs.chunks_exact(3).take(usize::from(head & COUNT_MASK));
    if constructs.any(has_text) { Captions::Present } else { Captions::Empty }
}

fn has_text(construct: &[u8]) -> bool {
    let &[head, first, second] = construct else { return false };
    // CEA-608 fills with zeros, CEA-708 with packets of zeros.
    let mask = if head & TYPE_MASK < FIRST_708_TYPE { PARITY_MASK } else { 0xff };
    head & IS_VALID != 0 && (first & mask != 0 || second & mask != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Captions, find};

    fn picture(constructs: &[[u8; 3]]) -> Vec<u8> {
        let head = 0x40 | u8::try_from(constructs.len()).expect("few");
        [&b"\0\0\x01\x06\x04\x20\xb5\0\x31GA94\x03"[..], &[head, 0xff], &constructs.concat(), b"\xff\x80"]
            .concat()
    }

    #[test]
    fn find_distinguishes_captions_from_an_empty_place_for_them() {
        let filler = [[0xfc, 0x80, 0x80], [0xfd, 0x80, 0x80], [0xfa, 0, 0]];
        assert_eq!(find(&picture(&filler)), Captions::Empty);
        assert_eq!(find(&picture(&[[0xfc, 0x94, 0x2c]])), Captions::Present, "CEA-608");
        assert_eq!(find(&picture(&[filler[0], [0xfe, 0x02, 0x21]])), Captions::Present, "CEA-708");
        assert_eq!(find(&picture(&[[0xf8, 0x94, 0x2c]])), Captions::Empty, "not valid");
        assert_eq!(find(&[picture(&filler), picture(&[[0xfc, 0x94, 0x2c]])].concat()), Captions::Present);
        assert_eq!(find(b"\xb5\0\x31GA94\x06\x40"), Captions::None, "an aspect ratio");
        assert_eq!(find(b"GA94\x03"), Captions::None, "cut off");
    }

    proptest! {
        #[test]
        fn find_does_not_panic(before in any::<Vec<u8>>(), after in any::<Vec<u8>>()) {
            let _ignored = find(&[&before[..], b"GA94\x03", &after[..]].concat());
        }
    }
}
