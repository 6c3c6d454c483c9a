//! Users, sessions, refresh tokens and the ages of signing keys, in SQLite or Postgres.

pub(crate) mod entity;
mod migration;

use reelmill_platform::database::{self, is_unique_violation};
use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, DatabaseConnection, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, SqliteTransactionMode,
    TransactionOptions, TransactionTrait as _,
    sea_query::{Expr, OnConflict},
};

use crate::{
    AuthError,
    refresh_token::{RefreshToken, ShownToken},
    rotation::{self, Decision, TokenState},
};
use entity::{refresh_token, session, signing_key, user};
use migration::Migrator;

/// The auth database.
#[derive(Clone)]
pub(crate) struct Store {
    database: DatabaseConnection,
}

impl Store {
    /// Opens and migrates the database at a URL.
    pub async fn open(url: &str) -> Result<Self, AuthError> {
        Ok(Self { database: database::connect::<Migrator>(url).await? })
    }

    async fn begin(&self) -> Result<DatabaseTransaction, AuthError> {
        let options = TransactionOptions {
            // A reader that turns writer later fails as busy where another process writes to the same file.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.database.begin_with_options(options).await?)
    }

    /// Adds a user.
    ///
    /// # Errors
    /// [`AuthError::EmailTaken`] when another user has the address.
    pub async fn insert_user(&self, user: user::Model) -> Result<(), AuthError> {
        let inserted = user::Entity::insert(user.into_active_model()).exec_without_returning(&self.database);
        match inserted.await {
            Ok(_) => Ok(()),
            // The address is the only unique thing that a caller chooses.
            Err(error) if is_unique_violation(&error) => Err(AuthError::EmailTaken),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn user(&self, id: &str) -> Result<Option<user::Model>, AuthError> {
        Ok(user::Entity::find_by_id(id).one(&self.database).await?)
    }

    pub async fn user_by_email(&self, key: &str) -> Result<Option<user::Model>, AuthError> {
        Ok(user::Entity::find().filter(user::Column::EmailKey.eq(key)).one(&self.database).await?)
    }

    /// Replaces a password's hash by another of the same password, unless it has changed meanwhile.
    pub async fn replace_password_hash(&self, user: &user::Model, hash: String) -> Result<(), AuthError> {
        user::Entity::update_many()
            .col_expr(user::Column::PasswordHash, Expr::value(hash))
            .filter(user::Column::Id.eq(&user.id))
            .filter(user::Column::PasswordHash.eq(&user.password_hash))
            .exec(&self.database)
            .await?;
        Ok(())
    }

    /// Adds a session with its first refresh token.
    pub async fn insert_session(
        &self,
        session: session::Model,
        token: &RefreshToken,
    ) -> Result<(), AuthError> {
        let transaction = self.begin().await?;
        let row = token_row(token, &session);
        session::Entity::insert(session.into_active_model()).exec_without_returning(&transaction).await?;
        refresh_token::Entity::insert(row).exec_without_returning(&transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Removes a user's expired sessions, with their tokens.
    pub async fn purge(&self, user: &str, now: i64) -> Result<(), AuthError> {
        session::Entity::delete_many()
            .filter(session::Column::UserId.eq(user))
            .filter(session::Column::ExpireTime.lte(now))
            .exec(&self.database)
            .await?;
        Ok(())
    }

    pub async fn session(&self, id: &str) -> Result<Option<session::Model>, AuthError> {
        Ok(session::Entity::find_by_id(id).one(&self.database).await?)
    }

    /// The user's live sessions, newest first.
    pub async fn live_sessions(&self, user: &str, now: i64) -> Result<Vec<session::Model>, AuthError> {
        let sessions = session::Entity::find()
            .filter(session::Column::UserId.eq(user))
            .filter(session::Column::EndTime.is_null())
            .filter(session::Column::ExpireTime.gt(now))
            .order_by_desc(session::Column::CreateTime)
            .order_by_desc(session::Column::Id);
        Ok(sessions.all(&self.database).await?)
    }

    /// Ends one of the user's sessions, unless it has ended already; says whether the user has it at all.
    pub async fn end_session(&self, id: &str, user: &str, now: i64) -> Result<bool, AuthError> {
        let ended = session::Entity::update_many()
            .col_expr(session::Column::EndTime, Expr::value(now))
            .filter(session::Column::Id.eq(id))
            .filter(session::Column::UserId.eq(user))
            .filter(session::Column::EndTime.is_null())
            .exec(&self.database)
            .await?;
        if ended.rows_affected > 0 {
            return Ok(true);
        }
        let own = session::Entity::find_by_id(id).filter(session::Column::UserId.eq(user));
        Ok(own.count(&self.database).await? > 0)
    }

    /// Ends all of the user's live sessions; says how many.
    pub async fn end_all_sessions(&self, user: &str, now: i64) -> Result<u64, AuthError> {
        let ended = session::Entity::update_many()
            .col_expr(session::Column::EndTime, Expr::value(now))
            .filter(session::Column::UserId.eq(user))
            .filter(session::Column::EndTime.is_null())
            .filter(session::Column::ExpireTime.gt(now))
            .exec(&self.database)
            .await?;
        Ok(ended.rows_affected)
    }

    /// Ids of the user's sessions that were ended at `since` or later.
    pub async fn sessions_ended_since(&self, user: &str, since: i64) -> Result<Vec<String>, AuthError> {
        let ids = session::Entity::find()
            .select_only()
            .column(session::Column::Id)
            .filter(session::Column::UserId.eq(user))
            .filter(session::Column::EndTime.gte(since))
            .into_tuple::<String>();
        Ok(ids.all(&self.database).await?)
    }

    /// Decides what becomes of a refresh token that is shown, and does it: spends it for `next`, or ends
    /// its session. Answers the session as it is afterwards, or nothing when the token is none of ours.
    pub async fn rotate(
        &self,
        shown: &ShownToken<'_>,
        next: &RefreshToken,
        now: i64,
        expire_time: i64,
    ) -> Result<Option<(Decision, session::Model)>, AuthError> {
        let Some(token) = refresh_token::Entity::find_by_id(shown.jti).one(&self.database).await? else {
            return Ok(None);
        };
        if !shown.opens(&token.secret_hash) {
            return Ok(None);
        }
        let transaction = self.begin().await?;
        let rotated = rotate_locked(&transaction, &token, next, now, expire_time).await?;
        transaction.commit().await?;
        Ok(rotated)
    }

    /// When a key began to sign: `now`, if it has not been seen before.
    pub async fn signing_key_since(&self, kid: &str, now: i64) -> Result<i64, AuthError> {
        let row = signing_key::ActiveModel { kid: Set(kid.to_owned()), create_time: Set(now) };
        let mut keep = OnConflict::column(signing_key::Column::Kid);
        // Updated to what it is: replicas that start at once all find a row.
        keep.value(signing_key::Column::Kid, Expr::value(kid));
        signing_key::Entity::insert(row).on_conflict(keep).exec_without_returning(&self.database).await?;
        let row = signing_key::Entity::find_by_id(kid).one(&self.database).await?;
        Ok(row.map_or(now, |row| row.create_time))
    }
}

/// The session's row is the lock: all that touches one family waits for it, in the same order.
async fn rotate_locked(
    transaction: &DatabaseTransaction,
    token: &refresh_token::Model,
    next: &RefreshToken,
    now: i64,
    expire_time: i64,
) -> Result<Option<(Decision, session::Model)>, AuthError> {
    let session = session::Entity::find_by_id(&token.session_id).lock_exclusive().one(transaction).await?;
    // Another call may have spent the token before the lock was ours.
    let token = refresh_token::Entity::find_by_id(&token.jti).one(transaction).await?;
    let (Some(mut session), Some(token)) = (session, token) else { return Ok(None) };
    let state = TokenState {
        session_end: session.end_time,
        session_expire: session.expire_time,
        use_time: token.use_time,
    };
    let mut decision = rotation::decide(state, now);
    match decision {
        Decision::Rotate if spend(transaction, &token.jti, now).await? => {
            session.refresh_time = now;
            session.expire_time = expire_time;
            let row = token_row(next, &session);
            refresh_token::Entity::insert(row).exec_without_returning(transaction).await?;
            forget_expired_tokens(transaction, &session.id, now).await?;
        }
        Decision::Rotate => decision = Decision::Spent,
        Decision::Replayed => session.end_time = Some(now),
        Decision::Spent | Decision::Ended | Decision::Expired => {}
    }
    if matches!(decision, Decision::Rotate | Decision::Replayed) {
        let row = session::ActiveModel {
            id: Set(session.id.clone()),
            refresh_time: Set(session.refresh_time),
            expire_time: Set(session.expire_time),
            end_time: Set(session.end_time),
            ..Default::default()
        };
        row.update(transaction).await?;
    }
    Ok(Some((decision, session)))
}

/// Spends a token; says whether it was there to be spent.
async fn spend(transaction: &DatabaseTransaction, jti: &str, now: i64) -> Result<bool, AuthError> {
    let spent = refresh_token::Entity::update_many()
        .col_expr(refresh_token::Column::UseTime, Expr::value(now))
        .filter(refresh_token::Column::Jti.eq(jti))
        .filter(refresh_token::Column::UseTime.is_null())
        .exec(transaction)
        .await?;
    Ok(spent.rows_affected == 1)
}

/// Spent tokens are kept, so that a replay is known for one, until they would have expired anyway.
async fn forget_expired_tokens(
    transaction: &DatabaseTransaction,
    session: &str,
    now: i64,
) -> Result<(), AuthError> {
    refresh_token::Entity::delete_many()
        .filter(refresh_token::Column::SessionId.eq(session))
        .filter(refresh_token::Column::ExpireTime.lte(now))
        .exec(transaction)
        .await?;
    Ok(())
}

fn token_row(token: &RefreshToken, session: &session::Model) -> refresh_token::ActiveModel {
    refresh_token::ActiveModel {
        jti: Set(token.jti.clone()),
        session_id: Set(session.id.clone()),
        secret_hash: Set(token.secret_hash()),
        expire_time: Set(session.expire_time),
        use_time: Set(None),
    }
}
