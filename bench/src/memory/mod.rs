//! Resident memory.

mod tasks;
mod upload;

use crate::{figures::Figures, options::Options};

/// Of the embedded mode's one process, of tasks and of a worker.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    upload::measure(figures).await?;
    tasks::measure(figures, options).await
}
