//! Refresh tokens and their rotation.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QuerySelect as _, sea_query::Expr,
};

use super::{
    connection::Db,
    entity::{refresh_tokens, sessions},
};
use crate::{
    domain::refresh_rotation::{RotationDecision, TokenState, decide},
    error::AuthError,
    refresh_token::{PresentedToken, RefreshToken},
};

impl refresh_tokens::Model {
    /// The row of a new token. It expires with its session.
    pub(super) fn unused(token: &RefreshToken, session: &sessions::Model) -> Self {
        Self {
            jti: token.jti.clone(),
            session_id: session.id.clone(),
            secret_hash: token.secret_hash(),
            expire_time: session.expire_time,
            use_time: None,
        }
    }
}

impl Db {
    /// Decides about a presented token and applies the decision: exchanges it for `next`, or ends its session. Returns
    /// the decision and the session afterwards. `next` may have been issued already. `None` if the token is unknown or its secret is wrong.
    pub async fn rotate_refresh_token(
        &self,
        presented: &PresentedToken<'_>,
        next: &RefreshToken,
        now: i64,
        expire_time: i64,
    ) -> Result<Option<(RotationDecision, sessions::Model)>, AuthError> {
        let token = refresh_tokens::Entity::find_by_id(presented.jti).one(&self.connection).await?;
        let Some(token) = token.filter(|token| presented.matches(&token.secret_hash)) else {
            return Ok(None);
        };
        let transaction = self.begin().await?;
        let rotated = rotate(&transaction, &token, next, now, expire_time).await?;
        transaction.commit().await?;
        Ok(rotated)
    }
}

/// Locks the session's row first: everything that changes the session's tokens waits for it, in the same order.
async fn rotate(
    transaction: &DatabaseTransaction,
    token: &refresh_tokens::Model,
    next: &RefreshToken,
    now: i64,
    expire_time: i64,
) -> Result<Option<(RotationDecision, sessions::Model)>, AuthError> {
    let session = sessions::Entity::find_by_id(&token.session_id).lock_exclusive().one(transaction).await?;
    // Read again under the lock: a concurrent call may have used the token.
    let token = refresh_tokens::Entity::find_by_id(&token.jti).one(transaction).await?;
    let (Some(mut session), Some(token)) = (session, token) else { return Ok(None) };
    let state = TokenState {
        session_end_time: session.end_time,
        session_expire_time: session.expire_time,
        use_time: token.use_time,
        is_repeated: is_unused(transaction, next, &session.id).await?,
    };
    let mut decision = decide(state, now);
    match decision {
        RotationDecision::Rotate if mark_used(transaction, &token.jti, now).await? => {
            session.refresh_time = now;
            session.expire_time = expire_time;
            let next = refresh_tokens::Model::unused(next, &session).into_active_model();
            refresh_tokens::Entity::insert(next).exec_without_returning(transaction).await?;
            delete_expired(transaction, &session.id, now).await?;
        }
        RotationDecision::Rotate => decision = RotationDecision::RejectSpent,
        RotationDecision::EndSession => session.end_time = Some(now),
        RotationDecision::Repeat
        | RotationDecision::RejectSpent
        | RotationDecision::RejectEnded
        | RotationDecision::RejectExpired => {}
    }
    if matches!(decision, RotationDecision::Rotate | RotationDecision::EndSession) {
        let changed = sessions::ActiveModel {
            id: Set(session.id.clone()),
            refresh_time: Set(session.refresh_time),
            expire_time: Set(session.expire_time),
            end_time: Set(session.end_time),
            ..Default::default()
        };
        changed.update(transaction).await?;
    }
    Ok(Some((decision, session)))
}

/// Whether an earlier call has issued the token, and it was not used since.
async fn is_unused(
    transaction: &DatabaseTransaction,
    token: &RefreshToken,
    session: &str,
) -> Result<bool, AuthError> {
    let issued = refresh_tokens::Entity::find_by_id(&token.jti).one(transaction).await?;
    Ok(issued.is_some_and(|issued| issued.session_id == session && issued.use_time.is_none()))
}

/// Marks a token as used. Returns `false` if it was used before.
async fn mark_used(transaction: &DatabaseTransaction, jti: &str, now: i64) -> Result<bool, AuthError> {
    let used = refresh_tokens::Entity::update_many()
        .col_expr(refresh_tokens::Column::UseTime, Expr::value(now))
        .filter(refresh_tokens::Column::Jti.eq(jti))
        .filter(refresh_tokens::Column::UseTime.is_null())
        .exec(transaction)
        .await?;
    Ok(used.rows_affected == 1)
}

/// Deletes a session's expired tokens. Used ones are kept until they expire, so that a replay is recognised.
async fn delete_expired(transaction: &DatabaseTransaction, session: &str, now: i64) -> Result<(), AuthError> {
    refresh_tokens::Entity::delete_many()
        .filter(refresh_tokens::Column::SessionId.eq(session))
        .filter(refresh_tokens::Column::ExpireTime.lte(now))
        .exec(transaction)
        .await?;
    Ok(())
}
