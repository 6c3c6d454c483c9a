//! One server of each kind for all tests of a test binary. They are stopped when the process ends.

use tokio::sync::OnceCell;

use crate::{Postgres, Redis, SeaweedFs, Sqs};

macro_rules! shared {
    ($(#[$docs:meta])* $name:ident: $server:ty) => {
        $(#[$docs])*
        ///
        /// # Panics
        /// When it cannot be started, with the reason.
        pub async fn $name() -> &'static $server {
            static SERVER: OnceCell<$server> = OnceCell::const_new();
            let start = || async {
                <$server>::start().await.unwrap_or_else(|error| panic!("{}: {error:#}", stringify!($server)))
            };
            SERVER.get_or_init(start).await
        }
    };
}

shared! {
    /// The shared Postgres; take a database of your own name.
    postgres: Postgres
}
shared! {
    /// The shared Redis; take keys of your own, and do not stop it.
    redis: Redis
}
shared! {
    /// The shared SQS; take a queue of your own name, and do not stop it.
    sqs: Sqs
}
shared! {
    /// The shared SeaweedFS; take a bucket or a prefix of your own.
    seaweedfs: SeaweedFs
}
