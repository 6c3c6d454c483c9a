//! Signed, expiring tokens that authorise reading all object keys under a prefix, short enough for a URL path.
//!
//! A playback URL has the token as a path segment, so that the relative URLs in playlists inherit it.
//!
//! ```text
//! token   = base64url(payload) "." base64url(tag)
//! payload = expiry (Unix seconds, 8 bytes, big-endian), then prefix (UTF-8)
//! tag     = first 16 bytes of HMAC-SHA-256(secret, payload)
//! ```
//!
//! RFC 2104 section 5 allows the truncation of the tag.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const TAG_BYTES: usize = 16;
const EXPIRY_BYTES: usize = 8;

/// Why a token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedPathError {
    /// Not in the format of a token.
    #[error("not a playback token")]
    Malformed,
    /// Not signed with this secret, or modified.
    #[error("the playback token's signature does not match")]
    Forged,
    /// Expired.
    #[error("the playback token has expired")]
    Expired,
}

/// Signs prefixes and verifies tokens with one secret.
#[derive(Clone)]
pub struct PrefixSigner {
    keyed: Hmac<Sha256>,
}

impl PrefixSigner {
    /// A signer with `secret`, which should be at least 32 random bytes and the same in every replica.
    pub fn new(secret: &[u8]) -> Self {
        // HMAC accepts keys of any length; the error is for other MACs.
        let keyed =
            Hmac::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC accepts any key length"));
        Self { keyed }
    }

    /// A token for every key under `prefix` until `expires_unix` (Unix seconds, exclusive).
    pub fn sign(&self, prefix: &str, expires_unix: u64) -> String {
        let mut payload = expires_unix.to_be_bytes().to_vec();
        payload.extend_from_slice(prefix.as_bytes());
        let tag = self.keyed.clone().chain_update(&payload).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(&tag[..TAG_BYTES]))
    }

    /// The prefix that `token` was signed for. The signature is compared in constant time, before the expiry is checked.
    pub fn verify(&self, token: &str, now_unix: u64) -> Result<String, SignedPathError> {
        let (payload, tag) = token.split_once('.').ok_or(SignedPathError::Malformed)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| SignedPathError::Malformed)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| SignedPathError::Malformed)?;
        let (expiry, prefix) =
            payload.split_first_chunk::<EXPIRY_BYTES>().ok_or(SignedPathError::Malformed)?;
        if tag.len() != TAG_BYTES {
            return Err(SignedPathError::Malformed);
        }
        self.keyed
            .clone()
            .chain_update(&payload)
            .verify_truncated_left(&tag)
            .map_err(|_| SignedPathError::Forged)?;
        if now_unix >= u64::from_be_bytes(*expiry) {
            return Err(SignedPathError::Expired);
        }
        String::from_utf8(prefix.to_vec()).map_err(|_| SignedPathError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> PrefixSigner {
        PrefixSigner::new(b"a secret of the tests, thirty-two")
    }

    #[test]
    fn verify_returns_the_prefix_until_expiry() {
        let token = signer().sign("videos/ä/hls/", 100);
        assert_eq!(signer().verify(&token, 99), Ok("videos/ä/hls/".to_owned()));
        assert_eq!(signer().verify(&token, 100), Err(SignedPathError::Expired));
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
    }

    #[test]
    fn verify_rejects_another_secret_and_any_changed_byte() {
        let token = signer().sign("videos/a/", 100);
        assert_eq!(PrefixSigner::new(b"another").verify(&token, 1), Err(SignedPathError::Forged));
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII stays ASCII");
            assert!(signer().verify(&changed, 1).is_err(), "byte {index}");
        }
    }

    #[test]
    fn verify_of_an_expired_forgery_is_forged() {
        let token = PrefixSigner::new(b"another").sign("videos/a/", 100);
        assert_eq!(signer().verify(&token, 1_000), Err(SignedPathError::Forged));
    }

    #[test]
    fn verify_of_other_text_is_malformed() {
        let valid = signer().sign("p", 100);
        let (payload, _) = valid.split_once('.').expect("two parts");
        for token in
            ["", ".", "a", "a.b", "!!.!!", payload, &format!("{payload}.AAAA"), &format!("{payload}.")]
        {
            assert_eq!(signer().verify(token, 1), Err(SignedPathError::Malformed), "{token:?}");
        }
    }
}
