//! Access tokens as the auth service signs them.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reelmill_proto::auth::SigningKey;

/// A signing key.
pub struct TokenSigner {
    pub kid: String,
    pair: Ed25519KeyPair,
}

#[derive(serde::Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    sid: &'a str,
    exp: i64,
}

impl TokenSigner {
    pub fn new(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Ed25519KeyPair::generate().unwrap() }
    }

    pub fn public_key(&self) -> SigningKey {
        SigningKey {
            kid: self.kid.clone(),
            algorithm: "EdDSA".to_owned(),
            public_key: self.pair.public_key().as_ref().to_vec(),
            create_time: None,
        }
    }

    /// A token that expires in `seconds`, which may be negative.
    pub fn token(&self, user: &str, session: &str, seconds: i64) -> String {
        self.token_of_issuer("reelmill", user, session, seconds)
    }

    pub fn token_of_issuer(&self, issuer: &str, user: &str, session: &str, seconds: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = Claims { iss: issuer, sub: user, sid: session, exp: now as i64 + seconds };
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let key = EncodingKey::from_ed_der(self.pair.to_pkcs8v1().unwrap().as_ref());
        encode(&header, &claims, &key).unwrap()
    }
}
