//! Layers from one typed stage of a call to the next.

use std::sync::Arc;

use axum::response::Response;
use tower::Layer;

use crate::error::CallError;

/// Handles calls of stage `C`: the innermost handler, or one wrapped in layers.
pub(super) trait Handler<C>: Send + Sync + 'static {
    fn handle(&self, call: C) -> impl Future<Output = Result<Response, CallError>> + Send;
}

/// A layer that takes calls of stage `C` and passes calls of stage [`Self::Next`] to the handler below.
pub(super) trait CallLayer<C>: Send + Sync + 'static {
    /// The stage that this layer produces.
    type Next: Send;

    fn process(
        &self,
        call: C,
        next: &impl Handler<Self::Next>,
    ) -> impl Future<Output = Result<Response, CallError>> + Send;
}

/// A typed layer for [`tower::ServiceBuilder`].
pub(super) fn typed<L>(layer: L) -> Typed<L> {
    Typed(Arc::new(layer))
}

/// See [`typed`].
pub(super) struct Typed<L>(Arc<L>);

impl<L, H> Layer<H> for Typed<L> {
    type Service = Layered<L, H>;

    fn layer(&self, handler: H) -> Layered<L, H> {
        Layered { layer: self.0.clone(), next: handler }
    }
}

/// A handler wrapped in a layer.
pub(super) struct Layered<L, H> {
    layer: Arc<L>,
    next: H,
}

impl<C, L, H> Handler<C> for Layered<L, H>
where
    C: Send + 'static,
    L: CallLayer<C>,
    H: Handler<L::Next>,
{
    fn handle(&self, call: C) -> impl Future<Output = Result<Response, CallError>> + Send {
        self.layer.process(call, &self.next)
    }
}
