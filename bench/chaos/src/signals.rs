//! SIGINT and SIGTERM, which end a run in order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a run. Once registered, they do not end the process, so that nothing that it has started is left.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn register() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The result of `work`. None, and `work` is dropped, if a signal arrives, or has arrived since the last call.
    pub async fn unless_received<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => None,
            _ = self.terminate.recv() => None,
            result = work => Some(result),
        }
    }
}
