//! Rate limits of calls, by the cost that the method's policy declares.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use reelmill_platform::shared_state::{RateDecision, RateLimit, RateLimiter};

use super::{
    authenticate::{Credential, IdentifiedCall},
    typed_layer::{CallLayer, Handler},
};
use crate::{client::ClientAddresses, error::CallError, throttled_log::ThrottledLog};

/// Time that the rate limiter gets before a call is allowed without it.
const RATE_LIMITER_TIMEOUT: Duration = Duration::from_millis(500);

const UNAVAILABLE: &str = "the rate limiter is unavailable; calls are not limited";

/// A call within its rate limit. Only [`RateLimitLayer`] can create one.
pub(super) struct LimitedCall(IdentifiedCall);

impl LimitedCall {
    pub(super) fn into_identified(self) -> IdentifiedCall {
        self.0
    }
}

/// Takes the call's cost from the bucket of its user, or of its address if it has no valid token. Allows all calls
/// while the rate limiter is unavailable: the limit is a protection, and no access check depends on it.
pub(crate) struct RateLimitLayer {
    pub limiter: Arc<dyn RateLimiter>,
    pub user_limit: RateLimit,
    pub address_limit: RateLimit,
    pub addresses: ClientAddresses,
    pub unavailable_log: ThrottledLog,
}

impl CallLayer<IdentifiedCall> for RateLimitLayer {
    type Next = LimitedCall;

    async fn process(
        &self,
        call: IdentifiedCall,
        next: &impl Handler<LimitedCall>,
    ) -> Result<Response, CallError> {
        let (key, limit, subject) = match &call.credential {
            Credential::Token(user) => (format!("gateway/user/{}", user.user), self.user_limit, "user"),
            Credential::NotRequired | Credential::Invalid(_) => {
                let address = self.addresses.rate_limit_subject(call.peer, call.request.headers());
                (format!("gateway/address/{address}"), self.address_limit, "address")
            }
        };
        let taken = self.limiter.take(&key, call.method.policy.units(), limit);
        match tokio::time::timeout(RATE_LIMITER_TIMEOUT, taken).await {
            Ok(Ok(RateDecision::Allowed)) => {}
            Ok(Ok(RateDecision::Limited { retry_after })) => {
                return Err(CallError::RateLimited { subject, retry_after });
            }
            Ok(Err(error)) => self.unavailable_log.warn(UNAVAILABLE, &error),
            Err(elapsed) => self.unavailable_log.warn(UNAVAILABLE, &elapsed),
        }
        next.handle(LimitedCall(call)).await
    }
}
