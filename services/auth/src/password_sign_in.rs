//! Authenticates users by e-mail address and password.

use crate::{
    db::{Db, UserRow},
    domain::{email::Email, password_policy},
    error::AuthError,
    password_hasher::PasswordHasher,
};

/// Authenticates users by e-mail address and password.
#[derive(Clone)]
pub(crate) struct PasswordSignIn {
    pub db: Db,
    pub hasher: PasswordHasher,
}

impl PasswordSignIn {
    /// The account with this e-mail address and password. The error does not reveal which of the two is wrong.
    pub async fn authenticate(&self, email: &str, password: String) -> Result<UserRow, AuthError> {
        let user = match Email::parse(email) {
            Ok(email) => self.db.user_by_email(&email.key).await?,
            Err(_) => None,
        };
        if password.len() > password_policy::MAX_BYTES {
            return Err(AuthError::CredentialsWrong);
        }
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let check = self.hasher.verify(password.clone(), hash).await?;
        let user = user.filter(|_| check.is_correct).ok_or(AuthError::CredentialsWrong)?;
        if check.is_outdated {
            self.rehash(&user, password).await;
        }
        Ok(user)
    }

    /// Hashes a password again at the configured cost. If it fails, the old hash remains valid.
    async fn rehash(&self, user: &UserRow, password: String) {
        let replaced = async {
            let hash = self.hasher.hash(password).await?;
            self.db.replace_password_hash(user, hash).await
        };
        if let Err(error) = replaced.await {
            tracing::warn!(%error, user = user.id, "cannot replace an outdated password hash");
        }
    }
}
