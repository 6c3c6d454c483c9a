//! The embedded object store, which tests can make unavailable or slow.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::Request,
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use reelmill_platform::objects::{Objects, ObjectsConfig};
use reelmill_s3_server::ObjectServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const BUCKET: &str = "reelmill";
const ACCESS_KEY_ID: &str = "key";
const SECRET_ACCESS_KEY: &str = "secret";

/// An object store on a loopback port. Stops when `stop` is cancelled.
pub struct GatedObjectStore {
    pub objects: Objects,
    gate: Gate,
}

#[derive(Clone)]
struct Gate {
    is_unavailable: Arc<AtomicBool>,
    heads_are_blocked: watch::Sender<bool>,
}

impl GatedObjectStore {
    pub async fn start(folder: &Path, stop: &CancellationToken) -> Self {
        let gate = Gate { is_unavailable: Arc::default(), heads_are_blocked: watch::Sender::new(false) };
        let endpoint = serve(folder, gate.clone(), stop.clone()).await;
        let config = ObjectsConfig {
            endpoint: Some(endpoint.clone()),
            public_endpoint: Some(endpoint),
            region: "us-east-1".to_owned(),
            bucket: BUCKET.to_owned(),
            access_key_id: Some(ACCESS_KEY_ID.to_owned()),
            secret_access_key: Some(SECRET_ACCESS_KEY.to_owned()),
            path_style: true,
        };
        Self { objects: Objects::connect(&config).await.unwrap(), gate }
    }

    /// Makes every request fail with 503, or succeed again.
    pub fn set_unavailable(&self, is_unavailable: bool) {
        self.gate.is_unavailable.store(is_unavailable, Ordering::SeqCst);
    }

    /// Blocks every HEAD request, or releases them.
    pub fn block_heads(&self, blocked: bool) {
        self.gate.heads_are_blocked.send_replace(blocked);
    }
}

impl Gate {
    async fn pass(self, request: Request, next: Next) -> Response {
        if self.is_unavailable.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        if request.method() == Method::HEAD {
            // Fails if the test has ended.
            let _ = self.heads_are_blocked.subscribe().wait_for(|blocked| !blocked).await;
        }
        next.run(request).await
    }
}

async fn serve(folder: &Path, gate: Gate, stop: CancellationToken) -> String {
    let config = ObjectServerConfig {
        dir: folder.join("objects"),
        bucket: BUCKET.to_owned(),
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret_access_key: SECRET_ACCESS_KEY.to_owned(),
    };
    let store = reelmill_s3_server::open(config).await.unwrap();
    let layer = middleware::from_fn(move |request, next| gate.clone().pass(request, next));
    let app = Router::new().fallback_service(store.service()).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, app) => served.unwrap(),
            () = stop.cancelled() => {}
        }
    });
    endpoint
}
