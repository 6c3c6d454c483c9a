//! The comparison of one clip with each peer.

use anyhow::Context as _;
use reelmill_media::{
    plan::{Plan, Preset},
    probe::Source,
};

use super::{
    equal_quality::{Match, PeerCurves, match_quality},
    peers::{self, Encoder, SourceInfo},
    quality::Reference,
    runner::{Encoded, Runner},
    worker,
};
use crate::figures::{Figures, median};

/// Results of all clips, as multiples of the peers' values.
#[derive(Default)]
pub(super) struct Ratios {
    pub peertube: Vec<f64>,
    pub peertube_bits: Vec<f64>,
    pub peertube_vmaf: Vec<f64>,
    pub mediacms: Vec<f64>,
    pub mediacms_bits: Vec<f64>,
    pub mediacms_no_more_bits: Vec<f64>,
    pub naive: Vec<f64>,
    pub naive_bits: Vec<f64>,
    /// Number of comparisons that do not count because Reelmill did not reach the peer's VMAF.
    pub unequal: f64,
}

/// One clip, and where the results go.
pub(super) struct Comparison<'a> {
    pub runner: Runner<'a>,
    pub source: Source,
    pub figures: &'a mut Figures,
    pub ratios: &'a mut Ratios,
}

impl Comparison<'_> {
    /// The default plan and PeerTube's commands, which use the same x264 preset, without adjustment of quality.
    pub async fn with_peertube(&mut self) -> anyhow::Result<()> {
        let runner = &self.runner;
        let plan = worker::plan(&self.source, Preset::Fast, &[])?;
        let info = self.source_info(&plan)?;
        let commands = peers::commands(Encoder::PeerTube, &info, 23, "peertube");
        let (mut cpu, mut peer_cpu, mut last) = (Vec::new(), Vec::new(), None);
        for _ in 0..runner.runs {
            let peer = peers::encode(runner, &commands).await?;
            let encoded = worker::encode(runner, &plan, "fast").await?;
            cpu.push(encoded.cpu_seconds);
            peer_cpu.push(peer.cpu_seconds);
            last = Some((encoded, peer));
        }
        let (encoded, peer) = last.context("no run")?;
        let (bits, vmaf) = bits_and_vmaf(runner, &info, &encoded, &peer).await?;
        let ratio = median(cpu.iter().zip(&peer_cpu).map(|(cpu, peer)| cpu / peer).collect());
        self.record("CPU, the default plan", median(cpu), "s")?;
        self.record("CPU, PeerTube's commands", median(peer_cpu), "s")?;
        self.record("over PeerTube's", ratio, "x")?;
        self.record("bits over PeerTube's", bits, "x")?;
        self.record("VMAF more than PeerTube's, mean of the rungs", vmaf, "")?;
        self.ratios.peertube.push(ratio);
        self.ratios.peertube_bits.push(bits);
        self.ratios.peertube_vmaf.push(vmaf);
        Ok(())
    }

    /// The default preset at MediaCMS's VMAF. If that needs more bits, also the fastest preset that does not.
    pub async fn with_mediacms(&mut self) -> anyhow::Result<()> {
        let presets = [(Preset::Fast, "fast"), (Preset::Balanced, "balanced"), (Preset::Small, "small")];
        let info = self.source_info(&worker::plan(&self.source, Preset::Fast, &[])?)?;
        let peer = PeerCurves::encode(&self.runner, &info, Encoder::MediaCms).await?;
        for (preset, id) in presets {
            let plan = worker::plan(&self.source, preset, &[])?;
            let found = match_quality(&self.runner, &peer, plan, id).await?;
            self.record_match(&format!("MediaCMS's ({id})"), &found)?;
            if !found.is_equal() {
                self.ratios.unequal += 1.0;
                continue;
            }
            if preset == Preset::Fast {
                self.ratios.mediacms.push(found.cpu);
                self.ratios.mediacms_bits.push(found.bits);
            }
            if found.bits <= 1.0 {
                self.ratios.mediacms_no_more_bits.push(found.cpu);
                break;
            }
        }
        Ok(())
    }

    /// Only 720p and 480p, at the VMAF of x264's defaults.
    pub async fn with_naive(&mut self) -> anyhow::Result<()> {
        let plan = worker::plan(&self.source, Preset::Fast, &[720, 480])?;
        let peer = PeerCurves::encode(&self.runner, &self.source_info(&plan)?, Encoder::Naive).await?;
        let found = match_quality(&self.runner, &peer, plan, "two").await?;
        self.record_match("the naive commands'", &found)?;
        if found.is_equal() {
            self.ratios.naive.push(found.cpu);
            self.ratios.naive_bits.push(found.bits);
        } else {
            self.ratios.unequal += 1.0;
        }
        Ok(())
    }

    fn record_match(&mut self, peer: &str, found: &Match) -> anyhow::Result<()> {
        self.record(&format!("CPU over {peer} at its VMAF"), found.cpu, "x")?;
        self.record(&format!("bits over {peer} at the same VMAF"), found.bits, "x")?;
        self.record(&format!("least VMAF of a rung over {peer}"), found.margin, "")
    }

    fn record(&mut self, name: &str, value: f64, unit: &str) -> anyhow::Result<()> {
        self.figures.record(&format!("{}: {name}", self.runner.clip.name), value, unit, None)
    }

    fn source_info(&self, plan: &Plan) -> anyhow::Result<SourceInfo> {
        let video = plan.video.as_ref().context("no video track")?;
        let path = &self.runner.clip.path;
        let bytes = std::fs::metadata(path)?.len();
        let seconds = plan.duration().context("no duration")?;
        let size = plan.source.video.as_ref().context("no video track")?.display_size();
        Ok(SourceInfo {
            path: path.display().to_string(),
            bit_rate: bytes as f64 * 8.0 / seconds,
            rate: video.rate,
            aspect_ratio: f64::from(size.width) / f64::from(size.height),
            has_audio: !plan.audio.is_empty(),
            sizes: video.rungs.iter().map(|rung| rung.size).collect(),
        })
    }
}

/// Bits as a multiple of the peer's, and the mean over the rungs by which VMAF is higher.
async fn bits_and_vmaf(
    runner: &Runner<'_>,
    source: &SourceInfo,
    encoded: &Encoded,
    peer: &Encoded,
) -> anyhow::Result<(f64, f64)> {
    let reference = Reference::of(runner, source).await?;
    let crfs = vec![23.0; source.sizes.len()];
    let points = reference.points(runner, encoded, &crfs).await?;
    let peer_points = reference.points(runner, peer, &crfs).await?;
    let bytes: f64 = points.iter().map(|point| point.bytes).sum();
    let peer_bytes: f64 = peer_points.iter().map(|point| point.bytes).sum();
    let vmaf: f64 = points.iter().map(|point| point.vmaf).sum();
    let peer_vmaf: f64 = peer_points.iter().map(|point| point.vmaf).sum();
    Ok((bytes / peer_bytes, (vmaf - peer_vmaf) / points.len() as f64))
}
