//! Conformance of the session cache, rate limiter and pub/sub, in memory and on Redis.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reelmill_platform::shared_state::{
    self, Bucket, Notification, RateDecision, RateLimit, SESSION_ENDED, SessionState, SharedState,
    SharedStateError, Subscription,
};
use reelmill_testkit::{Redis, shared};
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(300);
const WAIT_LIMIT: Duration = Duration::from_secs(20);
/// Delay of everything sent over a slow connection.
const SLOW_CONNECTION_DELAY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy)]
enum Backend {
    Memory,
    Redis,
}

impl Backend {
    /// Two connections to the same state, like those of two replicas.
    async fn open(self) -> [SharedState; 2] {
        let url = match self {
            Self::Memory => format!("memory:{}", Uuid::new_v4()),
            Self::Redis => shared::redis().await.url(),
        };
        [connect(&url).await, connect(&url).await]
    }
}

async fn connect(url: &str) -> SharedState {
    shared_state::connect(url).await.expect("connected")
}

/// A unique name.
fn unique() -> String {
    Uuid::new_v4().to_string()
}

fn alive(user: &str) -> Option<SessionState> {
    Some(SessionState::Alive { user: user.to_owned() })
}

async fn next(subscription: &mut Subscription) -> Notification {
    timeout(WAIT_LIMIT, subscription.next())
        .await
        .expect("a notification in time")
        .expect("an open subscription")
}

fn text(text: &str) -> Notification {
    Notification::Payload(Bytes::copy_from_slice(text.as_bytes()))
}

async fn cached(shared: &SharedState, session: &str) -> Option<SessionState> {
    shared.session_cache.get(session).await.expect("a response")
}

