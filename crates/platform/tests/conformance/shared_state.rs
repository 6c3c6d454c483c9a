//! The promises of sessions, rate limits and hints, in memory and on Redis.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use reelmill_platform::shared_state::{
    self, Notification, RateDecision, RateLimit, SESSION_ENDED, SessionState, SharedState, SharedStateError,
    Subscription,
};
use reelmill_testkit::{Redis, shared};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(20);
/// How late a slow connection brings what is sent.
const LATE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy)]
enum Backend {
    Memory,
    Redis,
}

crate::on_every_backend!(
    memory = crate::shared_state::Backend::Memory,
    redis = crate::shared_state::Backend::Redis
    => [
        a_session_lives_and_ends,
        a_restored_session_never_overwrites,
        sessions_and_their_ends_expire,
        an_ended_session_is_published,
        a_bucket_gives_its_burst_and_no_more,
        a_refusal_says_when_to_come_again,
        limits_that_let_nothing_through_are_refused,
        all_subscribers_see_all_of_their_topic_in_order,
        a_slow_subscriber_is_told_that_it_lags,
        a_topic_can_be_left_and_joined_again,
    ]
);

impl Backend {
    /// Two handles on the same hub, as two replicas hold them.
    async fn open(self) -> [SharedState; 2] {
        let url = match self {
            Self::Memory => format!("memory:{}", Uuid::new_v4()),
            Self::Redis => shared::redis().await.url(),
        };
        [connect(&url).await, connect(&url).await]
    }
}

async fn connect(url: &str) -> SharedState {
    shared_state::connect(url).await.expect("the hub opens")
}

/// A name that no other test uses.
fn unique() -> String {
    Uuid::new_v4().to_string()
}

fn alive(user: &str) -> Option<SessionState> {
    Some(SessionState::Alive { user: user.to_owned() })
}

async fn hint(subscription: &mut Subscription) -> Notification {
    timeout(PATIENCE, subscription.next()).await.expect("a hint in time").expect("the hub is there")
}

fn text(text: &str) -> Notification {
    Notification::Payload(Bytes::copy_from_slice(text.as_bytes()))
}

async fn state(shared: &SharedState, session: &str) -> Option<SessionState> {
    shared.session_cache.get(session).await.expect("an answer")
}

async fn a_session_lives_and_ends(backend: Backend) {
    let [one, other] = backend.open().await;
    let session = unique();
    assert_eq!(state(&one, &session).await, None);
    one.session_cache.put(&session, "users/ü:1", LONG).await.expect("put");
    assert_eq!(state(&other, &session).await, alive("users/ü:1"));
    other.session_cache.end(&session, LONG).await.expect("ended");
    assert_eq!(state(&one, &session).await, Some(SessionState::Ended));
}

async fn a_restored_session_never_overwrites(backend: Backend) {
    let [one, other] = backend.open().await;
    let session = unique();
    one.session_cache.restore(&session, "users/1", LONG).await.expect("restored");
    assert_eq!(state(&other, &session).await, alive("users/1"));
    other.session_cache.restore(&session, "users/2", LONG).await.expect("no error");
    assert_eq!(state(&one, &session).await, alive("users/1"));
    one.session_cache.end(&session, LONG).await.expect("ended");
    other.session_cache.restore(&session, "users/1", LONG).await.expect("no error");
    assert_eq!(state(&one, &session).await, Some(SessionState::Ended));
}

