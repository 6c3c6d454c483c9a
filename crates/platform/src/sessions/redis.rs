//! The hub of many processes: Redis or Valkey.

mod topics;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface, PubsubInterface};
use fred::types::config::{Config, ReconnectPolicy, UnresponsiveConfig};
use fred::types::scripts::Script;
use fred::types::{Builder, Expiration, RespVersion, SetOptions};

use super::rate::Cost;
use super::{Decision, Hub, HubError, RateLimit, SESSION_ENDED, SessionState, Subscription};
use topics::Topics;

/// Session checks stand before every call: better a clear refusal than a long wait.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that owes an answer for this long is given up and made anew.
const UNRESPONSIVE: Duration = Duration::from_secs(5);
const RECONNECT_MILLIS: (u32, u32) = (50, 2_000);

const ENDED: &str = "ended";
const ALIVE: &str = "alive:";

/// GCRA as in `rate.rs`, on the server's clock. KEYS[1]: the bucket; ARGV: cost and burst in microseconds. Gives the
/// microseconds to wait, 0 when the units were taken.
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

pub(super) struct RedisHub {
    client: Client,
    topics: Topics,
    take: Script,
}

impl RedisHub {
    pub(super) async fn open(url: &str) -> Result<Self, HubError> {
        let config = Config::from_url(url).map_err(|error| HubError::Config(error.to_string()))?;
        let builder = builder(config);
        let client = builder.build()?;
        client.init().await?;
        let topics = Topics::open(&builder).await?;
        Ok(Self { client, topics, take: Script::from_lua(TAKE) })
    }

    async fn set(
        &self,
        session: &str,
        value: String,
        ttl: Duration,
        only: Option<SetOptions>,
    ) -> Result<(), HubError> {
        let expiry = Expiration::PX(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1));
        let _: Option<String> =
            self.client.set(session_key(session), value, Some(expiry), only, false).await?;
        Ok(())
    }
}

impl Drop for RedisHub {
    fn drop(&mut self) {
        let client = self.client.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { client.quit().await });
        }
    }
}

#[async_trait]
impl Hub for RedisHub {
    async fn put_session(&self, session: &str, user: &str, ttl: Duration) -> Result<(), HubError> {
        self.set(session, format!("{ALIVE}{user}"), ttl, None).await
    }

    async fn restore_session(&self, session: &str, user: &str, ttl: Duration) -> Result<(), HubError> {
        self.set(session, format!("{ALIVE}{user}"), ttl, Some(SetOptions::NX)).await
    }

    async fn end_session(&self, session: &str, ttl: Duration) -> Result<(), HubError> {
        self.set(session, ENDED.to_owned(), ttl, None).await?;
        self.publish(SESSION_ENDED, Bytes::copy_from_slice(session.as_bytes())).await
    }

    async fn session(&self, session: &str) -> Result<Option<SessionState>, HubError> {
        let value: Option<String> = self.client.get(session_key(session)).await?;
        // What we did not write is no leave to pass.
        Ok(value.map(|value| match value.strip_prefix(ALIVE) {
            Some(user) => SessionState::Alive { user: user.to_owned() },
            None => SessionState::Ended,
        }))
    }

    async fn take(&self, key: &str, units: u32, limit: RateLimit) -> Result<Decision, HubError> {
        let cost = Cost::of(units, limit)?;
        let arguments = vec![cost.micros, cost.burst_micros];
        let bucket = format!("reelmill:rate:{key}");
        let wait: i64 = self.take.evalsha_with_reload(&self.client, vec![bucket], arguments).await?;
        Ok(match u64::try_from(wait) {
            Ok(micros) if micros > 0 => Decision::Refused { retry_after: Duration::from_micros(micros) },
            _ => Decision::Allowed,
        })
    }

    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), HubError> {
        let _: i64 = self.client.publish(topics::channel(topic), payload).await?;
        Ok(())
    }

    async fn subscribe(&self, topic: &str) -> Result<Subscription, HubError> {
        self.topics.subscribe(topic).await
    }
}

fn session_key(session: &str) -> String {
    format!("reelmill:session:{session}")
}

fn builder(mut config: Config) -> Builder {
    config.fail_fast = true;
    // With RESP3 a subscribed connection can be pinged like any other.
    config.version = RespVersion::RESP3;
    let mut builder = Builder::from_config(config);
    builder
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: Duration::from_secs(1) };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = COMMAND_TIMEOUT;
            performance.broadcast_channel_capacity = super::HINTS_KEPT;
        })
        .set_policy(ReconnectPolicy::new_exponential(0, RECONNECT_MILLIS.0, RECONNECT_MILLIS.1, 2));
    builder
}
