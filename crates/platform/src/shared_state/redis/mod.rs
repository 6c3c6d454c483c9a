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
    PubSub, RateDecision, RateLimit, RateLimiter, SESSION_ENDED, SessionCache, SessionState,
    SharedStateError, Subscription, pub_sub::SUBSCRIBER_BUFFER, rate_limiter::Cost,
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

/// GCRA as in `rate_limiter.rs`, on the server's clock. KEYS[1]: the bucket; ARGV: cost and burst in microseconds.
/// Returns the microseconds to wait, 0 if the units were taken.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = tonumber(redis.call('GET', KEYS[1]) or 0)
local next = math.max(arrival, now) + ARGV[1]
local wait = next - ARGV[2] - now
if wait > 0 then
  return wait
end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
return 0
";

pub(super) struct RedisState {
    client: Client,
    channels: Channels,
    take: Script,
}

impl RedisState {
    pub(super) async fn open(url: &str) -> Result<Self, SharedStateError> {
        let config = Config::from_url(url).map_err(|error| SharedStateError::Config(error.to_string()))?;
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
        // An unknown value does not authorise anything.
        Ok(value.map(|value| match value.strip_prefix(ALIVE) {
            Some(user) => SessionState::Alive { user: user.to_owned() },
            None => SessionState::Ended,
        }))
    }
}

#[async_trait]
impl RateLimiter for RedisState {
    async fn take(&self, key: &str, units: u32, limit: RateLimit) -> Result<RateDecision, SharedStateError> {
        let cost = Cost::of(units, limit)?;
        let arguments = vec![cost.micros, cost.burst_micros];
        let bucket = format!("reelmill:rate:{key}");
        let wait: i64 = self.take.evalsha_with_reload(&self.client, vec![bucket], arguments).await?;
        Ok(match u64::try_from(wait) {
            Ok(micros) if micros > 0 => RateDecision::Limited { retry_after: Duration::from_micros(micros) },
            _ => RateDecision::Allowed,
        })
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
