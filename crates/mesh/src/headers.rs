//! The headers that roles say things to one another with.

/// Every header below begins with this; the gateway drops such headers from outside.
pub const PREFIX: &str = "x-reelmill-";
/// The shared secret by which one role believes another's headers.
pub const KEY: &str = "x-reelmill-key";
/// On whose behalf the call is: see [`crate::Caller`].
pub const CALLER: &str = "x-reelmill-caller";
/// Scheme and authority that the client came by, as `https://video.example.org`.
pub const ORIGIN: &str = "x-reelmill-origin";
/// Milliseconds that the call may still take. Stands for `grpc-timeout` inside the mesh, since
/// tonic's own handling of that header answers CANCELLED where the client expects
/// DEADLINE_EXCEEDED.
pub const DEADLINE: &str = "x-reelmill-deadline-ms";
/// Names one call in the logs of every role it passes.
pub const REQUEST_ID: &str = "x-request-id";
