//! Access tokens: JWTs signed with Ed25519 (RFC 8037). Everyone with the public key can verify them.

use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};

use crate::{error::AuthError, signing_key::SigningKey};

/// The `iss` of every access token.
pub const ISSUER: &str = "reelmill";

/// Claims of an access token. The header has `alg` EdDSA and the `kid` of the signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Issuer: [`ISSUER`].
    pub iss: String,
    /// Subject: id of the user.
    pub sub: String,
    /// Id of the session.
    pub sid: String,
    /// Token id.
    pub jti: String,
    /// Issue time, Unix seconds.
    pub iat: i64,
    /// Expiry, Unix seconds.
    pub exp: i64,
}

/// Signs an access token.
pub(crate) fn sign(key: &SigningKey, claims: &AccessClaims) -> Result<String, AuthError> {
    let header = Header { kid: Some(key.kid().to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, key.encoding()).map_err(AuthError::internal)
}