async fn sessions_and_their_ends_expire(backend: Backend) {
    let [one, other] = backend.open().await;
    let (living, ended) = (unique(), unique());
    let short = Duration::from_millis(200);
    one.session_cache.put(&living, "users/1", short).await.expect("put");
    one.session_cache.end(&ended, short).await.expect("ended");
    let deadline = Instant::now() + PATIENCE;
    while state(&other, &living).await.is_some() || state(&other, &ended).await.is_some() {
        assert!(Instant::now() < deadline, "they did not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.session_cache.restore(&ended, "users/1", LONG).await.expect("restored");
    assert_eq!(state(&one, &ended).await, alive("users/1"));
}

async fn an_ended_session_is_published(backend: Backend) {
    let [one, other] = backend.open().await;
    let mut ends = other.pub_sub.subscribe(SESSION_ENDED).await.expect("subscribed");
    let session = unique();
    one.session_cache.end(&session, LONG).await.expect("ended");
    // Other tests end sessions too, on the same Redis.
    while hint(&mut ends).await != text(&session) {}
}

async fn a_bucket_gives_its_burst_and_no_more(backend: Backend) {
    let [one, other] = backend.open().await;
    let key = unique();
    let limit = RateLimit { units_per_second: 0.01, burst: 20 };
    let takers = (0..50).map(|number| {
        let hub = if number % 2 == 0 { one.clone() } else { other.clone() };
        let key = key.clone();
        tokio::spawn(async move { hub.rate_limiter.take(&key, 1, limit).await.expect("a decision") })
    });
    let decisions = futures::future::join_all(takers).await;
    let allowed = decisions.iter().filter(|decision| matches!(decision, Ok(RateDecision::Allowed))).count();
    assert_eq!(allowed, 20);
    assert_eq!(
        one.rate_limiter.take(&unique(), 20, limit).await.expect("a decision"),
        RateDecision::Allowed,
        "another bucket"
    );
}

async fn a_refusal_says_when_to_come_again(backend: Backend) {
    let [one, _] = backend.open().await;
    let key = unique();
    let limit = RateLimit { units_per_second: 5.0, burst: 2 };
    // More than the burst costs the burst.
    assert_eq!(one.rate_limiter.take(&key, 7, limit).await.expect("a decision"), RateDecision::Allowed);
    let RateDecision::Limited { retry_after } =
        one.rate_limiter.take(&key, 2, limit).await.expect("a decision")
    else {
        panic!("an empty bucket gives nothing");
    };
    assert!(
        retry_after > Duration::from_millis(100) && retry_after <= Duration::from_millis(400),
        "{retry_after:?}"
    );
    tokio::time::sleep(retry_after).await;
    assert_eq!(one.rate_limiter.take(&key, 2, limit).await.expect("a decision"), RateDecision::Allowed);
}

async fn limits_that_let_nothing_through_are_refused(backend: Backend) {
    let [one, _] = backend.open().await;
    let limit = RateLimit { units_per_second: 0.0, burst: 1 };
    assert!(matches!(one.rate_limiter.take(&unique(), 1, limit).await, Err(SharedStateError::Limit)));
}

async fn all_subscribers_see_all_of_their_topic_in_order(backend: Backend) {
    let [one, other] = backend.open().await;
    let (topic, another) = (unique(), unique());
    let mut here = one.pub_sub.subscribe(&topic).await.expect("subscribed");
    let mut here_too = one.pub_sub.subscribe(&topic).await.expect("subscribed");
    let mut there = other.pub_sub.subscribe(&topic).await.expect("subscribed");
    let mut elsewhere = other.pub_sub.subscribe(&another).await.expect("subscribed");
    let payloads = [Bytes::from_static(b"first"), Bytes::from_static(&[0, 0xff, 0xfe, b'\n']), Bytes::new()];
    for payload in &payloads {
        one.pub_sub.publish(&topic, payload.clone()).await.expect("published");
    }
    other.pub_sub.publish(&another, Bytes::from_static(b"elsewhere")).await.expect("published");
    for subscription in [&mut here, &mut here_too, &mut there] {
        for payload in &payloads {
            assert_eq!(hint(subscription).await, Notification::Payload(payload.clone()));
        }
    }
    assert_eq!(hint(&mut elsewhere).await, text("elsewhere"));
}

async fn a_slow_subscriber_is_told_that_it_lags(backend: Backend) {
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
        seen.push(hint(&mut slow).await);
    }
    assert!(seen.contains(&Notification::Lagged));
    assert!(seen.len() < PUBLISHED);
}

async fn a_topic_can_be_left_and_joined_again(backend: Backend) {
    let [one, other] = backend.open().await;
    let topic = unique();
    drop(one.pub_sub.subscribe(&topic).await.expect("subscribed"));
    // Joining another topic is when those that nobody hears are left.
    let _another = one.pub_sub.subscribe(&unique()).await.expect("subscribed");
    other.pub_sub.publish(&topic, Bytes::from_static(b"unheard")).await.expect("published");
    let mut again = one.pub_sub.subscribe(&topic).await.expect("subscribed");
    other.pub_sub.publish(&topic, Bytes::from_static(b"heard")).await.expect("published");
    assert_eq!(hint(&mut again).await, text("heard"));
}

#[tokio::test]
async fn memory_hubs_of_other_names_are_others() {
    let (one, other) = (connect("memory:one").await, connect("memory:other").await);
    one.session_cache.put("session", "users/1", LONG).await.expect("put");
    assert_eq!(state(&other, "session").await, None);
    assert_eq!(state(&connect("memory:one").await, "session").await, alive("users/1"));
}

#[tokio::test]
async fn urls_that_name_no_backend_are_refused() {
    for url in ["", "memcached://127.0.0.1", "127.0.0.1:6379"] {
        assert!(matches!(shared_state::connect(url).await, Err(SharedStateError::Config(_))), "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_restarts_is_found_again_and_subscribers_are_told() {
    let server = Redis::start().await.expect("Redis starts");
    let hub = connect(&server.url()).await;
    let mut subscription = hub.pub_sub.subscribe("topic").await.expect("subscribed");
    hub.session_cache.put("session", "users/1", LONG).await.expect("put");
    hub.pub_sub.publish("topic", Bytes::from_static(b"before")).await.expect("published");
    assert_eq!(hint(&mut subscription).await, text("before"));

    server.stop().await.expect("Redis stops");
    let answer = timeout(PATIENCE, hub.session_cache.get("session")).await.expect("bounded");
    assert!(matches!(answer, Err(SharedStateError::Redis(_))), "{answer:?}");

    server.restart().await.expect("Redis restarts");
    assert_eq!(hint(&mut subscription).await, Notification::Lagged);
    let deadline = Instant::now() + PATIENCE;
    while hub.pub_sub.publish("topic", Bytes::from_static(b"after")).await.is_err() {
        assert!(Instant::now() < deadline, "the connection did not come back");
    }
    while hint(&mut subscription).await != text("after") {}
    // This server keeps nothing: what is not known is asked of the database.
    assert_eq!(state(&hub, "session").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgot_its_scripts_is_taught_again() {
    let server = Redis::start().await.expect("Redis starts");
    let hub = connect(&server.url()).await;
    let limit = RateLimit { units_per_second: 0.01, burst: 2 };
    assert_eq!(hub.rate_limiter.take("key", 1, limit).await.expect("a decision"), RateDecision::Allowed);
    assert!(server.command("SCRIPT FLUSH").await.expect("flushed").starts_with("+OK"));
    assert_eq!(hub.rate_limiter.take("key", 1, limit).await.expect("a decision"), RateDecision::Allowed);
    assert!(matches!(hub.rate_limiter.take("key", 1, limit).await, Ok(RateDecision::Limited { .. })));
}

/// The URL of a way to the server at `url` on which all that is sent comes late; what is answered does not.
async fn slow_way_to(url: &str) -> String {
    let server = url.strip_prefix("redis://").expect("a Redis URL").to_owned();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.expect("the server is there");
            let (mut requests, mut client) = client.into_split();
            let (mut answers, mut server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut client).await });
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = requests.read(&mut buffer).await {
                    tokio::time::sleep(LATE).await;
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
async fn who_has_subscribed_over_a_slow_redis_connection_hears_all() {
    let server = Redis::start().await.expect("Redis starts");
    let near = connect(&server.url()).await;
    let far = connect(&slow_way_to(&server.url()).await).await;
    let mut subscription = far.pub_sub.subscribe("topic").await.expect("subscribed");
    near.pub_sub.publish("topic", Bytes::from_static(b"at once")).await.expect("published");
    assert_eq!(hint(&mut subscription).await, text("at once"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_topic_whose_first_subscriber_gave_up_is_heard_by_the_next() {
    let server = Redis::start().await.expect("Redis starts");
    let near = connect(&server.url()).await;
    let far = connect(&slow_way_to(&server.url()).await).await;
    assert!(timeout(LATE / 4, far.pub_sub.subscribe("topic")).await.is_err(), "it was not slow");
    let mut subscription = far.pub_sub.subscribe("topic").await.expect("subscribed");
    near.pub_sub.publish("topic", Bytes::from_static(b"at once")).await.expect("published");
    assert_eq!(hint(&mut subscription).await, text("at once"));
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_an_error_in_bounded_time() {
    let answer = timeout(PATIENCE, shared_state::connect("redis://127.0.0.1:1")).await.expect("bounded");
    assert!(matches!(answer, Err(SharedStateError::Redis(_))));
}
