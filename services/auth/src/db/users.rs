//! Accounts.

use reelmill_platform::database::is_unique_violation;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, sea_query::Expr};

use super::{connection::Db, entity::users};
use crate::error::AuthError;

impl Db {
    /// Inserts a user.
    ///
    /// # Errors
    /// [`AuthError::EmailTaken`] if another user has the e-mail address.
    pub async fn insert_user(&self, user: users::Model) -> Result<(), AuthError> {
        let insert = users::Entity::insert(user.into_active_model());
        match insert.exec_without_returning(&self.connection).await {
            Ok(_) => Ok(()),
            // The id is random, so the violated constraint is that of the address.
            Err(error) if is_unique_violation(&error) => Err(AuthError::EmailTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Loads a user.
    pub async fn user(&self, id: &str) -> Result<Option<users::Model>, AuthError> {
        Ok(users::Entity::find_by_id(id).one(&self.connection).await?)
    }

    /// Loads the user with an e-mail key.
    pub async fn user_by_email(&self, key: &str) -> Result<Option<users::Model>, AuthError> {
        Ok(users::Entity::find().filter(users::Column::EmailKey.eq(key)).one(&self.connection).await?)
    }

    /// Replaces the password hash, unless it has changed since `user` was loaded.
    pub async fn replace_password_hash(&self, user: &users::Model, hash: String) -> Result<(), AuthError> {
        users::Entity::update_many()
            .col_expr(users::Column::PasswordHash, Expr::value(hash))
            .filter(users::Column::Id.eq(&user.id))
            .filter(users::Column::PasswordHash.eq(&user.password_hash))
            .exec(&self.connection)
            .await?;
        Ok(())
    }
}
