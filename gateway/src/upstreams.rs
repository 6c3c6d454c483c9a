//! The ways to the roles behind the gateway.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use reelmill_mesh::{Channel, MeshKey};
use reelmill_proto::auth::{
    auth_service_client::AuthServiceClient, session_service_client::SessionServiceClient,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{GatewayConfig, GatewayError, contract::Methods};

/// Name of the gateway among the roles.
const OWN_NAME: &str = "gateway";
/// How long a role may take to say that it is well.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// Lazily connected channels to every role.
pub(crate) struct Upstreams {
    /// For calls of others.
    forwarding: BTreeMap<String, Channel>,
    /// For the gateway's own calls.
    auth: Channel,
}

impl Upstreams {
    /// Prepares the ways; every role that the contract needs must have an address.
    pub(crate) fn open(
        config: &GatewayConfig,
        methods: &Methods,
        key: &MeshKey,
    ) -> Result<Self, GatewayError> {
        let bad = |cause: &dyn std::fmt::Display| GatewayError::Setting {
            setting: "upstreams",
            cause: cause.to_string(),
        };
        let address =
            |role: &str| config.upstreams.get(role).ok_or_else(|| bad(&format!("{role} has no address")));
        let mut forwarding = BTreeMap::new();
        for role in methods.roles() {
            let channel = Channel::forwarder(address(role)?, key).map_err(|error| bad(&error))?;
            forwarding.insert(role.to_owned(), channel);
        }
        let auth = Channel::lazy(address("auth")?, key, OWN_NAME).map_err(|error| bad(&error))?;
        Ok(Self { forwarding, auth })
    }

    /// The way to a role.
    pub(crate) fn get(&self, role: &str) -> Option<Channel> {
        self.forwarding.get(role).cloned()
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.auth.clone())
    }

    pub(crate) fn sessions(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.auth.clone())
    }

    /// Names of the roles that don't answer that they are well.
    pub(crate) async fn unwell(&self) -> Vec<&str> {
        let checks = self.forwarding.iter().map(async |(role, channel)| {
            let mut client = HealthClient::new(channel.clone());
            let request = client.check(HealthCheckRequest::default());
            let answer = tokio::time::timeout(HEALTH_PATIENCE, request).await;
            let well = answer.is_ok_and(|answer| {
                answer.is_ok_and(|health| health.into_inner().status() == ServingStatus::Serving)
            });
            (!well).then_some(role.as_str())
        });
        join_all(checks).await.into_iter().flatten().collect()
    }
}
