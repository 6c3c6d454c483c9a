//! Access tokens: JWTs that auth signs with Ed25519.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reelmill_mesh::UserSession;
use reelmill_proto::auth::{ListSigningKeysRequest, SigningKey};
use tokio::sync::Mutex;

use crate::{error::Refused, upstreams::Upstreams};

/// Who signs, as the tokens say it.
const ISSUER: &str = "reelmill";
/// The keys are fetched again for an unknown key ID, but not more often than this.
const REFETCH_AFTER: Duration = Duration::from_secs(5);
/// How long a failure to fetch them is believed.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Tokens are about 300 bytes; longer ones are not looked at.
const MAX_TOKEN_BYTES: usize = 4096;

#[derive(serde::Deserialize)]
struct Claims {
    sub: String,
    sid: String,
    /// Unix seconds.
    exp: i64,
}

/// The public keys, fetched from auth as they are needed.
#[derive(Default)]
pub(crate) struct KeyRing {
    keys: RwLock<HashMap<String, DecodingKey>>,
    fetched: Mutex<Option<Fetch>>,
}

/// The last time the keys were fetched.
struct Fetch {
    at: Instant,
    worked: bool,
}

impl KeyRing {
    /// The user and session that a token speaks for.
    pub(crate) async fn verify(
        &self,
        token: &str,
        now_millis: i64,
        upstreams: &Upstreams,
    ) -> Result<UserSession, Refused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refused::TokenInvalid);
        }
        let header = decode_header(token).map_err(|_| Refused::TokenInvalid)?;
        let kid = header.kid.filter(|_| header.alg == Algorithm::EdDSA).ok_or(Refused::TokenInvalid)?;
        let key = match self.known(&kid) {
            Some(key) => key,
            None => self.fetch(&kid, upstreams).await?,
        };
        let claims = decode::<Claims>(token, &key, &rules()).map_err(|_| Refused::TokenInvalid)?.claims;
        if claims.exp.saturating_mul(1000) <= now_millis {
            return Err(Refused::TokenExpired);
        }
        if !is_id(&claims.sub) || !is_id(&claims.sid) {
            return Err(Refused::TokenInvalid);
        }
        Ok(UserSession { user: claims.sub, session: claims.sid })
    }

    fn known(&self, kid: &str) -> Option<DecodingKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    /// Asks auth for the keys, unless somebody just did. Calls that wait here together ask once.
    async fn fetch(&self, kid: &str, upstreams: &Upstreams) -> Result<DecodingKey, Refused> {
        let mut last = self.fetched.lock().await;
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        match &*last {
            Some(fetch) if fetch.worked && fetch.at.elapsed() < REFETCH_AFTER => {
                return Err(Refused::TokenInvalid);
            }
            Some(fetch) if !fetch.worked && fetch.at.elapsed() < RETRY_AFTER => {
                return Err(Refused::ServiceUnavailable);
            }
            _ => {}
        }
        let answer = upstreams.auth().list_signing_keys(ListSigningKeysRequest {}).await;
        *last = Some(Fetch { at: Instant::now(), worked: answer.is_ok() });
        let listed = answer.map_err(|status| {
            tracing::warn!(cause = status.message(), "the signing keys can't be fetched from auth");
            Refused::ServiceUnavailable
        })?;
        let keys = listed.into_inner().signing_keys;
        let fresh: HashMap<_, _> = keys.into_iter().filter_map(usable).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.known(kid).ok_or(Refused::TokenInvalid)
    }
}

fn usable(key: SigningKey) -> Option<(String, DecodingKey)> {
    let is_ed25519 = key.algorithm == "EdDSA" && key.public_key.len() == 32;
    is_ed25519.then(|| (key.kid, DecodingKey::from_ed_der(&key.public_key)))
}

/// The signature and who signed. The end of the token's time is compared by the gateway's own clock.
fn rules() -> Validation {
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_issuer(&[ISSUER]);
    rules.set_required_spec_claims(&["exp", "iss", "sub"]);
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules
}

/// What may stand in a header of the mesh: no spaces, nothing but an id.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
