//! The auth service: users, passwords, sessions, tokens, signing keys.
//!
//! The database is the truth about sessions. The session_cache, which the gateway asks on every call, is told after the
//! database and may forget; [`SERVICES`]' internal half, `SessionService`, puts back what it forgot.

mod account;
mod config;
mod cookie;
mod error;
mod password;
mod refresh_token;
mod rotation;
mod service;
mod session_service;
mod sessions;
mod store;
pub mod token;

use std::sync::Arc;

use reelmill_platform::{clock::Clock, shared_state::SessionCache};
use reelmill_proto::auth::{
    auth_service_server::AuthServiceServer, session_service_server::SessionServiceServer,
};
use tonic::service::Routes;

pub use config::{AuthConfig, PasswordHashing};
pub use error::AuthError;
pub use token::{generate_signing_key, public_key};

use password::Hasher;
use service::AuthRpc;
use session_service::SessionRpc;
use sessions::Sessions;
use store::Store;
use token::SigningKey;

/// The services that [`Auth::routes`] serves.
pub const SERVICES: &[&str] = &["reelmill.auth.v1.AuthService", "reelmill.auth.v1.SessionService"];

/// The auth role. Clones share everything.
#[derive(Clone)]
pub struct Auth {
    rpc: AuthRpc,
}

impl Auth {
    /// Opens and migrates the database, and reads the signing key.
    ///
    /// # Errors
    /// A key or hashing cost that can't be used, or a database that can't be opened.
    pub async fn open(
        config: AuthConfig,
        session_cache: Arc<dyn SessionCache>,
        clock: Clock,
    ) -> Result<Self, AuthError> {
        let key = SigningKey::from_pem(&config.signing_key_pem)?;
        let hasher = Hasher::new(config.password_hashing).await?;
        let store = Store::open(&config.database_url).await?;
        let key_since = store.signing_key_since(key.kid(), clock.now_millis()).await?;
        let lifetimes = sessions::Lifetimes {
            access_token: config.access_token_ttl,
            refresh_token: config.refresh_token_ttl,
        };
        let sessions = Sessions::new(store.clone(), session_cache, key, clock.clone(), lifetimes);
        Ok(Self { rpc: AuthRpc { store, sessions, hasher, clock, key_since } })
    }

    /// The services, to be served by `reelmill_mesh::server::serve`.
    pub fn routes(&self) -> Routes {
        let sessions = SessionRpc { sessions: self.rpc.sessions.clone() };
        Routes::new(AuthServiceServer::new(self.rpc.clone())).add_service(SessionServiceServer::new(sessions))
    }
}
