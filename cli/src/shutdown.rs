//! Ordered shutdown: groups of tasks that are stopped one group after another.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::{signal::unix, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

/// Tasks that are stopped together.
pub struct ShutdownGroup {
    /// How long the tasks may take to stop.
    pub timeout: Duration,
    shutdown: CancellationToken,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Default for ShutdownGroup {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20), shutdown: CancellationToken::new(), tasks: JoinSet::new() }
    }
}

impl ShutdownGroup {
    /// The token that is cancelled when the group is to stop.
    pub fn token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Runs a task in this group.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Waits for a task to end before the group is stopped, which is always an error.
    async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok((name, Err(error)))) => error.context(name),
            Some(Ok((name, Ok(())))) => anyhow!("{name} ended unexpectedly"),
            Some(Err(error)) => anyhow!("a role crashed: {error}"),
        }
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        let timeout = self.timeout;
        let all = async {
            let mut first = Ok(());
            while let Some(ended) = self.tasks.join_next().await {
                let ended = ended.map_err(|error| anyhow!("a role crashed: {error}"));
                first = first.and(ended.and_then(|(name, result)| result.context(name)));
            }
            first
        };
        time::timeout(timeout, all).await.unwrap_or_else(|_| Err(anyhow!("shutdown timed out")))
    }
}

/// Starts groups and runs them until SIGINT or SIGTERM, or until a task fails; then stops them in order. A signal
/// during the start, or a second one, stops at once. The context is dropped last.
pub async fn run<C>(
    start: impl Future<Output = anyhow::Result<(Vec<ShutdownGroup>, C)>>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (mut groups, _context) = tokio::select! {
        started = start => started?,
        () = signals.next() => return Ok(()),
    };
    let failure = {
        let failures = groups.iter_mut().map(|group| Box::pin(group.failed()));
        tokio::select! {
            () = signals.next() => None,
            (error, ..) = futures::future::select_all(failures) => Some(error),
        }
    };
    match &failure {
        None => tracing::info!("shutting down: finishing accepted work"),
        Some(error) => tracing::error!("shutting down: {error:#}"),
    }
    let stop = async {
        let mut first = Ok(());
        for group in groups {
            first = first.and(group.stop().await);
        }
        first
    };
    let stopped = tokio::select! {
        stopped = stop => stopped,
        () = signals.next() => Err(anyhow!("stopped by a second signal")),
    };
    failure.map_or(stopped, Err)
}

/// SIGINT and SIGTERM. Signals are caught from creation on.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
            terminate: unix::signal(unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
