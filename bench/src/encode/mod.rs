//! CPU seconds and bits of a worker's encode, compared with the commands of other products on the same clips with the same
//! ffmpeg.

mod comparisons;
mod curve;
mod equal_quality;
mod peers;
mod quality;
mod runner;
mod worker;

use anyhow::Context as _;

use self::{
    comparisons::{Comparison, Ratios},
    runner::Runner,
};
use crate::{
    clips,
    figures::{Figures, Goal, median, print_line},
    options::Options,
};

/// Source clips with fewer lines are skipped.
const MIN_LINES: u32 = 720;

/// Compares with all peers on all clips. Goals apply to the median over the clips.
pub async fn measure(figures: &mut Figures, options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut ratios = Ratios::default();
    for clip in clips::prepare(folder.path(), options).await? {
        let runner =
            Runner { folder: folder.path(), clip: &clip, verbose: options.verbose, runs: options.runs(1) };
        let source = worker::probe(&clip.path).await?;
        let size = source.video.as_ref().context("no video track")?.display_size();
        if size.short() < MIN_LINES {
            print_line(&format!("{}: skipped, because it has less than {MIN_LINES} lines", clip.name))?;
            continue;
        }
        let mut comparison = Comparison { runner, source, figures, ratios: &mut ratios };
        comparison.with_peertube().await?;
        comparison.with_mediacms().await?;
        comparison.with_naive().await?;
    }
    let Ratios { peertube, peertube_bits, peertube_vmaf, mediacms, mediacms_bits, .. } = ratios;
    figures.record("CPU over PeerTube's, median of the clips", median(peertube), "x", at_most(0.62))?;
    figures.record("bits over PeerTube's, median of the clips", median(peertube_bits), "x", None)?;
    figures.record("VMAF more than PeerTube's, median of the clips", median(peertube_vmaf), "", None)?;
    let name = "CPU over MediaCMS's at equal VMAF, median of the clips";
    figures.record(name, median(mediacms), "x", at_most(0.65))?;
    figures.record("bits over MediaCMS's at that VMAF, median", median(mediacms_bits), "x", None)?;
    let name = "CPU over MediaCMS's at equal VMAF and no more bits, median";
    figures.record(name, median(ratios.mediacms_no_more_bits), "x", at_most(0.65))?;
    let name = "CPU over the naive commands' at equal VMAF, median of the clips";
    figures.record(name, median(ratios.naive), "x", at_most(0.45))?;
    figures.record(
        "bits over the naive commands' at that VMAF, median",
        median(ratios.naive_bits),
        "x",
        None,
    )?;
    let name = "comparisons excluded because equal VMAF was not reached";
    figures.record(name, ratios.unequal, "", at_most(0.0))
}

fn at_most(limit: f64) -> Option<Goal> {
    Some(Goal::AtMost(limit))
}
