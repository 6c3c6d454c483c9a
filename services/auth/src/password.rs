//! Hashing passwords with Argon2id, off the async threads and a few at a time.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{Error as HashError, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use crate::{AuthError, PasswordHashing};

/// Hashes and verifies passwords. Clones share their turns.
#[derive(Clone)]
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    longest_wait: std::time::Duration,
    /// Verified against where there is no account, so that the answer takes as long.
    dummy: Arc<str>,
}

/// What verifying a password found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether it is the right one.
    pub right: bool,
    /// Whether the hash was made with another cost than is configured now.
    pub outdated: bool,
}

impl Hasher {
    /// Prepares to hash at a given cost.
    pub async fn new(cost: PasswordHashing) -> Result<Self, AuthError> {
        let unusable = |error: argon2::Error| AuthError::PasswordHashing(error.to_string());
        let params =
            Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None).map_err(unusable)?;
        let mut hasher = Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            turns: Arc::new(Semaphore::new(cost.concurrency.max(1))),
            longest_wait: cost.longest_wait,
            dummy: Arc::from(""),
        };
        hasher.dummy = hasher.hash("no account has this password".to_owned()).await?.into();
        Ok(hasher)
    }

    /// Hashes a password into a PHC string, with a salt of its own.
    ///
    /// # Errors
    /// [`AuthError::Overloaded`] when too many wait.
    pub async fn hash(&self, password: String) -> Result<String, AuthError> {
        let argon2 = self.argon2.clone();
        let hash = self.in_turn(move || argon2.hash_password(password.as_bytes())).await?;
        hash.map(|hash| hash.to_string()).map_err(AuthError::internal)
    }

    /// Verifies a password against a PHC string; where there is none it takes as long and is wrong.
    ///
    /// # Errors
    /// [`AuthError::Overloaded`] when too many wait.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<Verdict, AuthError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy.to_string());
        let argon2 = self.argon2.clone();
        let verdict = self.in_turn(move || verify(&argon2, &password, &hash)).await??;
        Ok(Verdict { right: verdict.right && known, ..verdict })
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AuthError> {
        let turn = tokio::time::timeout(self.longest_wait, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| AuthError::Overloaded)?.map_err(AuthError::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            // The turn goes with the work: a caller that gives up does not let another one in early.
            let _turn = turn;
            work()
        });
        done.await.map_err(AuthError::internal)
    }
}

fn verify(argon2: &Argon2<'_>, password: &str, hash: &str) -> Result<Verdict, AuthError> {
    let parsed = PasswordHash::new(hash).map_err(AuthError::internal)?;
    let right = match argon2.verify_password(password.as_bytes(), &parsed) {
        Ok(()) => true,
        Err(HashError::PasswordInvalid) => false,
        Err(error) => return Err(AuthError::internal(error)),
    };
    let made_with = Params::try_from(&parsed).map_err(AuthError::internal)?;
    let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    let outdated = cost(&made_with) != cost(argon2.params());
    Ok(Verdict { right, outdated })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CHEAP: PasswordHashing = PasswordHashing {
        memory_kib: 64,
        iterations: 1,
        parallelism: 1,
        concurrency: 1,
        longest_wait: Duration::from_secs(60),
    };

    #[tokio::test]
    async fn only_the_password_itself_is_right() {
        let hasher = Hasher::new(CHEAP).await.unwrap();
        let hash = hasher.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash("correct horse".to_owned()).await.unwrap(), "a salt each");
        let verify = async |password: &str, hash: Option<&String>| {
            hasher.verify(password.to_owned(), hash.cloned()).await.unwrap()
        };
        assert_eq!(verify("correct horse", Some(&hash)).await, Verdict { right: true, outdated: false });
        assert!(!verify("Correct horse", Some(&hash)).await.right);
        assert!(!verify("no account has this password", None).await.right);
    }

    #[tokio::test]
    async fn another_cost_makes_a_hash_outdated_but_not_wrong() {
        let hasher = Hasher::new(CHEAP).await.unwrap();
        let dearer = Hasher::new(PasswordHashing { memory_kib: 128, ..CHEAP }).await.unwrap();
        let hash = hasher.hash("correct horse".to_owned()).await.unwrap();
        let verdict = dearer.verify("correct horse".to_owned(), Some(hash)).await.unwrap();
        assert_eq!(verdict, Verdict { right: true, outdated: true });
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_refused_and_a_turn_outlives_its_caller() {
        let hasher = Hasher::new(PasswordHashing { longest_wait: Duration::ZERO, ..CHEAP }).await.unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let caller = tokio::spawn({
            let hasher = hasher.clone();
            async move {
                let work = move || {
                    let _ = started.send(());
                    held.recv()
                };
                hasher.in_turn(work).await.map(drop)
            }
        });
        running.await.unwrap();
        caller.abort();
        assert!(matches!(hasher.hash("x".to_owned()).await, Err(AuthError::Overloaded)));
        release.send(()).unwrap();
        let freed = tokio::time::timeout(Duration::from_secs(10), hasher.turns.acquire());
        drop(freed.await.expect("the turn comes back").unwrap());
        hasher.hash("x".to_owned()).await.unwrap();
    }

    #[tokio::test]
    async fn an_impossible_cost_is_refused_at_start() {
        let refused = Hasher::new(PasswordHashing { memory_kib: 1, ..CHEAP }).await;
        assert!(matches!(refused, Err(AuthError::PasswordHashing(_))));
    }
}
