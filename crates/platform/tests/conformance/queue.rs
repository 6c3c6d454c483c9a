//! Conformance of the queue, on SQLite, Postgres and SQS.

use std::{collections::HashSet, sync::Arc, time::Duration};

use reelmill_platform::{
    database::sqlite_url,
    queue::{self, Message, Queue, QueueConfig, QueueDepth, QueueError},
};
use reelmill_testkit::{Sqs, shared};
use rstest::rstest;
use tempfile::TempDir;
use tokio::time::Instant;
use uuid::Uuid;

/// Unit of SQS timeouts: the shortest that all backends support.
const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(300);
/// Time limit of a condition on a busy machine.
const WAIT_LIMIT: Duration = Duration::from_secs(20);
const MAX_RECEIVES: u32 = 2;

#[derive(Clone, Copy)]
enum Backend {
    Sqlite,
    Postgres,
    Sqs,
}

struct Fixture {
    queue: Arc<dyn Queue>,
    config: QueueConfig,
    _folder: TempDir,
}

impl Backend {
    async fn open(self) -> Fixture {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = format!("q{}", Uuid::new_v4().simple());
        let config = match self {
            Self::Sqlite => embedded(sqlite_url(&folder.path().join("queue.db"))),
            Self::Postgres => {
                embedded(shared::postgres().await.create_database(&name).await.expect("a database"))
            }
            Self::Sqs => on_sqs(shared::sqs().await, &name),
        };
        let queue = queue::connect(&config).await.expect("the queue opens");
        Fixture { queue, config, _folder: folder }
    }
}

fn embedded(url: String) -> QueueConfig {
    QueueConfig {
        url,
        dead_letter_url: None,
        max_receives: MAX_RECEIVES,
        region: None,
        access_key_id: None,
        secret_access_key: None,
    }
}

fn on_sqs(server: &Sqs, name: &str) -> QueueConfig {
    QueueConfig {
        region: Some(server.region().to_owned()),
        access_key_id: Some(server.access_key_id().to_owned()),
        secret_access_key: Some(server.secret_access_key().to_owned()),
        ..embedded(server.queue_url(name))
    }
}

async fn send(queue: &Arc<dyn Queue>, body: &str) {
    queue.send(body, Duration::ZERO).await.expect("the message is sent");
}

/// Waits for the next message.
async fn next(queue: &Arc<dyn Queue>, visibility: Duration) -> Message {
    let mut messages = queue.receive(1, visibility, WAIT_LIMIT).await.expect("received");
    assert_eq!(messages.len(), 1, "one message within {WAIT_LIMIT:?}");
    messages.remove(0)
}

async fn is_empty(queue: &Arc<dyn Queue>) -> bool {
    queue.receive(10, LONG, Duration::ZERO).await.expect("received").is_empty()
}

