//! What `make bench` measures: ratios against a baseline of the same run, one line a figure on stdout and
//! the same as JSON under `target/bench/`. docs/BENCHMARKS.md says how each is measured.

mod calls;
mod figures;
mod job;
mod memory;
mod process;
mod system;

use figures::Figures;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (settings, wanted): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.contains('='));
    let runs = settings.iter().find_map(|setting| setting.strip_prefix("runs=")?.parse().ok()).unwrap_or(3);
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|want| want == name);
    let mut figures = Figures::default();
    if wants("memory") {
        memory::measure(&mut figures).await?;
    }
    if wants("calls") {
        calls::measure(&mut figures).await?;
    }
    if wants("job") {
        job::measure(&mut figures, runs).await?;
    }
    figures.save()
}
