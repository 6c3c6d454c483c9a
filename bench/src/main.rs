//! What `make bench` measures: ratios against a baseline of the same run, one line a figure on stdout and
//! the same as JSON under `target/bench/`. docs/BENCHMARKS.md says how each is measured.

mod apart;
mod calls;
mod clips;
mod encode;
mod figures;
mod job;
mod memory;
mod options;
mod playable;
mod process;
mod quota;
mod system;
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
    if options.wants("encode") {
        encode::measure(&mut figures, &options).await?;
    }
    if options.wants("workers") {
        workers::measure(&mut figures, &options).await?;
    }
    figures.save()
}
