//! Shared state of many processes, in Redis or Valkey.

mod channels;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use channels::Channels;
use fred::{
    clients::Client,
    interfaces::{ClientLike, KeysInterface, PubsubInterface},
    types::{
        Builder, Expiration, RespVersion, SetOptions,
        config::{Config, ReconnectPolicy, UnresponsiveConfig},
        scripts::Script,
    },
};

use super::{
    Bucket, PubSub, RateDecision, RateLimiter, SESSION_ENDED, SessionCache, SessionState, SharedStateError,
    Subscription, Taken, pub_sub::SUBSCRIBER_BUFFER, rate_limiter::costs,
};

/// Short, because a session check precedes every call.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a starting process waits for the connection.
const STARTUP_WAIT: Duration = Duration::from_secs(3);
/// Time without a reply after which a connection is closed and reopened.
const UNRESPONSIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest delay between reconnects, milliseconds.
const RECONNECT_BACKOFF_MILLIS: (u32, u32) = (50, 2_000);

const ENDED: &str = "ended";
const ALIVE: &str = "alive:";

/// GCRA as in `rate_limiter.rs`, on the server's clock. ARGV: cost and burst of each bucket, microseconds. KEYS: the buckets,
/// and after them a session if one is asked for. Returns the microseconds to wait, 0 if the units were taken; the arrival time
/// of the first bucket after now; and the session's value, empty if there is none.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local buckets = #ARGV / 2
local longest = 0
local next = {}
for i = 1, buckets do
  local arrival = tonumber(redis.call('GET', KEYS[i]) or 0)
  next[i] = math.max(arrival, now) + ARGV[2 * i - 1]
  longest = math.max(longest, next[i] - ARGV[2 * i] - now)
end
local session = #KEYS > buckets and redis.call('GET', KEYS[#KEYS]) or ''
if longest > 0 then
  return {longest, 0, session}
end
for i = 1, buckets do
  redis.call('SET', KEYS[i], string.format('%.0f', next[i]), 'PX', math.ceil((next[i] - now) / 1000) + 1)
end
return {0, next[1] - now, session}
";

pub(super) struct RedisState {
    client: Client,
    channels: Channels,
    take: Script,
}

impl RedisState {
    pub(super) async fn open(url: &str) -> Result<Self, SharedStateError> {
        let config = Config::from_url(url).map_err(|error| SharedStateError::Config(error.to_string()))?;
        if config.server.is_clustered() {
            let cause = "a Redis cluster isn't supported: one script reads keys of several slots";
            return Err(SharedStateError::Config(cause.to_owned()));
        }
        let builder = builder(config);
        let client = builder.build()?;
        let (channels, ()) = tokio::join!(Channels::open(&builder), connect(&client));
        let channels = channels?;
        Ok(Self { client, channels, take: Script::from_lua(TAKE) })
    }

    async fn set(
        &self,
        session: &str,
        value: String,
        ttl: Duration,
        condition: Option<SetOptions>,
    ) -> Result<(), SharedStateError> {
        let expiry = Expiration::PX(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1));
        let _: Option<String> =
            self.client.set(session_key(session), value, Some(expiry), condition, false).await?;
        Ok(())
    }
}

impl Drop for RedisState {
    fn drop(&mut self) {
        let client = self.client.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { client.quit().await });
        }
    }
}

#[async_trait]
impl SessionCache for RedisState {
    async fn put(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.set(session, format!("{ALIVE}{user}"), ttl, None).await
    }

    async fn restore(&self, session: &str, user: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.set(session, format!("{ALIVE}{user}"), ttl, Some(SetOptions::NX)).await
    }

    async fn end(&self, session: &str, ttl: Duration) -> Result<(), SharedStateError> {
        self.set(session, ENDED.to_owned(), ttl, None).await?;
        self.publish(SESSION_ENDED, Bytes::copy_from_slice(session.as_bytes())).await
    }

    async fn get(&self, session: &str) -> Result<Option<SessionState>, SharedStateError> {
        let value: Option<String> = self.client.get(session_key(session)).await?;
        Ok(value.map(|value| session_state(&value)))
    }
}

#[async_trait]
impl RateLimiter for RedisState {
    async fn take(
        &self,
        buckets: &[Bucket<'_>],
        units: u32,
        session: Option<&str>,
    ) -> Result<Taken, SharedStateError> {
        let costs = costs(buckets, units)?;
        let arguments: Vec<i64> = costs.iter().flat_map(|cost| [cost.micros, cost.burst_micros]).collect();
        let buckets = buckets.iter().map(|bucket| format!("reelmill:rate:{}", bucket.key));
        let keys: Vec<String> = buckets.chain(session.map(session_key)).collect();
        let (wait, ahead, session): (i64, i64, String) =
            self.take.evalsha_with_reload(&self.client, keys, arguments).await?;
        let session = (!session.is_empty()).then(|| session_state(&session));
        let decision = if wait > 0 {
            RateDecision::limited(wait)
        } else {
            RateDecision::Allowed { units_left: costs.first().map_or(0, |cost| cost.units_left(ahead, 0)) }
        };
        Ok(Taken { decision, session })
    }
}

#[async_trait]
impl PubSub for RedisState {
    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), SharedStateError> {
        let _: i64 = self.client.publish(channels::channel_name(topic), payload).await?;
        Ok(())
    }

    async fn subscribe(&self, topic: &str) -> Result<Subscription, SharedStateError> {
        self.channels.subscribe(topic).await
    }
}

/// State of a session by its cached value. An unknown value does not authorise anything.
fn session_state(value: &str) -> SessionState {
    match value.strip_prefix(ALIVE) {
        Some(user) => SessionState::Alive { user: user.to_owned() },
        None => SessionState::Ended,
    }
}

fn session_key(session: &str) -> String {
    format!("reelmill:session:{session}")
}

/// Connects, and again whenever the connection is lost. The server may start later: waits for it only a moment.
pub(super) async fn connect(client: &impl ClientLike) {
    client.connect();
    match tokio::time::timeout(STARTUP_WAIT, client.wait_for_connect()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "Redis is unavailable: retrying"),
        Err(_) => tracing::warn!("Redis is unavailable: retrying"),
    }
}

fn builder(mut config: Config) -> Builder {
    // An unavailable server is waited for, like one that becomes unavailable later.
    config.fail_fast = false;
    // With RESP3 a subscribed connection can be pinged like any other.
    config.version = RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(UNRESPONSIVE_TIMEOUT),
                interval: Duration::from_secs(1),
            };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = SUBSCRIBER_BUFFER;
        })
        .set_policy(ReconnectPolicy::new_exponential(
            0,
            RECONNECT_BACKOFF_MILLIS.0,
            RECONNECT_BACKOFF_MILLIS.1,
            2,
        ));
    builder
}
