//! The worker: takes tasks from the queue, runs ffmpeg, puts outputs in the store.
//!
//! [`run`] is the role. A message names a task; dispatch leases it, the [`engine`] does it, and
//! every word about it carries the lease's fencing token. The engine knows neither queue nor lease
//! and can be used, and is tested, by itself.

mod config;
mod convert;
mod dispatch;
mod encoder_build;
mod error;
mod lease;
mod patience;
mod scratch;
mod store;
mod task;
mod work;

pub mod engine;

pub use config::{WorkerConfig, slots_of};
pub use convert::reason;
pub use error::WorkerError;

use engine::{Bounds, Engine};
use patience::pause;
use reelmill_mesh::Channel;
use reelmill_platform::queue::Queue;
use reelmill_proto::transcode::worker_service_client::WorkerServiceClient;
use scratch::Scratch;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use task::{Bench, VISIBILITY};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long one look at the queue waits for a message.
const POLL: Duration = Duration::from_secs(20);

/// Works until `shutdown`: takes no new task then, gives running ones [`WorkerConfig::drain`], and
/// hands back what is not done, so that another worker goes on at once.
///
/// # Errors
/// When the scratch folder or ffmpeg cannot be used, or a slot dies.
pub async fn run(
    config: WorkerConfig,
    queue: Arc<dyn Queue>,
    dispatch: WorkerServiceClient<Channel>,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let http = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        // A store does not redirect; whoever does leads elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .build();
    reelmill_jail::check(config.jail.mode).map_err(WorkerError::Jail)?;
    let bench = Arc::new(Bench {
        name: config.name,
        encoder_build: encoder_build::name(&config.ffmpeg).await?,
        drain: config.drain,
        engine: Engine {
            ffmpeg: config.ffmpeg,
            ffprobe: config.ffprobe,
            jail: config.jail,
            bounds: Bounds::default(),
            http: http.map_err(WorkerError::Http)?,
        },
        scratch: Scratch::open(&config.scratch_dir)?,
        queue,
        dispatch,
        shutdown,
        unfit: AtomicBool::new(false),
    });
    let mut slots = JoinSet::new();
    for _ in 0..config.slots.max(1) {
        slots.spawn(slot(Arc::clone(&bench)));
    }
    while let Some(ended) = slots.join_next().await {
        ended.map_err(WorkerError::Slot)?;
    }
    Ok(())
}

/// Takes one task after the other.
async fn slot(bench: Arc<Bench>) {
    let mut failures = 0;
    while !bench.shutdown.is_cancelled() {
        bench.become_fit().await;
        let received = tokio::select! {
            received = bench.queue.receive(1, VISIBILITY, POLL) => received,
            () = bench.shutdown.cancelled() => return,
        };
        match received {
            Ok(messages) => {
                failures = 0;
                for message in messages {
                    bench.handle(message).await;
                }
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "the queue cannot be read");
                tokio::select! {
                    () = tokio::time::sleep(pause(failures)) => {}
                    () = bench.shutdown.cancelled() => return,
                }
            }
        }
    }
}
