//! Connections to the roles behind the gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use reelmill_mesh::{Channel, Forwarder, MeshKey};
use reelmill_proto::auth::{
    auth_service_client::AuthServiceClient, session_service_client::SessionServiceClient,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::error::GatewayError;

/// Name of the gateway as a caller of other roles.
const OWN_NAME: &str = "gateway";
/// Time that a role gets to answer a health check.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// All roles that serve public methods.
pub(crate) struct Upstreams {
    by_role: BTreeMap<String, Arc<Upstream>>,
    /// For the gateway's own calls, on a connection that forwarded calls cannot saturate.
    auth: Channel,
}

/// A role, connected at the first call.
pub(crate) struct Upstream {
    role: String,
    channel: Channel,
}

impl Upstreams {
    /// # Errors
    /// When one of the roles has no address in `addresses`, or an invalid one.
    pub(crate) fn open(
        roles: BTreeSet<&str>,
        addresses: &BTreeMap<String, String>,
        key: &MeshKey,
    ) -> Result<Self, GatewayError> {
        let channel = |role: &str| {
            let address = addresses.get(role).ok_or_else(|| no_address(role))?;
            Channel::lazy(address, key, OWN_NAME)
                .map_err(|error| GatewayError::Setting { setting: "upstreams", cause: error.to_string() })
        };
        let by_role = roles.into_iter().map(|role| {
            let upstream = Upstream { role: role.to_owned(), channel: channel(role)? };
            Ok((role.to_owned(), Arc::new(upstream)))
        });
        Ok(Self { by_role: by_role.collect::<Result<_, GatewayError>>()?, auth: channel("auth")? })
    }

    /// A role by its name.
    pub(crate) fn get(&self, role: &str) -> Result<Arc<Upstream>, GatewayError> {
        self.by_role.get(role).cloned().ok_or_else(|| no_address(role))
    }

    pub(crate) fn auth_client(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.auth.clone())
    }

    pub(crate) fn session_client(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.auth.clone())
    }

    /// Names of the roles that are not serving, by their health checks.
    pub(crate) async fn unavailable(&self) -> Vec<&str> {
        let checks = self.by_role.values().map(async |upstream| {
            let serving = upstream.is_serving().await;
            (!serving).then_some(upstream.role())
        });
        join_all(checks).await.into_iter().flatten().collect()
    }
}

impl Upstream {
    /// Name of the role.
    pub(crate) fn role(&self) -> &str {
        &self.role
    }

    /// Client for calls on behalf of others.
    pub(crate) fn forwarder(&self) -> Forwarder {
        self.channel.forwarder()
    }

    async fn is_serving(&self) -> bool {
        let mut client = HealthClient::new(self.channel.clone());
        let check = client.check(HealthCheckRequest::default());
        let response = tokio::time::timeout(HEALTH_CHECK_TIMEOUT, check).await;
        matches!(response, Ok(Ok(health)) if health.get_ref().status() == ServingStatus::Serving)
    }
}

fn no_address(role: &str) -> GatewayError {
    GatewayError::Setting { setting: "upstreams", cause: format!("{role} has no address") }
}
