//! S3's additional checksums: which were asked for, computing them in one pass, and joining the
//! checksums of parts into that of the whole.

mod combine;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use s3s::crypto::{Checksum as _, Crc64Nvme};
use s3s::dto::ChecksumAlgorithm;
use s3s::{S3Error, s3_error};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::Sha256;

/// One of S3's checksum algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => ChecksumAlgorithm::CRC32,
            Self::Crc32c => ChecksumAlgorithm::CRC32C,
            Self::Crc64Nvme => ChecksumAlgorithm::CRC64NVME,
            Self::Sha1 => ChecksumAlgorithm::SHA1,
            Self::Sha256 => ChecksumAlgorithm::SHA256,
        }
    }

    /// The header or trailer that carries it.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, S3Error> {
        Self::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| s3_error!(InvalidRequest, "The checksum algorithm is not known."))
    }

    /// Only CRCs of parts can be joined into the CRC of the whole.
    pub(crate) fn is_crc(self) -> bool {
        matches!(self, Self::Crc32 | Self::Crc32c | Self::Crc64Nvme)
    }
}

/// A checksum of each algorithm that was given or computed, in base64 as on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksums {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc32c: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crc64nvme: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha1: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

impl Checksums {
    pub(crate) fn get(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Crc32 => self.crc32.as_deref(),
            Algorithm::Crc32c => self.crc32c.as_deref(),
            Algorithm::Crc64Nvme => self.crc64nvme.as_deref(),
            Algorithm::Sha1 => self.sha1.as_deref(),
            Algorithm::Sha256 => self.sha256.as_deref(),
        }
    }

    pub(crate) fn set(&mut self, algorithm: Algorithm, value: String) {
        let slot = match algorithm {
            Algorithm::Crc32 => &mut self.crc32,
            Algorithm::Crc32c => &mut self.crc32c,
            Algorithm::Crc64Nvme => &mut self.crc64nvme,
            Algorithm::Sha1 => &mut self.sha1,
            Algorithm::Sha256 => &mut self.sha256,
        };
        *slot = Some(value);
    }

    /// The algorithms that have a value.
    pub(crate) fn present(&self) -> impl Iterator<Item = (Algorithm, &str)> {
        Algorithm::ALL.into_iter().filter_map(|a| Some((a, self.get(a)?)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present().next().is_none()
    }

    /// Refuses content whose `computed` checksums are not the ones promised here.
    pub(crate) fn verify(&self, computed: &Self) -> Result<(), S3Error> {
        for (algorithm, promised) in self.present() {
            if computed.get(algorithm) != Some(promised) {
                return Err(s3_error!(
                    BadDigest,
                    "The {} you specified did not match the calculated checksum.",
                    algorithm.name()
                ));
            }
        }
        Ok(())
    }
}

/// Collects the `checksum_*` fields that s3s's inputs have in common.
macro_rules! checksums_of {
    ($input:expr) => {
        $crate::checksum::Checksums {
            crc32: $input.checksum_crc32.clone(),
            crc32c: $input.checksum_crc32c.clone(),
            crc64nvme: $input.checksum_crc64nvme.clone(),
            sha1: $input.checksum_sha1.clone(),
            sha256: $input.checksum_sha256.clone(),
        }
    };
}
pub(crate) use checksums_of;

/// Builds an s3s output with the `checksum_*` fields they have in common.
macro_rules! with_checksums {
    ($output:ident { $($field:tt)* }, $checksums:expr) => {{
        let checksums: $crate::checksum::Checksums = $checksums;
        $output {
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            $($field)*
        }
    }};
}
pub(crate) use with_checksums;

/// MD5 and any of the additional checksums, in one pass.
pub(crate) struct Hashes {
    md5: Md5,
    crc32: Option<crc32fast::Hasher>,
    crc32c: Option<u32>,
    crc64nvme: Option<Crc64Nvme>,
    sha1: Option<Sha1>,
    sha256: Option<Sha256>,
}

impl Hashes {
    pub(crate) fn new(algorithms: &[Algorithm]) -> Self {
        let wants = |a| algorithms.contains(&a);
        Self {
            md5: Md5::new(),
            crc32: wants(Algorithm::Crc32).then(crc32fast::Hasher::new),
            crc32c: wants(Algorithm::Crc32c).then_some(0),
            crc64nvme: wants(Algorithm::Crc64Nvme).then(Crc64Nvme::new),
            sha1: wants(Algorithm::Sha1).then(Sha1::new),
            sha256: wants(Algorithm::Sha256).then(Sha256::new),
        }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        if let Some(h) = &mut self.crc32 {
            h.update(data);
        }
        if let Some(crc) = &mut self.crc32c {
            *crc = crc32c::crc32c_append(*crc, data);
        }
        if let Some(h) = &mut self.crc64nvme {
            h.update(data);
        }
        if let Some(h) = &mut self.sha1 {
            h.update(data);
        }
        if let Some(h) = &mut self.sha256 {
            h.update(data);
        }
    }

    /// The MD5 and the additional checksums.
    pub(crate) fn finish(self) -> ([u8; 16], Checksums) {
        let checksums = Checksums {
            crc32: self.crc32.map(|h| STANDARD.encode(h.finalize().to_be_bytes())),
            crc32c: self.crc32c.map(|crc| STANDARD.encode(crc.to_be_bytes())),
            crc64nvme: self.crc64nvme.map(|h| STANDARD.encode(h.finalize())),
            sha1: self.sha1.map(|h| STANDARD.encode(h.finalize())),
            sha256: self.sha256.map(|h| STANDARD.encode(h.finalize())),
        };
        (self.md5.finalize().into(), checksums)
    }
}

/// The ETag of a multipart object: the MD5 of its parts' MD5s, and their number.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
pub(crate) fn multipart_etag(parts: &[[u8; 16]]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

/// The checksum of a multipart object as S3 composes it: the checksum of its parts' checksums, and
/// their number. `None` if a part has none.
pub(crate) fn composite(algorithm: Algorithm, parts: &[&Checksums]) -> Option<String> {
    let mut hashes = Hashes::new(&[algorithm]);
    for part in parts {
        hashes.update(&STANDARD.decode(part.get(algorithm)?).ok()?);
    }
    let (_, checksums) = hashes.finish();
    Some(format!("{}-{}", checksums.get(algorithm)?, parts.len()))
}

/// The CRC of a multipart object's content, from the CRCs and sizes of its parts. `None` if a part
/// has none, or if `algorithm` is no CRC.
pub(crate) fn full_object(algorithm: Algorithm, parts: &[(&Checksums, u64)]) -> Option<String> {
    let crc = combine::Crc::of(algorithm)?;
    let mut whole = 0;
    for (checksums, size) in parts {
        let bytes = STANDARD.decode(checksums.get(algorithm)?).ok()?;
        let part = bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        whole = crc.combine(whole, part, *size);
    }
    let bytes = whole.to_be_bytes();
    Some(STANDARD.encode(&bytes[8 - crc.width() as usize / 8..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: Algorithm, data: &[u8]) -> Checksums {
        let mut hashes = Hashes::new(&[algorithm]);
        hashes.update(data);
        hashes.finish().1
    }

    #[test]
    fn known_values() {
        // The "check" values of the CRC catalogue and RFC 3174/6234, over "123456789".
        let check = |a| of(a, b"123456789").get(a).map(|s| hex::encode(STANDARD.decode(s).unwrap()));
        assert_eq!(check(Algorithm::Crc32).unwrap(), "cbf43926");
        assert_eq!(check(Algorithm::Crc32c).unwrap(), "e3069283");
        assert_eq!(check(Algorithm::Crc64Nvme).unwrap(), "ae8b14860a799888");
        assert_eq!(check(Algorithm::Sha1).unwrap(), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
    }

    #[test]
    fn crcs_of_parts_join_into_that_of_the_whole() {
        let data: Vec<u8> = (0..10_007u32).map(|i| (i * 31 % 251) as u8).collect();
        for algorithm in Algorithm::ALL.into_iter().filter(|a| a.is_crc()) {
            let parts: Vec<_> = data.chunks(3_000).map(|c| (of(algorithm, c), c.len() as u64)).collect();
            let refs: Vec<_> = parts.iter().map(|(c, n)| (c, *n)).collect();
            assert_eq!(full_object(algorithm, &refs).as_deref(), of(algorithm, &data).get(algorithm));
        }
        assert_eq!(full_object(Algorithm::Sha1, &[]), None);
    }

    #[test]
    fn a_wrong_or_missing_checksum_is_refused() {
        let good = of(Algorithm::Crc32c, b"a");
        assert!(good.verify(&good).is_ok());
        assert!(good.verify(&of(Algorithm::Crc32c, b"b")).is_err());
        assert!(good.verify(&Checksums::default()).is_err());
    }
}
