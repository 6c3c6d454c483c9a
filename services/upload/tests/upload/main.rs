//! The upload service as its neighbours see it: served by the mesh, over a real object store and a real database
//! (SQLite, and Postgres for what transactions and locks decide), beside a transcode service that follows a script.

mod completing;
mod following;
mod library;
mod playable;
mod sessions;
mod transcode;
mod world;

/// Runs each test on SQLite and on Postgres.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::world::World::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::world::World::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;
