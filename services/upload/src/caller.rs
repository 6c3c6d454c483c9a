//! The user who calls.

use reelmill_mesh::{Caller, RpcError};
use tonic::Request;

/// Id of the signed-in user, or UNAUTHENTICATED.
pub(crate) fn user_of<T>(request: &Request<T>) -> Result<String, RpcError> {
    Caller::of(request).user().map(|session| session.user.clone())
}
