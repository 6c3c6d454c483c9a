//! A gateway: its routes, put together from their parts.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{any, get, post_service},
};
use reelmill_mesh::MeshKey;
use reelmill_platform::{
    clock::Clock, objects::Objects, shared_state::SharedState, signed_path::PrefixSigner,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    admission::{Admission, Load},
    call::{self, AdmitLayer, Forward},
    client::{ClientAddresses, ClientOrigins, Proxies},
    config::{GatewayConfig, Limits},
    contract::Contract,
    embedded::EmbeddedServices,
    error::GatewayError,
    methods::MethodTable,
    pages::{self, Pages},
    playback::{self, Playback},
    probes::{self, Readiness},
    request_id,
    server::{self, Connections},
    sessions::Sessions,
    throttled_log::ThrottledLog,
    tokens::TokenVerifier,
    upstreams::Upstreams,
};

/// The public endpoint of an installation.
pub struct Gateway {
    router: Router,
    admission: Arc<Admission>,
    connections: Arc<Connections>,
    /// Cancelled at shutdown: open streams end then.
    draining: CancellationToken,
    /// Ends streams when their sessions end.
    _session_watcher: AbortOnDropHandle<()>,
}

impl Gateway {
    /// Prepares a gateway. Roles are connected at the first call; ended sessions are watched from now on. Must be
    /// called within a Tokio runtime.
    ///
    /// `object_routes` is the embedded object store, if there is one. It serves `/{bucket}` and all paths below, which
    /// are not stripped because request signatures cover them.
    pub fn open(
        config: GatewayConfig,
        key: MeshKey,
        state: SharedState,
        objects: Objects,
        object_routes: Option<Router>,
        clock: Clock,
    ) -> Result<Self, GatewayError> {
        let admission = Admission::new(config.limits);
        let proxies = Proxies::new(&config)?;
        let Limits { connections, connections_per_address, .. } = config.limits.checked()?;
        let connections = Connections::new(connections_per_address, connections, proxies.clone());
        let contract = Contract::read(&config.descriptors)?;
        let upstreams = Arc::new(Upstreams::open(contract.roles(), &config.upstreams, &key)?);
        let draining = CancellationToken::new();
        let sessions = Arc::new(Sessions::new(
            Arc::clone(&state.session_cache),
            state.pub_sub,
            upstreams.session_client(),
            clock.clone(),
        ));
        let calls = call::service(
            call::cors(&config.allowed_origins)?,
            MethodTable::new(&contract, &upstreams)?,
            TokenVerifier::new(upstreams.auth_client(), clock.clone()),
            AdmitLayer {
                admission: Arc::clone(&admission),
                limiter: state.rate_limiter,
                local_limiter: SharedState::in_memory().rate_limiter,
                user_limit: config.rate,
                address_limit: config.anonymous_rate,
                addresses: ClientAddresses::new(proxies.clone()),
                sessions: Arc::clone(&sessions),
                unavailable_log: ThrottledLog::new(clock.clone()),
            },
            Forward {
                embedded: EmbeddedServices::new(&config.descriptors, &contract)?,
                origins: ClientOrigins::new(&config, proxies)?,
                draining: draining.clone(),
            },
        );
        let pages = Arc::new(Pages::new(&config)?);
        let bucket = objects.bucket().to_owned();
        let readiness = Readiness::new(upstreams, state.session_cache, objects.clone(), draining.clone());
        let playback = Playback::new(objects, PrefixSigner::new(config.playback_secret.as_bytes()), clock);

        let router = Router::new()
            .route(
                "/{service}/{method}",
                post_service(calls.clone())
                    .get(pages::page)
                    .with_state(pages.clone())
                    // CORS preflights, and an error for other methods.
                    .fallback_service(calls),
            )
            .route("/play/{token}/{*path}", playback::route(playback))
            .route("/healthz", get(probes::healthz))
            .route("/readyz", get(probes::readyz).with_state(readiness))
            .fallback_service(any(pages::page).with_state(pages))
            .merge(object_store_routes(&bucket, object_routes))
            .layer(middleware::from_fn(request_id::assign));
        let session_watcher = AbortOnDropHandle::new(tokio::spawn(sessions.watch()));
        Ok(Self { router, admission, connections, draining, _session_watcher: session_watcher })
    }

    /// What its callers have in progress now.
    pub fn load(&self) -> Load {
        Load { connections: self.connections.count(), ..self.admission.load() }
    }

    /// Serves until `shutdown`, then ends open streams with UNAVAILABLE, waits up to 10 s for other calls, and returns.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), GatewayError> {
        let router = self.router.clone();
        server::serve(listener, router, &self.connections, shutdown, self.draining.clone()).await;
        Ok(())
    }
}

/// Routes of the embedded object store.
fn object_store_routes(bucket: &str, object_routes: Option<Router>) -> Router {
    let Some(objects) = object_routes else {
        return Router::new();
    };
    let objects = objects.into_service::<axum::body::Body>();
    [format!("/{bucket}"), format!("/{bucket}/"), format!("/{bucket}/{{*key}}")]
        .iter()
        .fold(Router::new(), |router, path| router.route_service(path, objects.clone()))
}
