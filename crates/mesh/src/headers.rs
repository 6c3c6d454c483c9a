//! Headers that roles add to the calls they make to each other.

/// Prefix of all headers below except [`REQUEST_ID`]. The gateway removes headers with this prefix from requests of
/// clients.
pub const PREFIX: &str = "x-reelmill-";
/// The mesh key, which authenticates the other headers.
pub const KEY: &str = "x-reelmill-key";
/// The caller on whose behalf the call is made: see [`crate::Caller`].
pub const CALLER: &str = "x-reelmill-caller";
/// Scheme and authority by which the client reached the gateway, as `https://video.example.org`.
pub const ORIGIN: &str = "x-reelmill-origin";
/// Milliseconds until the call's deadline. Replaces `grpc-timeout` between roles, because tonic's own handling of that
/// header returns CANCELLED where the client expects DEADLINE_EXCEEDED.
pub const DEADLINE: &str = "x-reelmill-deadline-ms";
/// Identifies one request in the logs of every role that handles it.
pub const REQUEST_ID: &str = "x-request-id";
