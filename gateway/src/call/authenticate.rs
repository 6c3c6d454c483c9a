//! Verification of a call's access token.

use std::{net::SocketAddr, sync::Arc};

use axum::{extract::Request, response::Response};
use http::{HeaderMap, header};
use reelmill_mesh::UserSession;
use reelmill_proto::options::Access;

use super::{
    deadline::{Deadline, TimedCall},
    typed_layer::{CallLayer, Handler},
};
use crate::{error::CallError, methods::Method, tokens::TokenVerifier};

/// A call with its verified credential.
pub(super) struct IdentifiedCall {
    pub(super) peer: SocketAddr,
    pub(super) deadline: Deadline,
    pub(super) method: Arc<Method>,
    pub(super) credential: Credential,
    pub(super) request: Request,
}

/// Credential presented by a caller.
#[derive(Debug)]
pub(super) enum Credential {
    /// The method is public and needs none.
    NotRequired,
    /// A valid access token. Its session may have ended.
    Token(UserSession),
    /// A missing or invalid access token. Rejected only after the rate limit, so that guessing is limited.
    Invalid(CallError),
}

/// Verifies the access token if the method requires one. Public methods ignore it, so that an expired one does not
/// prevent signing in.
pub(super) struct AuthenticateLayer {
    pub(super) tokens: TokenVerifier,
}

impl CallLayer<TimedCall> for AuthenticateLayer {
    type Next = IdentifiedCall;

    async fn process(
        &self,
        TimedCall { peer, deadline, method, mut request }: TimedCall,
        next: &impl Handler<IdentifiedCall>,
    ) -> Result<Response, CallError> {
        let credential = if method.policy.access() == Access::Public {
            Credential::NotRequired
        } else {
            let verified = match bearer_token(request.headers()) {
                Ok(token) => self.tokens.verify(token).await,
                Err(error) => Err(error),
            };
            verified.map_or_else(Credential::Invalid, Credential::Token)
        };
        // No role needs the token.
        request.headers_mut().remove(header::AUTHORIZATION);
        next.handle(IdentifiedCall { peer, deadline, method, credential, request }).await
    }
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, CallError> {
    let value = headers.get(header::AUTHORIZATION).ok_or(CallError::SignInRequired)?;
    let value = value.to_str().map_err(|_| CallError::TokenInvalid)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(token.trim())
        }
        _ => Err(CallError::TokenInvalid),
    }
}
