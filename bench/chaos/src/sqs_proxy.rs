//! A proxy in front of the SQS server that sends messages twice, or late and so in another order.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What happens to messages that are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Delivery {
    #[default]
    Normal,
    /// Each message is sent twice.
    Twice,
    /// Messages can be received after zero to this many seconds.
    Late(u64),
}

/// A proxy on a loopback port.
pub struct SqsProxy {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    delivery: Mutex<Delivery>,
    sent: AtomicU64,
}

impl SqsProxy {
    /// Listens in front of the server at `upstream`, `http://HOST:PORT`.
    pub async fn start(upstream: String) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            upstream,
            http: reqwest::Client::new(),
            delivery: Mutex::default(),
            sent: AtomicU64::new(0),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let router = Router::new().fallback(forward).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { shared, port })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens to messages.
    pub fn set(&self, delivery: Delivery) {
        *self.shared.delivery.lock().unwrap_or_else(PoisonError::into_inner) = delivery;
    }

    /// Deletes all messages of a queue.
    pub async fn purge(&self, queue: &str) -> anyhow::Result<()> {
        let url = format!("{}/000000000000/{queue}", self.shared.upstream);
        let request = self
            .shared
            .http
            .post(&self.shared.upstream)
            .header("x-amz-target", "AmazonSQS.PurgeQueue")
            .header("content-type", "application/x-amz-json-1.0")
            // The server does not verify signatures, but reads the region from one.
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, \
                 SignedHeaders=host, Signature=0",
            )
            .body(json!({"QueueUrl": url}).to_string());
        let response = request.send().await?;
        let status = response.status();
        anyhow::ensure!(status.is_success(), "PurgeQueue: {status}: {}", response.text().await?);
        Ok(())
    }
}

impl Shared {
    /// The body of a request with delays of its messages.
    fn delayed(&self, body: &Bytes, most: u64) -> Bytes {
        let Ok(mut request) = serde_json::from_slice::<Value>(body) else { return body.clone() };
        let mut delay = |message: &mut Value| {
            // Different delays for consecutive messages.
            let seconds = self.sent.fetch_add(1, Ordering::Relaxed) * 7 % (most + 1);
            message["DelaySeconds"] = seconds.into();
        };
        match request.get_mut("Entries").and_then(Value::as_array_mut) {
            Some(entries) => entries.iter_mut().for_each(&mut delay),
            None => delay(&mut request),
        }
        request.to_string().into()
    }
}

async fn forward(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let delivery = *shared.delivery.lock().unwrap_or_else(PoisonError::into_inner);
    let (times, body) = match delivery {
        _ if !target.contains(".SendMessage") => (1, body),
        Delivery::Normal => (1, body),
        Delivery::Twice => (2, body),
        Delivery::Late(most) => (1, shared.delayed(&body, most)),
    };
    let mut answer = (StatusCode::BAD_GATEWAY, HeaderMap::new(), Bytes::new());
    for _ in 0..times {
        let mut headers = headers.clone();
        headers.remove("host");
        headers.remove("content-length");
        let request = shared.http.post(format!("{}{uri}", shared.upstream)).headers(headers);
        let Ok(response) = request.body(body.clone()).send().await else { return answer };
        let (status, mut headers) = (response.status(), response.headers().clone());
        headers.remove("transfer-encoding");
        headers.remove("content-length");
        answer = (status, headers, response.bytes().await.unwrap_or_default());
    }
    answer
}
