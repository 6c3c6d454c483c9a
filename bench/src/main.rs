//! The benchmarks that `make bench` runs. They measure ratios to a baseline in the same run, and print one line per figure
//! and write all figures as JSON to `target/bench/`. docs/BENCHMARKS.md describes each of them.

mod calls;
mod clips;
mod database_rows;
mod dispatch;
mod dispatcher;
mod distributed;
mod encode;
mod ffmpeg;
mod figures;
mod job;
mod long_video;
mod memory;
mod odd_files;
mod options;
mod playable;
mod process;
mod quota;
mod reelmill;
mod sources;
mod start;
mod system;
mod watchers;
mod workers;

use figures::Figures;
use options::Options;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let options = Options::parse(std::env::args().skip(1))?;
    let mut figures = Figures::default();
    if options.wants("memory") {
        memory::measure(&mut figures, &options).await?;
    }
    if options.wants("calls") {
        calls::measure(&mut figures).await?;
    }
    if options.wants("job") {
        job::measure(&mut figures, &options).await?;
    }
    if options.wants("playable") {
        playable::measure(&mut figures, &options).await?;
    }
    if options.wants("busy") {
        playable::measure_busy(&mut figures, &options).await?;
    }
    if options.wants("start") {
        start::measure(&mut figures, &options).await?;
    }
    if options.wants("encode") {
        encode::measure(&mut figures, &options).await?;
    }
    if options.wants("dispatch") {
        dispatch::measure(&mut figures).await?;
    }
    if options.wants("long") {
        long_video::measure(&mut figures).await?;
    }
    if options.wants("watchers") {
        watchers::measure(&mut figures).await?;
    }
    if options.wants("media") {
        odd_files::measure(&mut figures, &options).await?;
    }
    if options.wants("workers") {
        workers::measure(&mut figures, &options).await?;
    }
    figures.save()
}
