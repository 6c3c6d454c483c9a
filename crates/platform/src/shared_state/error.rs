/// Why a call on the shared state failed.
#[derive(Debug, thiserror::Error)]
pub enum SharedStateError {
    /// The URL is malformed or names an unknown backend.
    #[error("shared state: {0}")]
    Config(String),
    /// The rate limit has no burst, or a rate that is not positive and finite.
    #[error("shared state: a rate limit needs a positive, finite rate and a burst of at least 1")]
    Limit,
    /// Redis returned an error or is unreachable.
    #[error("shared state: Redis: {0}")]
    Redis(#[from] fred::error::Error),
}
