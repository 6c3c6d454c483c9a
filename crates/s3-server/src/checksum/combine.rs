//! Joining CRCs: the CRC of two pieces in a row from the CRCs of each.
//!
//! Appending zero bytes is a linear map on the CRC register, so it is a bit matrix, and appending
//! many is a power of it by repeated squaring. Method: Mark Adler's `crc32_combine` in zlib.

use super::Algorithm;

/// A reflected CRC of up to 64 bits whose start and end values cancel out when joined.
pub(super) struct Crc {
    polynomial: u64,
    width: u32,
}

impl Crc {
    /// Polynomials in reflected form, from the CRC catalogue.
    /// <https://reveng.sourceforge.io/crc-catalogue/all.htm>
    pub(super) fn of(algorithm: Algorithm) -> Option<Self> {
        let (polynomial, width) = match algorithm {
            Algorithm::Crc32 => (0xedb8_8320, 32),
            Algorithm::Crc32c => (0x82f6_3b78, 32),
            Algorithm::Crc64Nvme => (0x9a6c_9329_ac4b_c9b5, 64),
            Algorithm::Sha1 | Algorithm::Sha256 => return None,
        };
        Some(Self { polynomial, width })
    }

    /// Bits in the CRC.
    pub(super) fn width(&self) -> u32 {
        self.width
    }

    /// The CRC of `first` followed by `second`, the latter being `len` bytes long.
    pub(super) fn combine(&self, first: u64, second: u64, len: u64) -> u64 {
        let mut shift = self.one_zero_byte();
        let mut crc = first;
        let mut left = len;
        while left > 0 {
            if left & 1 == 1 {
                crc = apply(&shift, crc);
            }
            shift = square(&shift);
            left >>= 1;
        }
        crc ^ second
    }

    /// The map of appending one zero byte: that of one zero bit, squared three times.
    fn one_zero_byte(&self) -> Vec<u64> {
        let mut bit = vec![self.polynomial];
        bit.extend((0..self.width - 1).map(|n| 1u64 << n));
        (0..3).fold(bit, |map, _| square(&map))
    }
}

/// `map` times the bit vector `value`; column n is what bit n becomes.
fn apply(map: &[u64], value: u64) -> u64 {
    map.iter().enumerate().filter(|(n, _)| value >> n & 1 == 1).fold(0, |sum, (_, column)| sum ^ column)
}

fn square(map: &[u64]) -> Vec<u64> {
    map.iter().map(|column| apply(map, *column)).collect()
}
