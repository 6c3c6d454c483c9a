//! A worker role that runs against fake services.

use super::engine::jail;
use super::fake_dispatcher::FakeDispatcher;
use super::fake_services::{FIRST_MESSAGE, FakeServices, QueuedTask};
use super::processes::wait_until;
use reelmill_mesh::{Channel, MeshKey};
use reelmill_platform::queue::Queue;
use reelmill_proto::transcode::worker_service_client::WorkerServiceClient;
use reelmill_proto::transcode::worker_service_server::WorkerServiceServer;
use reelmill_worker::engine::Jail;
use reelmill_worker::{WorkerConfig, WorkerError, run};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

/// A running worker.
pub struct RunningWorker {
    pub services: Arc<FakeServices>,
    pub shutdown: CancellationToken,
    pub scratch: TempDir,
    worker: JoinHandle<Result<(), WorkerError>>,
}

impl RunningWorker {
    /// Starts a worker. The queue has one message; unless the services have other tasks, it is for preparing `source`.
    pub async fn start(source: &Path, services: FakeServices, drain: Duration) -> Self {
        Self::start_in(jail(), source, services, drain).await
    }

    /// The same with another jail.
    pub async fn start_in(jail: Jail, source: &Path, services: FakeServices, drain: Duration) -> Self {
        // Fails if another test of this process has installed a provider, which is fine.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        *services.source.lock().expect("lock") = std::fs::read(source).expect("source");
        services.messages.lock().expect("lock").push(FIRST_MESSAGE.into());
        if services.tasks.lock().expect("lock").is_empty() {
            services.tasks.lock().expect("lock").push(QueuedTask::Prepare);
        }
        let services = Arc::new(services);

        let object_store = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        services.port.store(object_store.local_addr().expect("address").port().into(), Ordering::SeqCst);
        let router = services.object_store();
        tokio::spawn(async move { axum::serve(object_store, router).await });

        let dispatcher = TcpListener::bind(("127.0.0.1", 0)).await.expect("port");
        let address = format!("http://{}", dispatcher.local_addr().expect("address"));
        let service = WorkerServiceServer::new(FakeDispatcher::new(Arc::clone(&services)));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(dispatcher)));

        let key = MeshKey::new("a-key-for-tests-only-0123").expect("key");
        let channel = Channel::lazy(&address, &key, "worker").expect("channel");
        let scratch = TempDir::new().expect("scratch");
        let mut config = WorkerConfig::new(scratch.path().to_owned(), jail);
        config.drain = drain;
        let shutdown = CancellationToken::new();
        let queue: Arc<dyn Queue> = Arc::clone(&services) as Arc<dyn Queue>;
        let worker = tokio::spawn(run(config, queue, WorkerServiceClient::new(channel), shutdown.clone()));
        Self { services, shutdown, scratch, worker }
    }

    /// Waits until exactly `count` messages have been deleted.
    pub async fn messages_deleted(&self, count: u64) {
        let deleted = || self.services.deleted_messages.load(Ordering::SeqCst) == count;
        wait_until(Duration::from_secs(60), "messages are deleted", deleted).await;
    }

    /// Waits until the plan is there.
    pub async fn planned(&self) {
        wait_until(Duration::from_secs(60), "the plan", || !self.services.work_units().is_empty()).await;
    }

    /// Waits until the worker reports encoded frames.
    pub async fn encoding(&self) {
        let encoding = || {
            let reports = self.services.reports.lock().expect("lock");
            reports.iter().any(|report| report.progress.as_ref().is_some_and(|progress| progress.frames > 0))
        };
        wait_until(Duration::from_secs(60), "frames are encoded", encoding).await;
    }

    /// Stops the worker, and asserts that its scratch folder is empty.
    pub async fn stop(self) -> Arc<FakeServices> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.worker).await;
        ended.expect("the worker ends").expect("no panic").expect("no error");
        assert_eq!(std::fs::read_dir(self.scratch.path()).expect("scratch").count(), 0);
        self.services
    }
}
