//! The gateway as a whole: what it knows, and its routes.

use std::sync::Arc;

use axum::{Router, middleware, routing::get};
use http::HeaderValue;
use reelmill_mesh::MeshKey;
use reelmill_platform::{
    clock::Clock,
    objects::Objects,
    shared_state::{RateLimiter, SharedState},
    signed_path::PathSigner,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    GatewayConfig, GatewayError, call,
    contract::Methods,
    health::{self, OwnServices},
    pages, playback, request_id, server,
    sessions::Sessions,
    sparse_log::SparseLog,
    tokens::KeyRing,
    upstreams::Upstreams,
};

/// What every request may need.
pub(crate) struct Shared {
    pub config: GatewayConfig,
    pub methods: Methods,
    pub upstreams: Arc<Upstreams>,
    pub rate_limiter: Arc<dyn RateLimiter>,
    pub sessions: Arc<Sessions>,
    pub keys: KeyRing,
    pub objects: Objects,
    pub own_services: OwnServices,
    pub signer: PathSigner,
    pub clock: Clock,
    /// Value of `content-security-policy` for the page.
    pub page_policy: HeaderValue,
    /// Fires when the gateway stops: open streams end then.
    pub draining: CancellationToken,
    pub limiter_away: SparseLog,
    /// Ends streams with their sessions.
    _follower: AbortOnDropHandle<()>,
}

/// The public door of one system.
pub struct Gateway {
    shared: Arc<Shared>,
    router: Router,
}

impl Gateway {
    /// Prepares a gateway. Nothing is connected yet, but sessions that end are followed from now on; must be
    /// called within a Tokio runtime.
    ///
    /// `object_routes` is the embedded S3 server, if there is one: it answers `/{bucket}` and all below,
    /// with paths unstripped, since signatures cover them.
    pub fn open(
        config: GatewayConfig,
        key: MeshKey,
        state: SharedState,
        objects: Objects,
        object_routes: Option<Router>,
        clock: Clock,
    ) -> Result<Self, GatewayError> {
        let methods = Methods::of_contract()?;
        let upstreams = Arc::new(Upstreams::open(&config, &methods, &key)?);
        let sessions =
            Arc::new(Sessions::new(state.session_cache, state.pub_sub, upstreams.clone(), clock.clone()));
        let shared = Arc::new(Shared {
            signer: PathSigner::new(config.playback_secret.as_bytes()),
            page_policy: pages::policy(&config)?,
            config,
            upstreams,
            rate_limiter: state.rate_limiter,
            keys: KeyRing::default(),
            own_services: OwnServices::new(&methods)?,
            _follower: AbortOnDropHandle::new(tokio::spawn(sessions.clone().follow())),
            objects,
            clock,
            draining: CancellationToken::new(),
            limiter_away: SparseLog::new(),
            sessions,
            methods,
        });
        let router = routes(&shared, object_routes)?;
        Ok(Self { shared, router })
    }

    /// Every route, for a server of one's own. It should put `ConnectInfo<SocketAddr>` into the requests'
    /// extensions; without it all anonymous callers share one rate limit.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves until `shutdown`, then ends open streams with UNAVAILABLE, lets other calls finish for up to
    /// ten seconds, and returns.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), GatewayError> {
        server::serve(listener, self.router(), shutdown, self.shared.draining.clone()).await;
        Ok(())
    }
}

/// The one port's routes.
fn routes(shared: &Arc<Shared>, object_routes: Option<Router>) -> Result<Router, GatewayError> {
    let mut router = Router::new()
        .route("/{service}/{method}", call::route(shared)?.get(pages::page))
        .route("/play/{token}/{*path}", playback::route())
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .fallback(pages::page)
        .with_state(shared.clone());
    if let Some(objects) = object_routes {
        let bucket = shared.objects.bucket();
        for path in [format!("/{bucket}"), format!("/{bucket}/"), format!("/{bucket}/{{*key}}")] {
            router = router.route_service(&path, objects.clone().into_service::<axum::body::Body>());
        }
    }
    Ok(router.layer(middleware::from_fn(request_id::name_request)))
}
