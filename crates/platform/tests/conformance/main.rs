//! One suite a seam, run on every backend: the embedded ones and real servers, which the test kit starts.

mod database;
mod objects;
mod queue;
mod shared_state;

/// Makes a test of each case for each backend: `sqlite::a_case`, `postgres::a_case`, ...
macro_rules! on_every_backend {
    ($($module:ident = $backend:expr),* => $cases:tt) => {
        $(crate::on_one_backend!($module, $backend, $cases);)*
    };
}

/// Makes a test of each case for one backend.
macro_rules! on_one_backend {
    ($module:ident, $backend:expr, [$($case:ident),* $(,)?]) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($backend).await;
            })*
        }
    };
}

use {on_every_backend, on_one_backend};
