//! Tables and queries of the auth database.

mod connection;
mod entity;
mod migration;
mod refresh_tokens;
mod sessions;
mod signing_keys;
mod users;

pub(crate) use connection::Db;
pub(crate) use entity::{sessions::Model as SessionRow, users::Model as UserRow};
