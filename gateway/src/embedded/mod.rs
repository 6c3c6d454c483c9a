//! gRPC services of the gateway itself: health and reflection.

mod descriptors;

use std::convert::Infallible;

use axum::{extract::Request, response::Response};
use futures::FutureExt as _;
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::{contract::Contract, error::GatewayError};

/// grpc.health.v1, and grpc.reflection (v1, and v1alpha for older tools) of the public methods.
pub(crate) struct EmbeddedServices {
    routes: axum::Router,
}

impl EmbeddedServices {
    pub(crate) fn new(descriptors: &[u8], contract: &Contract) -> Result<Self, GatewayError> {
        // The gateway's own state. Whether the roles behind it are serving is reported by /readyz.
        let (reporter, health) = tonic_health::server::health_reporter();
        for service in contract.services() {
            // Completes at once: nothing else holds the reporter's lock yet.
            let _ = reporter.set_service_status(service, tonic_health::ServingStatus::Serving).now_or_never();
        }
        let public = descriptors::public(descriptors, contract)?;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(&public)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                // The details of errors.
                .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        };
        let unusable = |error: tonic_reflection::server::Error| GatewayError::Contract(error.to_string());
        let routes = Routes::new(health)
            .add_service(reflection().build_v1().map_err(unusable)?)
            .add_service(reflection().build_v1alpha().map_err(unusable)?);
        Ok(Self { routes: routes.prepare().into_axum_router() })
    }

    pub(crate) async fn call(&self, request: Request) -> Response {
        let response: Result<Response, Infallible> = self.routes.clone().oneshot(request).await;
        response.unwrap_or_else(|never| match never {})
    }
}
