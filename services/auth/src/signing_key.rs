//! The Ed25519 key that signs access tokens (RFC 8037).

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::EncodingKey;

use crate::error::AuthError;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// Base64 characters in a line of PEM (RFC 7468, section 2).
const PEM_LINE_CHARS: usize = 64;
/// Bytes of the public key's SHA-256 that make up the `kid`.
const KID_BYTES: usize = 8;

/// The key that signs access tokens.
#[derive(Clone)]
pub(crate) struct SigningKey {
    kid: String,
    public_key: Vec<u8>,
    encoding: EncodingKey,
}

impl SigningKey {
    /// Parses PKCS#8 in PEM.
    pub fn from_pem(pem: &str) -> Result<Self, AuthError> {
        let der = der_of(pem)?;
        let pair =
            Ed25519KeyPair::from_pkcs8(&der).map_err(|error| AuthError::SigningKey(error.to_string()))?;
        let public_key = pair.public_key().as_ref().to_vec();
        let kid = kid_of(&public_key);
        Ok(Self { kid, public_key, encoding: EncodingKey::from_ed_der(&der) })
    }

    /// Key id: the first 16 hexadecimal digits of the SHA-256 of the raw public key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The raw public key, 32 bytes.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The key in the form that signs JWTs.
    pub fn encoding(&self) -> &EncodingKey {
        &self.encoding
    }
}

/// Generates a signing key: PKCS#8 in PEM, as OpenSSL writes it.
///
/// # Panics
/// If the system has no random bytes.
pub fn generate_signing_key() -> String {
    let pair = Ed25519KeyPair::generate().expect("the system has random bytes");
    let der = pair.to_pkcs8v1().expect("a generated key can be encoded");
    let base64 = STANDARD.encode(der.as_ref());
    let mut pem = format!("{PEM_BEGIN}\n");
    for line in base64.as_bytes().chunks(PEM_LINE_CHARS) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + PEM_END + "\n"
}

/// The raw 32-byte public key of a signing key.
///
/// # Errors
/// [`AuthError::SigningKey`] if it is not an Ed25519 key as PKCS#8 in PEM.
pub fn public_key(signing_key_pem: &str) -> Result<Vec<u8>, AuthError> {
    SigningKey::from_pem(signing_key_pem).map(|key| key.public_key)
}

fn kid_of(public_key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public_key);
    hex::encode(&hash.as_ref()[..KID_BYTES])
}

fn der_of(pem: &str) -> Result<Vec<u8>, AuthError> {
    let missing = |line: &str| AuthError::SigningKey(format!("`{line}` is missing"));
    let (_, rest) = pem.split_once(PEM_BEGIN).ok_or_else(|| missing(PEM_BEGIN))?;
    let (body, _) = rest.split_once(PEM_END).ok_or_else(|| missing(PEM_END))?;
    let base64: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(base64).map_err(|error| AuthError::SigningKey(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.3, with the public key of section 10.1.
    const RFC_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const RFC_PUBLIC: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

    #[test]
    fn public_key_of_rfc_example_returns_its_key() {
        assert_eq!(hex::encode(public_key(RFC_KEY).unwrap()), RFC_PUBLIC);
        assert_eq!(public_key(&RFC_KEY.replace('\n', "\r\n")).unwrap().len(), 32);
    }

    #[test]
    fn generate_signing_key_returns_valid_distinct_keys() {
        let (one, two) = (generate_signing_key(), generate_signing_key());
        assert_ne!(public_key(&one).unwrap(), public_key(&two).unwrap());
        assert!(one.lines().all(|line| line.len() <= PEM_LINE_CHARS) && one.ends_with("-----\n"));
    }

    #[test]
    fn public_key_of_invalid_key_returns_error() {
        let not_a_key = format!("{PEM_BEGIN}\nAAAA\n{PEM_END}");
        let not_base64 = format!("{PEM_BEGIN}\n!\n{PEM_END}");
        for invalid in
            ["", "secret", PEM_BEGIN, &not_a_key, &not_base64, &RFC_KEY.replace("PRIVATE", "PUBLIC")]
        {
            assert!(matches!(public_key(invalid), Err(AuthError::SigningKey(_))), "{invalid}");
        }
    }
}
