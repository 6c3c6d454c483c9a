//! Tasks that run until they are told to stop, stopped stage by stage.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::{signal::unix, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

/// Tasks that stop together.
pub struct Stage {
    /// How long they may take to stop.
    pub patience: Duration,
    stop: CancellationToken,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Default for Stage {
    fn default() -> Self {
        Self { patience: Duration::from_secs(20), stop: CancellationToken::new(), tasks: JoinSet::new() }
    }
}

impl Stage {
    /// The token that tells its tasks to stop.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task in this stage.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Waits for a task that ends without having been told to: none should.
    async fn broken(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            None => std::future::pending().await,
            Some(Ok((name, Err(error)))) => error.context(name),
            Some(Ok((name, Ok(())))) => anyhow!("{name} ended by itself"),
            Some(Err(error)) => anyhow!("a role crashed: {error}"),
        }
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let patience = self.patience;
        let all = async {
            let mut first = Ok(());
            while let Some(ended) = self.tasks.join_next().await {
                let ended = ended.map_err(|error| anyhow!("a role crashed: {error}"));
                first = first.and(ended.and_then(|(name, done)| done.context(name)));
            }
            first
        };
        time::timeout(patience, all).await.unwrap_or_else(|_| Err(anyhow!("stopping took too long")))
    }
}

/// Starts stages and runs them until SIGINT or SIGTERM, or until one breaks; then stops them in their
/// order. A signal during the start, or a second one, stops at once. What they stand on is held to the end.
pub async fn run<Ground>(
    start: impl Future<Output = anyhow::Result<(Vec<Stage>, Ground)>>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let (mut stages, _ground) = tokio::select! {
        started = start => started?,
        () = signals.next() => return Ok(()),
    };
    let broken = {
        let breaks = stages.iter_mut().map(|stage| Box::pin(stage.broken()));
        tokio::select! {
            () = signals.next() => None,
            (error, ..) = futures::future::select_all(breaks) => Some(error),
        }
    };
    match &broken {
        None => tracing::info!("stopping: finishing what is under way"),
        Some(error) => tracing::error!("stopping: {error:#}"),
    }
    let stopping = async {
        let mut first = Ok(());
        for stage in stages {
            first = first.and(stage.end().await);
        }
        first
    };
    let stopped = tokio::select! {
        stopped = stopping => stopped,
        () = signals.next() => Err(anyhow!("stopped at once by a second signal")),
    };
    broken.map_or(stopped, Err)
}

/// SIGINT and SIGTERM, from the moment this is made.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Begins to listen.
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
