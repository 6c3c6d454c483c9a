//! One server of each kind for all tests of a test binary, stopped when the process exits.

use tokio::sync::OnceCell;

use crate::{Postgres, Redis, SeaweedFs, Sqs};

macro_rules! shared {
    ($(#[$docs:meta])* $name:ident: $server:ty) => {
        $(#[$docs])*
        ///
        /// # Panics
        /// If it cannot be started, with the reason.
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
    /// The shared Postgres. Create a database with a unique name.
    postgres: Postgres
}
shared! {
    /// The shared Redis. Use unique keys, and do not stop it.
    redis: Redis
}
shared! {
    /// The shared SQS. Use a queue with a unique name, and do not stop it.
    sqs: Sqs
}
shared! {
    /// The shared SeaweedFS. Use a unique bucket or key prefix.
    seaweedfs: SeaweedFs
}
