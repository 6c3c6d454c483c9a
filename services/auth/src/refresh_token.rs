//! Refresh tokens: `{jti}.{secret}`. The database stores the jti and a hash of the secret, so that reading it does not
//! allow refreshing.

use aws_lc_rs::{constant_time, digest, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    domain::id::{is_id, new_id},
    error::AuthError,
};

const SECRET_BYTES: usize = 32;
const JTI_BYTES: usize = 16;

/// A newly issued refresh token.
pub(crate) struct RefreshToken {
    /// Token id.
    pub jti: String,
    secret: String,
}

/// A refresh token presented by a client.
pub(crate) struct PresentedToken<'a> {
    /// Token id.
    pub jti: &'a str,
    secret: &'a str,
}

impl RefreshToken {
    /// Generates a token with 256 random bits.
    pub fn generate() -> Result<Self, AuthError> {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret)
            .map_err(|_| AuthError::internal("the system has no random bytes"))?;
        Ok(Self { jti: new_id(), secret: URL_SAFE_NO_PAD.encode(secret) })
    }

    /// The successor of a presented token: the same for the same `request_id`, and computable only with both, so that a
    /// repeated exchange returns the token whose response was lost, and the database need not store it.
    pub fn successor(presented: &PresentedToken<'_>, request_id: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, presented.secret.as_bytes());
        let derive =
            |what: &str| hmac::sign(&key, format!("{what} of the successor: {request_id}").as_bytes());
        Self {
            jti: hex::encode(&derive("jti").as_ref()[..JTI_BYTES]),
            secret: URL_SAFE_NO_PAD.encode(derive("secret")),
        }
    }

    /// The token as sent to the client.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.jti, self.secret)
    }

    /// SHA-256 of the secret, in hexadecimal.
    pub fn secret_hash(&self) -> String {
        hash(&self.secret)
    }
}

impl<'a> PresentedToken<'a> {
    /// Parses a token. `None` if it is malformed.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (jti, secret) = text.split_once('.')?;
        // The limit bounds the cost of hashing.
        (is_id(jti) && secret.len() <= 2 * SECRET_BYTES).then_some(Self { jti, secret })
    }

    /// Whether its secret has the given hash. Compares in constant time.
    pub fn matches(&self, secret_hash: &str) -> bool {
        constant_time::verify_slices_are_equal(hash(self.secret).as_bytes(), secret_hash.as_bytes()).is_ok()
    }
}

fn hash(secret: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_only_its_own_hash() {
        let (token, other) = (RefreshToken::generate().unwrap(), RefreshToken::generate().unwrap());
        let exposed = token.expose();
        let presented = PresentedToken::parse(&exposed).unwrap();
        assert_eq!(presented.jti, token.jti);
        assert!(presented.matches(&token.secret_hash()));
        assert!(!presented.matches(&other.secret_hash()) && !presented.matches(""));
        assert!(!token.secret_hash().contains(&exposed[33..]));
    }

    #[test]
    fn successor_depends_on_the_token_and_the_request() {
        let (token, other) =
            (RefreshToken::generate().unwrap().expose(), RefreshToken::generate().unwrap().expose());
        let successor = |token: &str, request_id: &str| {
            RefreshToken::successor(&PresentedToken::parse(token).unwrap(), request_id).expose()
        };
        let derived = successor(&token, "1");
        assert_eq!(derived, successor(&token, "1"));
        assert!(PresentedToken::parse(&derived).is_some());
        let parts =
            |token: &str| token.split_once('.').map(|(jti, secret)| (jti.to_owned(), secret.to_owned()));
        for different in [successor(&token, "2"), successor(&other, "1"), token.clone()] {
            let (one, two) = (parts(&derived).unwrap(), parts(&different).unwrap());
            assert!(one.0 != two.0 && one.1 != two.1);
        }
    }

    #[test]
    fn parse_malformed_token_returns_none() {
        let jti = new_id();
        for malformed in ["", ".", "x.y", &jti, &format!("{jti}.{}", "x".repeat(65)), "\0.\0"] {
            assert!(PresentedToken::parse(malformed).is_none(), "{malformed:?}");
        }
    }
}
