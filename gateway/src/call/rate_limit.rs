//! Rate limits, by what the contract says a call costs.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use reelmill_platform::shared_state::RateDecision;

use crate::{call::identify::Shown, client, contract::Method, error::Refused, gateway::Shared};

/// How long the hub may take before a call passes unlimited.
const PATIENCE: Duration = Duration::from_millis(500);

/// Takes the call's cost from its user's bucket, or from its address's where no genuine token was shown.
/// While the hub is away everything passes: the limit protects, it does not decide.
pub(crate) async fn limit(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let units = request.extensions().get::<Arc<Method>>().map_or(1, |method| method.policy.units());
    let (key, limit, subject) = match request.extensions().get::<Shown>() {
        Some(Shown::Token(caller)) => (format!("gateway/user/{}", caller.user), shared.config.rate, "user"),
        _ => {
            let address = client::address_of(&request, &shared.config);
            (format!("gateway/address/{address}"), shared.config.anonymous_rate, "address")
        }
    };
    let away = |cause: &dyn std::fmt::Display| {
        shared.limiter_away.warn(shared.clock.now_millis(), "the rate limiter is away; calls pass", cause);
    };
    match tokio::time::timeout(PATIENCE, shared.rate_limiter.take(&key, units, limit)).await {
        Ok(Ok(RateDecision::Limited { retry_after })) => {
            return Refused::RateLimited { subject, retry_after }.into_response();
        }
        Ok(Ok(RateDecision::Allowed)) => {}
        Ok(Err(error)) => away(&error),
        Err(late) => away(&late),
    }
    next.run(request).await
}
