//! Admission of a call: its caller's limits, and its session. One round trip to the shared state.

use std::{sync::Arc, time::Duration};

use axum::{extract::Request, response::Response};
use http::{HeaderName, HeaderValue};
use reelmill_mesh::{Caller, UserSession};
use reelmill_platform::shared_state::{Bucket, RateDecision, RateLimit, RateLimiter, Taken};

use super::{
    authenticate::{Credential, IdentifiedCall},
    deadline::Deadline,
    typed_layer::{CallLayer, Handler},
};
use crate::{
    admission::{Admission, CallPermit, CallerKind},
    client::{ClientAddresses, Networks},
    error::CallError,
    methods::Method,
    server::Activity,
    sessions::{OpenCall, Sessions},
    throttled_log::ThrottledLog,
};

/// Time that the shared state gets before a call is limited by this process alone.
const RATE_LIMITER_TIMEOUT: Duration = Duration::from_millis(500);
/// The wider network of an address has as many times the limit of an address.
const WIDE_NETWORK_FACTOR: u32 = 8;
/// Units that are left in the caller's bucket.
const UNITS_LEFT: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

const UNAVAILABLE: &str = "the shared rate limiter is unavailable; each gateway limits calls by itself";

/// A call that its caller may make.
pub(super) struct AuthorizedCall {
    pub(super) deadline: Deadline,
    pub(super) method: Arc<Method>,
    pub(super) caller: Caller,
    /// The session that the response stream ends with. `None` for single responses, which are not cut off: a client
    /// that signs out needs the response.
    pub(super) session: Option<OpenCall>,
    pub(super) permit: CallPermit,
    pub(super) request: Request,
}

/// Counts a call as one of those that its caller has in progress, takes its cost from the bucket of its user, or from those of
/// its address and network if it has no valid token, and rejects calls with an invalid credential or an ended session.
///
/// While the shared state is unavailable, this process limits calls by itself with the same limits, and asks the auth service
/// about sessions.
pub(crate) struct AdmitLayer {
    pub admission: Arc<Admission>,
    pub limiter: Arc<dyn RateLimiter>,
    /// Of this process alone.
    pub local_limiter: Arc<dyn RateLimiter>,
    pub user_limit: RateLimit,
    pub address_limit: RateLimit,
    pub addresses: ClientAddresses,
    pub sessions: Arc<Sessions>,
    pub unavailable_log: ThrottledLog,
}

impl CallLayer<IdentifiedCall> for AdmitLayer {
    type Next = AuthorizedCall;

    async fn process(
        &self,
        call: IdentifiedCall,
        next: &impl Handler<AuthorizedCall>,
    ) -> Result<Response, CallError> {
        let IdentifiedCall { peer, deadline, method, credential, request } = call;
        let units = method.policy.units();
        match credential {
            Credential::NotRequired => {
                let networks = self.addresses.networks(peer, request.headers());
                let (permit, units_left) = self.admit_address(networks, units).await?;
                let caller = Caller::Anonymous;
                let call = AuthorizedCall { deadline, method, caller, session: None, permit, request };
                Ok(with_units_left(next.handle(call).await?, units_left))
            }
            Credential::Invalid(error) => {
                let networks = self.addresses.networks(peer, request.headers());
                self.admit_address(networks, units).await?;
                Err(error)
            }
            Credential::Token(user) => {
                let (permit, open_call, units_left) = self.admit_user(&user, units).await?;
                let trusted = request.extensions().get::<Arc<Activity>>().map(Activity::trust);
                let caller = Caller::User(user);
                let mut response = if method.server_streaming {
                    let ended = open_call.ended();
                    let session = Some(open_call);
                    let call = AuthorizedCall { deadline, method, caller, session, permit, request };
                    tokio::select! {
                        response = next.handle(call) => response?,
                        () = ended.cancelled() => return Err(CallError::SessionEnded),
                    }
                } else {
                    // Counts as open until the response starts.
                    let _open_call = open_call;
                    let call = AuthorizedCall { deadline, method, caller, session: None, permit, request };
                    next.handle(call).await?
                };
                if let Some(trusted) = trusted {
                    // Until the response ends.
                    response.extensions_mut().insert(Arc::new(trusted));
                }
                Ok(with_units_left(response, units_left))
            }
        }
    }
}

impl AdmitLayer {
    async fn admit_address(
        &self,
        Networks { narrow, wide }: Networks,
        units: u32,
    ) -> Result<(CallPermit, u32), CallError> {
        let (narrow, wide) = (format!("gateway/address/{narrow}"), format!("gateway/network/{wide}"));
        let permit = self.admission.admit(&narrow, CallerKind::Address).ok_or(CallError::Overloaded)?;
        let limit = self.address_limit;
        let wide_limit = RateLimit {
            units_per_second: limit.units_per_second * f64::from(WIDE_NETWORK_FACTOR),
            burst: limit.burst.saturating_mul(WIDE_NETWORK_FACTOR),
        };
        let buckets = [Bucket { key: &narrow, limit }, Bucket { key: &wide, limit: wide_limit }];
        let (units_left, _) = self.take(&buckets, units, None, "address").await?;
        Ok((permit, units_left))
    }

    async fn admit_user(
        &self,
        user: &UserSession,
        units: u32,
    ) -> Result<(CallPermit, OpenCall, u32), CallError> {
        let key = format!("gateway/user/{}", user.user);
        let permit = self.admission.admit(&key, CallerKind::User).ok_or(CallError::Overloaded)?;
        // Registered before the session is read, so that a session that ends in between ends the call.
        let open_call = self.sessions.register_call(user)?;
        let buckets = [Bucket { key: &key, limit: self.user_limit }];
        let (units_left, taken) = self.take(&buckets, units, Some(&user.session), "user").await?;
        self.sessions.confirm(user, taken.session).await?;
        Ok((permit, open_call, units_left))
    }

    async fn take(
        &self,
        buckets: &[Bucket<'_>],
        units: u32,
        session: Option<&str>,
        subject: &'static str,
    ) -> Result<(u32, Taken), CallError> {
        let taken = self.limiter.take(buckets, units, session);
        let taken = match tokio::time::timeout(RATE_LIMITER_TIMEOUT, taken).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => self.take_locally(buckets, units, &error).await?,
            Err(elapsed) => self.take_locally(buckets, units, &elapsed).await?,
        };
        match taken.decision {
            RateDecision::Allowed { units_left } => Ok((units_left, taken)),
            RateDecision::Limited { retry_after } => Err(CallError::RateLimited { subject, retry_after }),
        }
    }

    async fn take_locally(
        &self,
        buckets: &[Bucket<'_>],
        units: u32,
        cause: &(dyn std::fmt::Display + Sync),
    ) -> Result<Taken, CallError> {
        self.unavailable_log.warn(UNAVAILABLE, cause);
        self.local_limiter.take(buckets, units, None).await.map_err(|error| {
            tracing::error!(cause = %error, "the rate limiter of this process failed");
            CallError::Internal
        })
    }
}

fn with_units_left(mut response: Response, units_left: u32) -> Response {
    response.headers_mut().insert(UNITS_LEFT, HeaderValue::from(units_left));
    response
}
