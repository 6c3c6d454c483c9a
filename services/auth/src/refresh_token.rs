//! Refresh tokens: `{jti}.{secret}`. The store keeps the jti and a hash of the secret, so that whoever reads
//! the database can't refresh.

use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{AuthError, account};

const SECRET_BYTES: usize = 32;

/// A new refresh token.
pub(crate) struct RefreshToken {
    /// Names it in the store.
    pub jti: String,
    secret: String,
}

/// A refresh token that somebody shows.
pub(crate) struct ShownToken<'a> {
    /// Names it in the store.
    pub jti: &'a str,
    secret: &'a str,
}

impl RefreshToken {
    /// Makes one of 256 random bits.
    pub fn generate() -> Result<Self, AuthError> {
        let mut secret = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| AuthError::internal("no random bytes"))?;
        Ok(Self { jti: account::new_id(), secret: URL_SAFE_NO_PAD.encode(secret) })
    }

    /// What its holder gets.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.jti, self.secret)
    }

    /// What the store keeps beside the jti: SHA-256 of the secret, in hexadecimal.
    pub fn secret_hash(&self) -> String {
        hash(&self.secret)
    }
}

impl<'a> ShownToken<'a> {
    /// Reads a token's form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (jti, secret) = text.split_once('.')?;
        // Nobody makes us hash megabytes.
        (account::is_id(jti) && secret.len() <= 2 * SECRET_BYTES).then_some(Self { jti, secret })
    }

    /// Whether its secret is the one that was hashed.
    pub fn opens(&self, secret_hash: &str) -> bool {
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
    fn a_token_opens_its_own_hash_only() {
        let (token, other) = (RefreshToken::generate().unwrap(), RefreshToken::generate().unwrap());
        let exposed = token.expose();
        let shown = ShownToken::parse(&exposed).unwrap();
        assert_eq!(shown.jti, token.jti);
        assert!(shown.opens(&token.secret_hash()));
        assert!(!shown.opens(&other.secret_hash()) && !shown.opens(""));
        assert!(!token.secret_hash().contains(&exposed[33..]));
    }

    #[test]
    fn garbage_has_no_form() {
        let jti = account::new_id();
        for bad in ["", ".", "x.y", &jti, &format!("{jti}.{}", "x".repeat(65)), "\0.\0"] {
            assert!(ShownToken::parse(bad).is_none(), "{bad:?}");
        }
    }
}
