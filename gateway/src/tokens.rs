//! Verification of access tokens: JWTs that the auth service signs with Ed25519.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reelmill_mesh::{Channel, UserSession};
use reelmill_platform::clock::Clock;
use reelmill_proto::auth::{ListSigningKeysRequest, SigningKey, auth_service_client::AuthServiceClient};
use tokio::sync::Mutex;

use crate::error::CallError;

/// Issuer of all tokens.
const ISSUER: &str = "reelmill";
/// Minimum time between two key fetches for unknown key ids.
const REFETCH_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Negative-cache time for key fetches.
const FAILED_FETCH_TTL: Duration = Duration::from_millis(500);
/// Tokens of a generation of [`VerifiedTokens`]. 2 generations of 500 bytes each are 8 MB.
const MAX_VERIFIED_TOKENS: usize = 8192;
/// Size limit of a token. Tokens have about 300 bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// Verifies access tokens.
pub(crate) struct TokenVerifier {
    keys: KeyRing,
    verified: VerifiedTokens,
    clock: Clock,
}

#[derive(serde::Deserialize)]
struct Claims {
    sub: String,
    sid: String,
    /// Unix seconds.
    exp: i64,
}

impl TokenVerifier {
    pub(crate) fn new(auth: AuthServiceClient<Channel>, clock: Clock) -> Self {
        let keys = KeyRing { auth, keys: RwLock::default(), last_fetch: Mutex::default() };
        Self { keys, verified: VerifiedTokens::default(), clock }
    }

    /// The user and session of a token. Whether the session has ended is not checked.
    pub(crate) async fn verify(&self, token: &str) -> Result<UserSession, CallError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(CallError::TokenInvalid);
        }
        let now_millis = self.clock.now_millis();
        if let Some(verified) = self.verified.get(token)
            && self.keys.cached(&verified.kid).is_some()
        {
            return verified.at(now_millis);
        }
        let header = decode_header(token).map_err(|_| CallError::TokenInvalid)?;
        let kid = header.kid.filter(|_| header.alg == Algorithm::EdDSA).ok_or(CallError::TokenInvalid)?;
        let key = self.keys.get(&kid).await?;
        let claims =
            decode::<Claims>(token, &key, &validation()).map_err(|_| CallError::TokenInvalid)?.claims;
        if !is_id(&claims.sub) || !is_id(&claims.sid) {
            return Err(CallError::TokenInvalid);
        }
        let user = UserSession { user: claims.sub, session: claims.sid };
        let verified = Verified { user, kid, expire_millis: claims.exp.saturating_mul(1000) };
        let result = verified.at(now_millis);
        if result.is_ok() {
            self.verified.insert(token, verified);
        }
        result
    }
}

/// A token whose signature was verified.
#[derive(Clone)]
struct Verified {
    user: UserSession,
    /// The key, which must still be one.
    kid: String,
    expire_millis: i64,
}

impl Verified {
    fn at(&self, now_millis: i64) -> Result<UserSession, CallError> {
        if self.expire_millis <= now_millis { Err(CallError::TokenExpired) } else { Ok(self.user.clone()) }
    }
}

/// Tokens that were verified a short while ago: the signature is most of what a call costs. Only the signature is
/// remembered. Whether the token has expired, or its session has ended, is checked for each call.
#[derive(Default)]
struct VerifiedTokens {
    generations: std::sync::Mutex<Generations>,
}

/// Those of the present and of the previous generation; each has at most [`MAX_VERIFIED_TOKENS`].
#[derive(Default)]
struct Generations {
    present: HashMap<String, Verified>,
    previous: HashMap<String, Verified>,
}

impl VerifiedTokens {
    fn get(&self, token: &str) -> Option<Verified> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verified) = generations.present.get(token) {
            return Some(verified.clone());
        }
        let (token, verified) = generations.previous.remove_entry(token)?;
        generations.insert(token, verified.clone());
        Some(verified)
    }

    fn insert(&self, token: &str, verified: Verified) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.insert(token.to_owned(), verified);
    }
}

impl Generations {
    fn insert(&mut self, token: String, verified: Verified) {
        if self.present.len() >= MAX_VERIFIED_TOKENS {
            self.previous = std::mem::take(&mut self.present);
        }
        self.present.insert(token, verified);
    }
}

/// The auth service's public keys, fetched when a token names an unknown one.
struct KeyRing {
    auth: AuthServiceClient<Channel>,
    keys: RwLock<HashMap<String, DecodingKey>>,
    last_fetch: Mutex<Option<Fetch>>,
}

/// Time and result of a key fetch.
struct Fetch {
    at: Instant,
    succeeded: bool,
}

impl KeyRing {
    async fn get(&self, kid: &str) -> Result<DecodingKey, CallError> {
        match self.cached(kid) {
            Some(key) => Ok(key),
            None => self.fetch(kid).await,
        }
    }

    fn cached(&self, kid: &str) -> Option<DecodingKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    /// Fetches the keys, unless another call has just done so. Concurrent calls share one fetch.
    async fn fetch(&self, kid: &str) -> Result<DecodingKey, CallError> {
        let mut last_fetch = self.last_fetch.lock().await;
        if let Some(key) = self.cached(kid) {
            return Ok(key);
        }
        match &*last_fetch {
            Some(fetch) if fetch.succeeded && fetch.at.elapsed() < REFETCH_INTERVAL_MIN => {
                return Err(CallError::TokenInvalid);
            }
            Some(fetch) if !fetch.succeeded && fetch.at.elapsed() < FAILED_FETCH_TTL => {
                return Err(CallError::ServiceUnavailable);
            }
            _ => {}
        }
        let response = self.auth.clone().list_signing_keys(ListSigningKeysRequest {}).await;
        *last_fetch = Some(Fetch { at: Instant::now(), succeeded: response.is_ok() });
        let response = response.map_err(|status| {
            tracing::warn!(
                cause = status.message(),
                "fetching the signing keys from the auth service failed"
            );
            CallError::ServiceUnavailable
        })?;
        let keys = response.into_inner().signing_keys;
        let keys: HashMap<_, _> = keys.into_iter().filter_map(decoding_key).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.cached(kid).ok_or(CallError::TokenInvalid)
    }
}

/// The key and its id. `None` for algorithms other than Ed25519.
fn decoding_key(key: SigningKey) -> Option<(String, DecodingKey)> {
    let is_ed25519 = key.algorithm == "EdDSA" && key.public_key.len() == 32;
    is_ed25519.then(|| (key.kid, DecodingKey::from_ed_der(&key.public_key)))
}

/// Checks signature and issuer. Expiry is compared with the injected clock instead.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "sub"]);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// Whether the text can be an id in a header between roles: no spaces, no control characters.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
