//! gRPC server of a role: listener, layers, graceful shutdown.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use reelmill_proto::{DESCRIPTORS, Policies, PolicyError};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

use crate::{channel, identity::MeshKey, server_layer::ServerLayer};

/// Time that open calls get to finish at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Listening socket of a role: `HOST:PORT` or `unix:///PATH`.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket and its path.
    Unix(UnixListener, PathBuf),
}

/// Why a role cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error("cannot listen at {address}: {cause}")]
    Listen {
        /// The configured address.
        address: String,
        /// Error of the operating system.
        cause: io::Error,
    },
    /// The API descriptors are unreadable.
    #[error(transparent)]
    Contract(#[from] PolicyError),
    /// The reflection service cannot be built.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[from] tonic::transport::Error),
}

impl Listener {
    /// Binds the address. A socket file left by an earlier process is replaced.
    pub async fn bind(address: &str) -> Result<Self, ServeError> {
        let failed = |cause| ServeError::Listen { address: address.to_owned(), cause };
        let Some(path) = address.strip_prefix("unix://") else {
            return TcpListener::bind(address).await.map(Self::Tcp).map_err(failed);
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        Ok(Self::Unix(listener, PathBuf::from(path)))
    }

    /// The address for a [`crate::Channel`].
    pub fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Self::Unix(_, path) => Ok(format!("unix://{}", path.display())),
        }
    }
}

/// Incoming connections with TCP_NODELAY. The server's own setting covers only listeners that it binds itself.
fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Serves a role's methods, health and reflection until `shutdown`; then waits up to 10 s for open calls and returns.
///
/// `services` are the full names of the services in `routes`, for health and reflection.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    services: &[&str],
    key: MeshKey,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let policies = Arc::new(Policies::of_contract()?);
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in services {
        reporter.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    let reflection = || {
        let health = [tonic_health::pb::health_server::SERVICE_NAME];
        let names = services.iter().copied().chain(health);
        let described = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        names.fold(described, |described, name| described.with_service_name(name))
    };
    let reflected = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let router = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .initial_connection_window_size(4 << 20)
        .initial_stream_window_size(1 << 20)
        .http2_max_header_list_size(channel::MAX_HEADER_BYTES)
        .layer(ServerLayer::new(key, policies, shutdown.clone()))
        .add_routes(routes.add_service(health).add_service(reflected.0).add_service(reflected.1));

    let stop = shutdown.clone().cancelled_owned();
    let serving = async {
        match listener {
            Listener::Tcp(tcp) => router.serve_with_incoming_shutdown(incoming(tcp), stop).await,
            Listener::Unix(unix, path) => {
                let served = router.serve_with_incoming_shutdown(UnixListenerStream::new(unix), stop).await;
                let _ = std::fs::remove_file(path);
                served
            }
        }
    };
    let drain_timeout = async {
        shutdown.cancelled().await;
        for name in services.iter().copied().chain([""]) {
            reporter.set_service_status(name, tonic_health::ServingStatus::NotServing).await;
        }
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        served = serving => served.map_err(ServeError::from),
        () = drain_timeout => Ok(()),
    }
}
