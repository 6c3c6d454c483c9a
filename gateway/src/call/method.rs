//! Lookup of the called method.

use std::{net::SocketAddr, sync::Arc};

use axum::{extract::Request, response::Response};

use super::{
    grpc_service::IncomingCall,
    typed_layer::{CallLayer, Handler},
};
use crate::{
    error::CallError,
    methods::{Method, MethodTable},
};

/// A call of a known method.
pub(super) struct KnownCall {
    pub(super) peer: SocketAddr,
    pub(super) method: Arc<Method>,
    pub(super) request: Request,
}

/// Rejects methods that are unknown or internal, with the same error.
pub(super) struct MethodLayer {
    pub(super) methods: MethodTable,
}

impl CallLayer<IncomingCall> for MethodLayer {
    type Next = KnownCall;

    async fn process(
        &self,
        IncomingCall { peer, request }: IncomingCall,
        next: &impl Handler<KnownCall>,
    ) -> Result<Response, CallError> {
        let method = self.methods.get(request.uri().path()).ok_or(CallError::MethodUnknown)?;
        next.handle(KnownCall { peer, method, request }).await
    }
}
