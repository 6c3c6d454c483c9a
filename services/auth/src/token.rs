//! Access tokens: JWTs signed with Ed25519 (RFC 8037), verified by anyone who knows the public key.

use aws_lc_rs::{
    digest,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};

use crate::AuthError;

/// The `iss` of every access token.
pub const ISSUER: &str = "reelmill";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// Columns of base64 in PEM (RFC 7468, section 2).
const PEM_COLUMNS: usize = 64;

/// What an access token says. The header says `alg` EdDSA and which key signed it, `kid`: the first 16
/// hexadecimal digits of the SHA-256 of the raw public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Who issued it: [`ISSUER`].
    pub iss: String,
    /// Bare id of the user.
    pub sub: String,
    /// Bare id of the session.
    pub sid: String,
    /// Names this token.
    pub jti: String,
    /// When it was issued, in Unix seconds.
    pub iat: i64,
    /// When it ends, in Unix seconds.
    pub exp: i64,
}

/// The key that signs access tokens.
#[derive(Clone)]
pub(crate) struct SigningKey {
    kid: String,
    public_key: Vec<u8>,
    encoding: EncodingKey,
}

impl SigningKey {
    /// Reads PKCS#8 in PEM.
    pub fn from_pem(pem: &str) -> Result<Self, AuthError> {
        let der = der_of(pem)?;
        let pair =
            Ed25519KeyPair::from_pkcs8(&der).map_err(|error| AuthError::SigningKey(error.to_string()))?;
        let public_key = pair.public_key().as_ref().to_vec();
        let kid = kid_of(&public_key);
        Ok(Self { kid, public_key, encoding: EncodingKey::from_ed_der(&der) })
    }

    /// Names the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The raw 32 bytes.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Signs an access token.
    pub fn sign(&self, claims: &AccessClaims) -> Result<String, AuthError> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(AuthError::internal)
    }
}

/// Makes a signing key: PKCS#8 in PEM, as OpenSSL writes it.
///
/// # Panics
/// When the system has no random bytes.
pub fn generate_signing_key() -> String {
    let pair = Ed25519KeyPair::generate().expect("the system has random bytes");
    let der = pair.to_pkcs8v1().expect("a new key can be written down");
    let base64 = STANDARD.encode(der.as_ref());
    let mut pem = format!("{PEM_BEGIN}\n");
    for line in base64.as_bytes().chunks(PEM_COLUMNS) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + PEM_END + "\n"
}

/// The raw 32-byte public key of a signing key.
///
/// # Errors
/// [`AuthError::SigningKey`] when it is no Ed25519 key as PKCS#8 in PEM.
pub fn public_key(signing_key_pem: &str) -> Result<Vec<u8>, AuthError> {
    SigningKey::from_pem(signing_key_pem).map(|key| key.public_key)
}

fn kid_of(public_key: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public_key);
    hex::encode(&hash.as_ref()[..8])
}

fn der_of(pem: &str) -> Result<Vec<u8>, AuthError> {
    let (_, rest) =
        pem.split_once(PEM_BEGIN).ok_or_else(|| AuthError::SigningKey(format!("no `{PEM_BEGIN}`")))?;
    let (body, _) =
        rest.split_once(PEM_END).ok_or_else(|| AuthError::SigningKey(format!("no `{PEM_END}`")))?;
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
    fn a_key_of_the_rfc_is_read() {
        assert_eq!(hex::encode(public_key(RFC_KEY).unwrap()), RFC_PUBLIC);
        assert_eq!(public_key(&RFC_KEY.replace('\n', "\r\n")).unwrap().len(), 32);
    }

    #[test]
    fn generated_keys_are_read_and_differ() {
        let (one, two) = (generate_signing_key(), generate_signing_key());
        assert_ne!(public_key(&one).unwrap(), public_key(&two).unwrap());
        assert!(one.lines().all(|line| line.len() <= PEM_COLUMNS) && one.ends_with("-----\n"));
    }

    #[test]
    fn other_keys_are_refused() {
        let no_key = format!("{PEM_BEGIN}\nAAAA\n{PEM_END}");
        let no_base64 = format!("{PEM_BEGIN}\n!\n{PEM_END}");
        for bad in ["", "secret", PEM_BEGIN, &no_key, &no_base64, &RFC_KEY.replace("PRIVATE", "PUBLIC")] {
            assert!(matches!(public_key(bad), Err(AuthError::SigningKey(_))), "{bad}");
        }
    }
}