fn is_stale(result: Result<(), QueueError>) -> bool {
    matches!(result, Err(QueueError::ReceiptStale))
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_hides_a_message_and_delete_removes_it(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    assert!(is_empty(&queue).await);
    send(&queue, "work").await;
    let message = next(&queue, 2 * SECOND).await;
    assert_eq!((message.body.as_str(), message.receive_count), ("work", 1));
    assert!(is_empty(&queue).await, "hidden");
    queue.delete(&message.receipt).await.expect("deleted");
    queue.delete(&message.receipt).await.expect("deleted again");
    let later = queue.receive(1, LONG, 4 * SECOND).await.expect("received");
    assert!(later.is_empty(), "redelivered after deletion: {later:?}");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_after_visibility_timeout_redelivers_with_a_new_receipt(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    send(&queue, "work").await;
    let first = next(&queue, SECOND).await;
    let second = next(&queue, LONG).await;
    assert_eq!((second.body.as_str(), second.receive_count), ("work", 2));
    assert_ne!(first.receipt, second.receipt);
    assert!(is_stale(queue.extend(&first.receipt, LONG).await));
    queue.delete(&first.receipt).await.expect("a stale delete is no error");
    queue.extend(&second.receipt, LONG).await.expect("the new receipt is valid");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extend_keeps_a_message_hidden(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    send(&queue, "work").await;
    let message = next(&queue, 3 * SECOND).await;
    let extended = Instant::now();
    queue.extend(&message.receipt, 5 * SECOND).await.expect("extended");
    next(&queue, LONG).await;
    assert!(extended.elapsed() > 4 * SECOND, "redelivered after {:?}", extended.elapsed());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extend_by_zero_makes_a_message_visible(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    send(&queue, "work").await;
    let message = next(&queue, LONG).await;
    queue.extend(&message.receipt, Duration::ZERO).await.expect("made visible");
    assert_eq!(next(&queue, LONG).await.receive_count, 2);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extend_of_a_deleted_message_is_stale(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    send(&queue, "work").await;
    let message = next(&queue, LONG).await;
    queue.delete(&message.receipt).await.expect("deleted");
    assert!(is_stale(queue.extend(&message.receipt, LONG).await));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extend_with_an_unknown_receipt_is_stale(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    for receipt in ["nonsense", "1.2", "dead:nonsense"] {
        assert!(is_stale(queue.extend(receipt, LONG).await), "{receipt}");
        queue.delete(receipt).await.expect("nothing to delete is no error");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_beyond_max_receives_moves_to_dead_letters(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    send(&queue, "poison").await;
    for count in 1..=MAX_RECEIVES {
        let message = next(&queue, LONG).await;
        assert_eq!(message.receive_count, count);
        assert!(queue.dead_letters(10).await.expect("dead letters").is_empty(), "no dead letter yet");
        queue.extend(&message.receipt, Duration::ZERO).await.expect("made visible");
    }
    let deadline = Instant::now() + WAIT_LIMIT;
    let letter = loop {
        assert!(is_empty(&queue).await, "not delivered any more");
        if let Some(letter) = queue.dead_letters(10).await.expect("dead letters").pop() {
            break letter;
        }
        assert!(Instant::now() < deadline, "no dead letter");
    };
    assert_eq!(letter.body, "poison");
    assert!(queue.dead_letters(10).await.expect("dead letters").is_empty(), "hidden from other readers");
    queue.extend(&letter.receipt, Duration::ZERO).await.expect("made visible");
    let letter = queue.dead_letters(10).await.expect("dead letters").pop().expect("visible again");
    queue.delete(&letter.receipt).await.expect("deleted");
    assert!(is_stale(queue.extend(&letter.receipt, LONG).await), "deleted");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_with_delay_is_received_after_the_delay(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    let sent = Instant::now();
    queue.send("later", 2 * SECOND).await.expect("sent");
    assert!(is_empty(&queue).await);
    assert_eq!(next(&queue, LONG).await.body, "later");
    assert!(sent.elapsed() >= Duration::from_millis(1_900), "received after {:?}", sent.elapsed());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_wakes_a_waiting_receiver(#[case] backend: Backend) {
    let Fixture { queue, config, _folder } = backend.open().await;
    // Each role of a process connects by itself.
    let sender = queue::connect(&config).await.expect("the queue opens again");
    let receiver = tokio::spawn(async move { next(&queue, LONG).await });
    tokio::task::yield_now().await;
    let sent = Instant::now();
    send(&sender, "work").await;
    assert_eq!(receiver.await.expect("no panic").body, "work");
    assert!(sent.elapsed() < 5 * SECOND, "woken after {:?}", sent.elapsed());
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_by_concurrent_receivers_returns_each_message_once(#[case] backend: Backend) {
    const MESSAGES: usize = 40;
    let Fixture { queue, _folder, .. } = backend.open().await;
    for number in 0..MESSAGES {
        send(&queue, &number.to_string()).await;
    }
    let receivers = (0..4).map(|_| {
        let queue = Arc::clone(&queue);
        tokio::spawn(async move {
            let mut bodies = Vec::new();
            loop {
                let batch = queue.receive(100, LONG, SECOND).await.expect("received");
                if batch.is_empty() {
                    return bodies;
                }
                assert!(batch.len() <= queue::MAX_BATCH);
                bodies.extend(batch.into_iter().map(|message| message.body));
            }
        })
    });
    let bodies = futures::future::join_all(receivers).await;
    let bodies: Vec<String> = bodies.into_iter().flat_map(|bodies| bodies.expect("no panic")).collect();
    assert_eq!(bodies.len(), MESSAGES);
    assert_eq!(bodies.iter().collect::<HashSet<_>>().len(), MESSAGES);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_returns_bodies_unchanged(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    let long = "x".repeat(200_000);
    for body in ["tasks/1", "{\"a\": \"ü\u{1F3AC}\"}", "a&b <c>\n\t'\"", &long] {
        send(&queue, body).await;
        let message = next(&queue, LONG).await;
        assert_eq!(message.body, body);
        queue.delete(&message.receipt).await.expect("deleted");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_again_keeps_messages(#[case] backend: Backend) {
    let Fixture { queue, config, _folder } = backend.open().await;
    send(&queue, "work").await;
    drop(queue);
    let queue = queue::connect(&config).await.expect("the queue opens again");
    assert_eq!(next(&queue, LONG).await.body, "work");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_with_an_invalid_configuration_is_an_error(#[case] backend: Backend) {
    let Fixture { config, _folder, .. } = backend.open().await;
    let zero = QueueConfig { max_receives: 0, ..config.clone() };
    assert!(matches!(queue::connect(&zero).await, Err(QueueError::Config(_))));
    let unknown = QueueConfig { url: "amqp://127.0.0.1".to_owned(), ..config };
    assert!(matches!(queue::connect(&unknown).await, Err(QueueError::Config(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receive_after_sqs_lost_the_queue_recreates_it() {
    let server = Sqs::start().await.expect("SQS starts");
    let queue = queue::connect(&on_sqs(&server, "work")).await.expect("the queue opens");
    send(&queue, "lost").await;
    server.restart().await.expect("SQS restarts");
    assert!(is_empty(&queue).await);
    send(&queue, "kept").await;
    assert_eq!(next(&queue, LONG).await.body, "kept");
    server.restart().await.expect("SQS restarts");
    send(&queue, "kept").await;
    assert_eq!(next(&queue, LONG).await.body, "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_to_unavailable_sqs_fails_in_bounded_time() {
    let server = Sqs::start().await.expect("SQS starts");
    let queue = queue::connect(&on_sqs(&server, "work")).await.expect("the queue opens");
    server.stop().await.expect("SQS stops");
    let result = tokio::time::timeout(WAIT_LIMIT, queue.send("work", Duration::ZERO)).await.expect("bounded");
    assert!(matches!(result, Err(QueueError::Sqs { operation: "SendMessage", .. })), "{result:?}");
    server.restart().await.expect("SQS restarts");
    send(&queue, "work").await;
    assert_eq!(next(&queue, LONG).await.body, "work");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::sqs(Backend::Sqs)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn depth_counts_visible_hidden_and_dead_messages(#[case] backend: Backend) {
    let Fixture { queue, _folder, .. } = backend.open().await;
    let depth = async || queue.depth().await.expect("counted");
    assert_eq!(depth().await, QueueDepth::default());
    for body in ["one", "two", "three"] {
        send(&queue, body).await;
    }
    next(&queue, LONG).await;
    assert_eq!(depth().await, QueueDepth { visible: 2, hidden: 1, dead_letters: 0 });
    // Both others are received too often.
    for _ in 0..2 * MAX_RECEIVES {
        let message = next(&queue, LONG).await;
        queue.extend(&message.receipt, Duration::ZERO).await.expect("returned");
    }
    let deadline = Instant::now() + WAIT_LIMIT;
    while depth().await != (QueueDepth { visible: 0, hidden: 1, dead_letters: 2 }) {
        // SQS moves them when it would deliver them once more.
        assert!(is_empty(&queue).await);
        assert!(Instant::now() < deadline, "{:?}", depth().await);
    }
}
