//! Password hashing with Argon2id, on blocking threads and with limited concurrency.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{Error as HashError, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::{config::PasswordHashing, error::AuthError};

/// Hashes and verifies passwords. Clones share the concurrency limit.
#[derive(Clone)]
pub(crate) struct PasswordHasher {
    argon2: Argon2<'static>,
    permits: Arc<Semaphore>,
    max_wait: Duration,
    /// Verified for unknown accounts, so that the response takes as long as for known ones.
    dummy_hash: Arc<str>,
}

/// Result of verifying a password.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PasswordCheck {
    pub is_correct: bool,
    /// Whether the hash has another cost than the configured one.
    pub is_outdated: bool,
}

impl PasswordHasher {
    /// Creates a hasher with the given cost.
    pub async fn new(cost: PasswordHashing) -> Result<Self, AuthError> {
        let invalid = |error: argon2::Error| AuthError::PasswordHashing(error.to_string());
        let params =
            Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None).map_err(invalid)?;
        let mut hasher = Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            permits: Arc::new(Semaphore::new(cost.concurrency.max(1))),
            max_wait: cost.max_wait,
            dummy_hash: Arc::from(""),
        };
        hasher.dummy_hash = hasher.hash("no account has this password".to_owned()).await?.into();
        Ok(hasher)
    }

    /// Hashes a password to a PHC string, with a new salt.
    ///
    /// # Errors
    /// [`AuthError::Overloaded`] after the maximum wait.
    pub async fn hash(&self, password: String) -> Result<String, AuthError> {
        let argon2 = self.argon2.clone();
        let hash = self.with_permit(move || argon2.hash_password(password.as_bytes())).await?;
        hash.map(|hash| hash.to_string()).map_err(AuthError::internal)
    }

    /// Verifies a password against a PHC string. Without one it takes as long, and the password is wrong.
    ///
    /// # Errors
    /// [`AuthError::Overloaded`] after the maximum wait.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<PasswordCheck, AuthError> {
        let has_account = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy_hash.to_string());
        let argon2 = self.argon2.clone();
        let check = self.with_permit(move || verify(&argon2, &password, &hash)).await??;
        Ok(PasswordCheck { is_correct: check.is_correct && has_account, ..check })
    }

    async fn with_permit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let permit = tokio::time::timeout(self.max_wait, self.permits.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| AuthError::Overloaded)?.map_err(AuthError::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work ends, even if the caller disconnects.
            let _permit = permit;
            work()
        });
        done.await.map_err(AuthError::internal)
    }
}

fn verify(argon2: &Argon2<'_>, password: &str, hash: &str) -> Result<PasswordCheck, AuthError> {
    let parsed = PasswordHash::new(hash).map_err(AuthError::internal)?;
    let is_correct = match argon2.verify_password(password.as_bytes(), &parsed) {
        Ok(()) => true,
        Err(HashError::PasswordInvalid) => false,
        Err(error) => return Err(AuthError::internal(error)),
    };
    let params = Params::try_from(&parsed).map_err(AuthError::internal)?;
    let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    Ok(PasswordCheck { is_correct, is_outdated: cost(&params) != cost(argon2.params()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordHashing = PasswordHashing {
        memory_kib: 64,
        iterations: 1,
        parallelism: 1,
        concurrency: 1,
        max_wait: Duration::from_secs(60),
    };

    #[tokio::test]
    async fn verify_accepts_only_the_password_of_the_hash() {
        let hasher = PasswordHasher::new(CHEAP).await.unwrap();
        let hash = hasher.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash("correct horse".to_owned()).await.unwrap(), "the salt is not random");
        let verify = async |password: &str, hash: Option<&String>| {
            hasher.verify(password.to_owned(), hash.cloned()).await.unwrap()
        };
        let correct = PasswordCheck { is_correct: true, is_outdated: false };
        assert_eq!(verify("correct horse", Some(&hash)).await, correct);
        assert!(!verify("Correct horse", Some(&hash)).await.is_correct);
        assert!(!verify("no account has this password", None).await.is_correct);
    }

    #[tokio::test]
    async fn verify_hash_of_other_cost_is_correct_and_outdated() {
        let hasher = PasswordHasher::new(CHEAP).await.unwrap();
        let costlier = PasswordHasher::new(PasswordHashing { memory_kib: 128, ..CHEAP }).await.unwrap();
        let hash = hasher.hash("correct horse".to_owned()).await.unwrap();
        let check = costlier.verify("correct horse".to_owned(), Some(hash)).await.unwrap();
        assert_eq!(check, PasswordCheck { is_correct: true, is_outdated: true });
    }

    #[tokio::test]
    async fn hash_without_free_permit_is_overloaded_and_permit_outlives_its_caller() {
        let hasher =
            PasswordHasher::new(PasswordHashing { max_wait: Duration::ZERO, ..CHEAP }).await.unwrap();
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let caller = tokio::spawn({
            let hasher = hasher.clone();
            async move {
                let work = move || {
                    let _ = started.send(());
                    blocked.recv()
                };
                hasher.with_permit(work).await.map(drop)
            }
        });
        running.await.unwrap();
        caller.abort();
        assert!(matches!(hasher.hash("x".to_owned()).await, Err(AuthError::Overloaded)));
        release.send(()).unwrap();
        let freed = tokio::time::timeout(Duration::from_secs(10), hasher.permits.acquire());
        drop(freed.await.expect("the permit is released").unwrap());
        hasher.hash("x".to_owned()).await.unwrap();
    }

    #[tokio::test]
    async fn new_with_invalid_cost_returns_error() {
        let result = PasswordHasher::new(PasswordHashing { memory_kib: 1, ..CHEAP }).await;
        assert!(matches!(result, Err(AuthError::PasswordHashing(_))));
    }
}
