//! Computing ETags and checksums: of a body in one pass, and of an object from those of its parts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crc_fast::{CrcAlgorithm, checksum_combine};
use md5::{Digest as _, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::checksum::{Algorithm, Checksums};

/// Computes the MD5 and any of the additional checksums of a body in one pass.
pub(crate) struct BodyHasher {
    md5: Md5,
    crcs: Vec<(Algorithm, crc_fast::Digest)>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
}

impl BodyHasher {
    pub(crate) fn new(algorithms: &[Algorithm]) -> Self {
        let wanted = |algorithm| algorithms.contains(&algorithm);
        let crcs = Algorithm::ALL.into_iter().filter(|algorithm| wanted(*algorithm));
        Self {
            md5: Md5::new(),
            crcs: crcs.filter_map(|a| Some((a, crc_fast::Digest::new(crc_algorithm(a)?)))).collect(),
            sha1: wanted(Algorithm::Sha1).then(Sha1::new),
            sha256: wanted(Algorithm::Sha256).then(Sha256::new),
        }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        for (_, crc) in &mut self.crcs {
            crc.update(data);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(data);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(data);
        }
    }

    /// The MD5 and the additional checksums.
    pub(crate) fn finish(self) -> ([u8; 16], Checksums) {
        let mut checksums = Checksums {
            sha1: self.sha1.map(|sha1| STANDARD.encode(sha1.finalize())),
            sha256: self.sha256.map(|sha256| STANDARD.encode(sha256.finalize())),
            ..Default::default()
        };
        for (algorithm, crc) in self.crcs {
            checksums.set(algorithm, encode_crc(algorithm, crc.finalize()));
        }
        (self.md5.finalize().into(), checksums)
    }
}

/// The CRC's parameters. `None` if `algorithm` is not a CRC.
fn crc_algorithm(algorithm: Algorithm) -> Option<CrcAlgorithm> {
    match algorithm {
        Algorithm::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
        Algorithm::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        Algorithm::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
        Algorithm::Sha1 | Algorithm::Sha256 => None,
    }
}

/// A CRC on the wire: big endian, in base64.
fn encode_crc(algorithm: Algorithm, crc: u64) -> String {
    let bytes = crc.to_be_bytes();
    STANDARD.encode(if algorithm == Algorithm::Crc64Nvme { &bytes[..] } else { &bytes[4..] })
}

fn decode_crc(text: &str) -> Option<u64> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(bytes.iter().fold(0, |crc, byte| crc << 8 | u64::from(*byte)))
}

/// The ETag of a multipart object: the MD5 of its parts' MD5s, and the number of parts.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
pub(crate) fn multipart_etag(parts: &[[u8; 16]]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

/// The composite checksum of a multipart object: the checksum of its parts' checksums, and the number
/// of parts. `None` if a part has none.
pub(crate) fn composite_checksum(algorithm: Algorithm, parts: &[&Checksums]) -> Option<String> {
    let mut hasher = BodyHasher::new(&[algorithm]);
    for part in parts {
        hasher.update(&STANDARD.decode(part.get(algorithm)?).ok()?);
    }
    let (_, checksums) = hasher.finish();
    Some(format!("{}-{}", checksums.get(algorithm)?, parts.len()))
}

/// The CRC of a multipart object's content, combined from the CRCs and sizes of its parts. `None` if a
/// part has none, or if `algorithm` is not a CRC.
pub(crate) fn full_object_checksum(algorithm: Algorithm, parts: &[(&Checksums, u64)]) -> Option<String> {
    let crc = crc_algorithm(algorithm)?;
    let mut whole = 0;
    for (checksums, size) in parts {
        whole = checksum_combine(crc, whole, decode_crc(checksums.get(algorithm)?)?, *size);
    }
    Some(encode_crc(algorithm, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checksums(algorithm: Algorithm, data: &[u8]) -> Checksums {
        let mut hasher = BodyHasher::new(&[algorithm]);
        hasher.update(data);
        hasher.finish().1
    }

    /// The "check" values of the CRC catalogue and RFC 3174/6234, over "123456789".
    #[test]
    fn finish_after_check_string_returns_published_values() {
        let check = |algorithm| {
            let checksums = checksums(algorithm, b"123456789");
            checksums.get(algorithm).map(|value| hex::encode(STANDARD.decode(value).unwrap()))
        };
        assert_eq!(check(Algorithm::Crc32).unwrap(), "cbf43926");
        assert_eq!(check(Algorithm::Crc32c).unwrap(), "e3069283");
        assert_eq!(check(Algorithm::Crc64Nvme).unwrap(), "ae8b14860a799888");
        assert_eq!(check(Algorithm::Sha1).unwrap(), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
    }

    #[test]
    fn full_object_checksum_of_parts_equals_that_of_the_content() {
        let data: Vec<u8> = (0..10_007u32).map(|i| (i * 31 % 251) as u8).collect();
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_crc()) {
            let parts: Vec<_> =
                data.chunks(3_000).map(|part| (checksums(algorithm, part), part.len() as u64)).collect();
            let parts: Vec<_> = parts.iter().map(|(checksums, size)| (checksums, *size)).collect();
            let whole = checksums(algorithm, &data);
            assert_eq!(full_object_checksum(algorithm, &parts).as_deref(), whole.get(algorithm));
        }
    }

    #[test]
    fn full_object_checksum_with_empty_last_part_equals_that_of_the_content() {
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_crc()) {
            let (content, empty) = (checksums(algorithm, b"content"), checksums(algorithm, b""));
            let whole = full_object_checksum(algorithm, &[(&content, 7), (&empty, 0)]);
            assert_eq!(whole.as_deref(), content.get(algorithm));
        }
    }

    #[test]
    fn full_object_checksum_of_sha_returns_none() {
        assert_eq!(full_object_checksum(Algorithm::Sha1, &[]), None);
    }
}
