//! The auth service: users, passwords, sessions, tokens, signing keys.
//!
//! The database is authoritative for sessions. The session cache, which the gateway reads on every call, is written after
//! it and may lose entries; `SessionService` restores them.
//!
//! Calls go from the RPC methods (`auth_service.rs`, `session_service.rs`) through `sessions.rs` and
//! `password_sign_in.rs` to the rules in `domain` and the queries in `db`.

mod access_token;
mod auth_service;
mod config;
mod db;
mod domain;
mod error;
mod messages;
mod password_hasher;
mod password_sign_in;
mod refresh_cookie;
mod refresh_token;
mod session_cache_writer;
mod session_service;
mod sessions;
mod signing_key;

use std::sync::Arc;

use reelmill_platform::{clock::Clock, shared_state::SessionCache};
use reelmill_proto::auth::{
    auth_service_server::AuthServiceServer, session_service_server::SessionServiceServer,
};
use tonic::service::Routes;

pub use access_token::{AccessClaims, ISSUER};
pub use config::{AuthConfig, PasswordHashing};
pub use error::AuthError;
pub use signing_key::{generate_signing_key, public_key};

use auth_service::AuthRpc;
use db::Db;
use password_hasher::PasswordHasher;
use password_sign_in::PasswordSignIn;
use session_cache_writer::SessionCacheWriter;
use session_service::SessionRpc;
use sessions::{Sessions, TokenLifetimes};
use signing_key::SigningKey;

/// Full names of the services in [`Auth::routes`].
pub const SERVICES: &[&str] = &["reelmill.auth.v1.AuthService", "reelmill.auth.v1.SessionService"];

/// The auth service. Clones share its state.
#[derive(Clone)]
pub struct Auth {
    rpc: AuthRpc,
}

impl Auth {
    /// Opens and migrates the database, and parses the signing key.
    ///
    /// # Errors
    /// An invalid key or hashing cost, or a database that cannot be opened.
    pub async fn open(
        config: AuthConfig,
        session_cache: Arc<dyn SessionCache>,
        clock: Clock,
    ) -> Result<Self, AuthError> {
        let key = SigningKey::from_pem(&config.signing_key_pem)?;
        let hasher = PasswordHasher::new(config.password_hashing).await?;
        let db = Db::open(&config.database_url).await?;
        let key_create_time = db.signing_key_create_time(key.kid(), clock.now_millis()).await?;
        let sessions = Sessions {
            db: db.clone(),
            cache: SessionCacheWriter::new(session_cache, config.access_token_ttl),
            key,
            clock: clock.clone(),
            lifetimes: TokenLifetimes {
                access_token: config.access_token_ttl,
                refresh_token: config.refresh_token_ttl,
            },
        };
        let sign_in = PasswordSignIn { db: db.clone(), hasher: hasher.clone() };
        Ok(Self { rpc: AuthRpc { db, sessions, sign_in, hasher, clock, key_create_time } })
    }

    /// The gRPC services.
    pub fn routes(&self) -> Routes {
        let sessions = SessionRpc { sessions: self.rpc.sessions.clone() };
        Routes::new(AuthServiceServer::new(self.rpc.clone())).add_service(SessionServiceServer::new(sessions))
    }
}
