//! Rows as API messages.

use reelmill_proto::{
    auth::{Session, User},
    timestamp,
};

use crate::db::{SessionRow, UserRow};

/// An account as a message.
pub(crate) fn user(user: UserRow) -> User {
    User {
        name: format!("users/{}", user.id),
        email: user.email,
        display_name: user.display_name,
        create_time: Some(timestamp(user.create_time)),
    }
}

/// A session as a message. `current` is the id of the calling session.
pub(crate) fn session(session: &SessionRow, current: &str) -> Session {
    Session {
        name: format!("sessions/{}", session.id),
        user: format!("users/{}", session.user_id),
        create_time: Some(timestamp(session.create_time)),
        refresh_time: Some(timestamp(session.refresh_time)),
        expire_time: Some(timestamp(session.expire_time)),
        user_agent: session.user_agent.clone(),
        current: session.id == current,
    }
}
