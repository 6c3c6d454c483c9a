//! Finds out whom a call's access token speaks for.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, header};
use reelmill_mesh::UserSession;
use reelmill_proto::options::Access;

use crate::{contract::Method, error::Refused, gateway::Shared};

/// What a call showed. Whether its session is alive is another question.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    /// Nothing, to a method that wants nothing.
    Nothing,
    /// A genuine token.
    Token(UserSession),
    /// Nothing, or something else, where a token is wanted.
    Refused(Refused),
}

/// Checks the token, where the method wants one. Public methods don't look at it: a stale one must not
/// keep anybody from signing in.
pub(crate) async fn identify(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let public = request
        .extensions()
        .get::<Arc<Method>>()
        .is_some_and(|method| method.policy.access() == Access::Public);
    let token = bearer_token(request.headers()).map(str::to_owned);
    let shown = match token {
        _ if public => Shown::Nothing,
        Err(refused) => Shown::Refused(refused),
        Ok(token) => {
            let verified = shared.keys.verify(&token, shared.clock.now_millis(), &shared.upstreams).await;
            verified.map_or_else(Shown::Refused, Shown::Token)
        }
    };
    // No role needs it, so none gets it.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.extensions_mut().insert(shown);
    next.run(request).await
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Refused> {
    let value = headers.get(header::AUTHORIZATION).ok_or(Refused::SignInRequired)?;
    let value = value.to_str().map_err(|_| Refused::TokenInvalid)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(token.trim())
        }
        _ => Err(Refused::TokenInvalid),
    }
}