/// Takes units from one bucket.
async fn take(shared: &SharedState, key: &str, units: u32, limit: RateLimit) -> RateDecision {
    let taken = shared.rate_limiter.take(&[Bucket { key, limit }], units, None).await;
    taken.expect("a decision").decision
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_cache_end_replaces_put(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let session = unique();
    assert_eq!(cached(&one, &session).await, None);
    one.session_cache.put(&session, "users/ü:1", LONG).await.expect("put");
    assert_eq!(cached(&other, &session).await, alive("users/ü:1"));
    other.session_cache.end(&session, LONG).await.expect("ended");
    assert_eq!(cached(&one, &session).await, Some(SessionState::Ended));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_cache_restore_never_overwrites(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let session = unique();
    one.session_cache.restore(&session, "users/1", LONG).await.expect("restored");
    assert_eq!(cached(&other, &session).await, alive("users/1"));
    other.session_cache.restore(&session, "users/2", LONG).await.expect("no error");
    assert_eq!(cached(&one, &session).await, alive("users/1"));
    one.session_cache.end(&session, LONG).await.expect("ended");
    other.session_cache.restore(&session, "users/1", LONG).await.expect("no error");
    assert_eq!(cached(&one, &session).await, Some(SessionState::Ended));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_cache_entries_expire(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let (living, ended) = (unique(), unique());
    let short = Duration::from_millis(200);
    one.session_cache.put(&living, "users/1", short).await.expect("put");
    one.session_cache.end(&ended, short).await.expect("ended");
    let deadline = Instant::now() + WAIT_LIMIT;
    while cached(&other, &living).await.is_some() || cached(&other, &ended).await.is_some() {
        assert!(Instant::now() < deadline, "the entries did not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.session_cache.restore(&ended, "users/1", LONG).await.expect("restored");
    assert_eq!(cached(&one, &ended).await, alive("users/1"));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_cache_end_publishes_the_session(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let mut ends = other.pub_sub.subscribe(SESSION_ENDED).await.expect("subscribed");
    let session = unique();
    one.session_cache.end(&session, LONG).await.expect("ended");
    // Other tests end sessions on the same Redis, too.
    while next(&mut ends).await != text(&session) {}
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limiter_allows_the_burst_to_concurrent_callers(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let key = unique();
    let limit = RateLimit { units_per_second: 0.01, burst: 20 };
    let takers = (0..50).map(|number| {
        let state = if number % 2 == 0 { one.clone() } else { other.clone() };
        let key = key.clone();
        tokio::spawn(async move { take(&state, &key, 1, limit).await })
    });
    let decisions = futures::future::join_all(takers).await;
    let allowed =
        decisions.iter().filter(|decision| matches!(decision, Ok(RateDecision::Allowed { .. }))).count();
    assert_eq!(allowed, 20);
    assert_eq!(
        take(&one, &unique(), 20, limit).await,
        RateDecision::Allowed { units_left: 0 },
        "another bucket"
    );
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limiter_retry_after_is_exact(#[case] backend: Backend) {
    let [one, _] = backend.open().await;
    let key = unique();
    let limit = RateLimit { units_per_second: 5.0, burst: 2 };
    // More than the burst costs the burst.
    assert_eq!(take(&one, &key, 7, limit).await, RateDecision::Allowed { units_left: 0 });
    let RateDecision::Limited { retry_after } = take(&one, &key, 2, limit).await else {
        panic!("an empty bucket has no units");
    };
    assert!(
        retry_after > Duration::from_millis(100) && retry_after <= Duration::from_millis(400),
        "{retry_after:?}"
    );
    tokio::time::sleep(retry_after).await;
    assert_eq!(take(&one, &key, 2, limit).await, RateDecision::Allowed { units_left: 0 });
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limiter_takes_from_all_buckets_or_from_none(#[case] backend: Backend) {
    let [one, _] = backend.open().await;
    let limit = |burst| RateLimit { units_per_second: 0.01, burst };
    let (narrow, wide) = (unique(), unique());
    let take = async |key: &str, units| {
        let both = [Bucket { key, limit: limit(3) }, Bucket { key: &wide, limit: limit(4) }];
        one.rate_limiter.take(&both, units, None).await.expect("a decision").decision
    };
    assert_eq!(take(&narrow, 2).await, RateDecision::Allowed { units_left: 1 });
    // The first bucket has too few, then the second.
    let RateDecision::Limited { retry_after } = take(&narrow, 2).await else { panic!("1 unit is left") };
    assert!(
        retry_after > Duration::from_secs(90) && retry_after <= Duration::from_secs(100),
        "{retry_after:?}"
    );
    let another = unique();
    assert!(matches!(take(&another, 3).await, RateDecision::Limited { .. }));
    assert_eq!(take(&another, 2).await, RateDecision::Allowed { units_left: 1 }, "nothing was taken");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limiter_reads_a_session_whether_limited_or_not(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let (session, key) = (unique(), unique());
    let bucket = [Bucket { key: &key, limit: RateLimit { units_per_second: 0.01, burst: 2 } }];
    let take = async || one.rate_limiter.take(&bucket, 1, Some(&session)).await.expect("a decision").session;
    assert_eq!(take().await, None);
    other.session_cache.put(&session, "users/1", LONG).await.expect("put");
    assert_eq!(take().await, alive("users/1"));
    other.session_cache.end(&session, LONG).await.expect("ended");
    let limited = one.rate_limiter.take(&bucket, 1, Some(&session)).await.expect("a decision");
    assert!(matches!(limited.decision, RateDecision::Limited { .. }), "{limited:?}");
    assert_eq!(limited.session, Some(SessionState::Ended));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_limiter_with_an_invalid_limit_is_an_error(#[case] backend: Backend) {
    let [one, _] = backend.open().await;
    let limit = RateLimit { units_per_second: 0.0, burst: 1 };
    let taken = one.rate_limiter.take(&[Bucket { key: &unique(), limit }], 1, None).await;
    assert!(matches!(taken, Err(SharedStateError::Limit)));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_sub_delivers_to_all_subscribers_in_order(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let (topic, another) = (unique(), unique());
    let mut first = one.pub_sub.subscribe(&topic).await.expect("subscribed");
    let mut second = one.pub_sub.subscribe(&topic).await.expect("subscribed");
    let mut third = other.pub_sub.subscribe(&topic).await.expect("subscribed");
    let mut fourth = other.pub_sub.subscribe(&another).await.expect("subscribed");
    let payloads = [Bytes::from_static(b"first"), Bytes::from_static(&[0, 0xff, 0xfe, b'\n']), Bytes::new()];
    for payload in &payloads {
        one.pub_sub.publish(&topic, payload.clone()).await.expect("published");
    }
    other.pub_sub.publish(&another, Bytes::from_static(b"elsewhere")).await.expect("published");
    for subscription in [&mut first, &mut second, &mut third] {
        for payload in &payloads {
            assert_eq!(next(subscription).await, Notification::Payload(payload.clone()));
        }
    }
    assert_eq!(next(&mut fourth).await, text("elsewhere"));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_sub_slow_subscriber_receives_lagged(#[case] backend: Backend) {
    const PUBLISHED: usize = 3_000;
    let [one, other] = backend.open().await;
    let topic = unique();
    let mut slow = other.pub_sub.subscribe(&topic).await.expect("subscribed");
    for number in 0..PUBLISHED {
        one.pub_sub.publish(&topic, Bytes::from(number.to_string())).await.expect("published");
    }
    let last = text(&(PUBLISHED - 1).to_string());
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        seen.push(next(&mut slow).await);
    }
    assert!(seen.contains(&Notification::Lagged));
    assert!(seen.len() < PUBLISHED);
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::redis(Backend::Redis)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pub_sub_resubscribe_receives_again(#[case] backend: Backend) {
    let [one, other] = backend.open().await;
    let topic = unique();
    drop(one.pub_sub.subscribe(&topic).await.expect("subscribed"));
    // Subscribing to another topic unsubscribes from channels without receivers.
    let _another = one.pub_sub.subscribe(&unique()).await.expect("subscribed");
    other.pub_sub.publish(&topic, Bytes::from_static(b"missed")).await.expect("published");
    let mut again = one.pub_sub.subscribe(&topic).await.expect("subscribed");
    other.pub_sub.publish(&topic, Bytes::from_static(b"received")).await.expect("published");
    assert_eq!(next(&mut again).await, text("received"));
}

#[tokio::test]
async fn connect_to_memory_separates_names() {
    let (one, other) = (connect("memory:one").await, connect("memory:other").await);
    one.session_cache.put("session", "users/1", LONG).await.expect("put");
    assert_eq!(cached(&other, "session").await, None);
    assert_eq!(cached(&connect("memory:one").await, "session").await, alive("users/1"));
}

#[tokio::test]
async fn connect_to_an_unknown_backend_is_an_error() {
    for url in ["", "memcached://127.0.0.1", "127.0.0.1:6379"] {
        assert!(matches!(shared_state::connect(url).await, Err(SharedStateError::Config(_))), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_restart_reconnects_and_subscribers_receive_lagged() {
    let server = Redis::start().await.expect("Redis starts");
    let state = connect(&server.url()).await;
    let mut subscription = state.pub_sub.subscribe("topic").await.expect("subscribed");
    state.session_cache.put("session", "users/1", LONG).await.expect("put");
    state.pub_sub.publish("topic", Bytes::from_static(b"before")).await.expect("published");
    assert_eq!(next(&mut subscription).await, text("before"));

    server.stop().await.expect("Redis stops");
    let result = timeout(WAIT_LIMIT, state.session_cache.get("session")).await.expect("bounded");
    assert!(matches!(result, Err(SharedStateError::Redis(_))), "{result:?}");

    server.restart().await.expect("Redis restarts");
    assert_eq!(next(&mut subscription).await, Notification::Lagged);
    let deadline = Instant::now() + WAIT_LIMIT;
    while state.pub_sub.publish("topic", Bytes::from_static(b"after")).await.is_err() {
        assert!(Instant::now() < deadline, "the connection did not come back");
    }
    while next(&mut subscription).await != text("after") {}
    // This server does not persist: a cache miss is looked up in the database.
    assert_eq!(cached(&state, "session").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_script_flush_reloads_the_script() {
    let server = Redis::start().await.expect("Redis starts");
    let state = connect(&server.url()).await;
    let limit = RateLimit { units_per_second: 0.01, burst: 2 };
    assert_eq!(take(&state, "key", 1, limit).await, RateDecision::Allowed { units_left: 1 });
    assert!(server.command("SCRIPT FLUSH").await.expect("flushed").starts_with("+OK"));
    assert_eq!(take(&state, "key", 1, limit).await, RateDecision::Allowed { units_left: 0 });
    assert!(matches!(take(&state, "key", 1, limit).await, RateDecision::Limited { .. }));
}

/// URL of a proxy to the server at `url` that delays requests, but not responses.
async fn slow_proxy_to(url: &str) -> String {
    let server = url.strip_prefix("redis://").expect("a Redis URL").to_owned();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("the server is there");
            let (mut requests, mut client) = client.into_split();
            let (mut responses, mut server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut responses, &mut client).await });
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = requests.read(&mut buffer).await {
                    tokio::time::sleep(SLOW_CONNECTION_DELAY).await;
                    if server.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("redis://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_subscribe_over_a_slow_connection_misses_nothing() {
    let server = Redis::start().await.expect("Redis starts");
    let near = connect(&server.url()).await;
    let far = connect(&slow_proxy_to(&server.url()).await).await;
    let mut subscription = far.pub_sub.subscribe("topic").await.expect("subscribed");
    near.pub_sub.publish("topic", Bytes::from_static(b"at once")).await.expect("published");
    assert_eq!(next(&mut subscription).await, text("at once"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_subscribe_after_a_cancelled_one_receives() {
    let server = Redis::start().await.expect("Redis starts");
    let near = connect(&server.url()).await;
    let far = connect(&slow_proxy_to(&server.url()).await).await;
    assert!(
        timeout(SLOW_CONNECTION_DELAY / 4, far.pub_sub.subscribe("topic")).await.is_err(),
        "the connection was not slow"
    );
    let mut subscription = far.pub_sub.subscribe("topic").await.expect("subscribed");
    near.pub_sub.publish("topic", Bytes::from_static(b"at once")).await.expect("published");
    assert_eq!(next(&mut subscription).await, text("at once"));
}

#[tokio::test]
async fn redis_unreachable_at_start_is_used_once_it_is_there() {
    let server = Redis::start().await.expect("Redis starts");
    server.stop().await.expect("stopped");
    let opened = timeout(WAIT_LIMIT, shared_state::connect(&server.url())).await.expect("bounded");
    let state = opened.expect("opened without the server");
    let refused = timeout(WAIT_LIMIT, state.session_cache.get("a")).await.expect("bounded");
    assert!(matches!(refused, Err(SharedStateError::Redis(_))), "{refused:?}");
    server.restart().await.expect("restarted");
    let reached = async {
        while state.session_cache.get("a").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut subscription = loop {
            match state.pub_sub.subscribe("topic").await {
                Ok(subscription) => break subscription,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        state.pub_sub.publish("topic", Bytes::from_static(b"hello")).await.expect("published");
        while next(&mut subscription).await != text("hello") {}
    };
    timeout(WAIT_LIMIT, reached).await.expect("it is used");
}
