//! Resident memory of the server, the client, a worker and its ffmpeg processes.

mod tasks;
mod upload;

use crate::{figures::Figures, options::Options};

pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    upload::measure(figures).await?;
    tasks::measure(figures, options).await
}
