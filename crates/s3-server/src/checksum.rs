//! S3's additional checksums: their algorithms, their kinds, and their values on the wire.

use s3s::{
    S3Error,
    dto::{ChecksumAlgorithm, ChecksumType},
    s3_error,
};
use serde::{Deserialize, Serialize};

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

    /// The header or trailer that carries the checksum.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The algorithm of a name, in any case. `None` if it is unknown.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// Parses the name in a request.
    pub(crate) fn parse(name: &str) -> Result<Self, S3Error> {
        Self::from_name(name).ok_or_else(|| s3_error!(InvalidRequest, "The checksum algorithm is not known."))
    }

    /// True for CRCs: only these can be combined into the checksum of the whole object.
    pub(crate) fn is_crc(self) -> bool {
        matches!(self, Self::Crc32 | Self::Crc32c | Self::Crc64Nvme)
    }
}

impl From<Algorithm> for ChecksumAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        Self::from_static(algorithm.name())
    }
}

/// What an object's checksum covers.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChecksumKind {
    /// The checksums of the parts.
    Composite,
    /// The content.
    FullObject,
}

impl ChecksumKind {
    /// The name in `x-amz-checksum-type`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Composite => ChecksumType::COMPOSITE,
            Self::FullObject => ChecksumType::FULL_OBJECT,
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Composite, Self::FullObject].into_iter().find(|kind| kind.name() == name)
    }
}

impl From<ChecksumKind> for ChecksumType {
    fn from(kind: ChecksumKind) -> Self {
        Self::from_static(kind.name())
    }
}

/// A value for each algorithm that was given or computed, in base64 as on the wire.
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
        Algorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, self.get(algorithm)?)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present().next().is_none()
    }

    /// Rejects content whose `computed` checksums differ from the declared ones, `self`.
    pub(crate) fn verify(&self, computed: &Self) -> Result<(), S3Error> {
        for (algorithm, declared) in self.present() {
            if computed.get(algorithm) != Some(declared) {
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

/// Builds an s3s output with the `checksum_*` fields that outputs have in common.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn crc32c(value: &str) -> Checksums {
        Checksums { crc32c: Some(value.to_owned()), ..Default::default() }
    }

    #[test]
    fn verify_equal_checksum_succeeds() {
        assert!(crc32c("wdBDMA==").verify(&crc32c("wdBDMA==")).is_ok());
    }

    #[test]
    fn verify_different_or_missing_checksum_returns_error() {
        assert!(crc32c("wdBDMA==").verify(&crc32c("AAAAAA==")).is_err());
        assert!(crc32c("wdBDMA==").verify(&Checksums::default()).is_err());
    }
}
