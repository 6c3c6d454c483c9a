//! Comparison at equal VMAF.
//!
//! The peer encodes at CRF 23, its own, and at 20. Reelmill's plan is encoded at 23 and 20 too; each rung's curve gives the
//! CRF at which the rung reaches the peer's VMAF at CRF 23, rounded down. The plan is encoded at these CRFs until no rung
//! is worse. The CPU seconds of that encode are compared with the peer's at CRF 23. Because it is slightly better, its
//! bits are compared with those that the peer needs for the same VMAF, interpolated between its two points.

use std::collections::BTreeMap;

use anyhow::Context as _;
use reelmill_media::plan::Plan;

use super::{
    curve::{Point, bytes_at, crf_for},
    peers::{self, Encoder, SourceInfo},
    quality::Reference,
    runner::Runner,
    worker,
};
use crate::figures::median;

/// The CRFs of the curves; the first is the one that is compared.
const CRFS: [u32; 2] = [23, 20];
/// A rung whose VMAF is lower by more than this is encoded again, at a lower CRF.
const VMAF_TOLERANCE: f64 = 0.1;
const MAX_ATTEMPTS: usize = 6;

/// A peer's encodes of a clip.
pub(super) struct PeerCurves {
    /// CPU seconds at the first CRF.
    cpu_seconds: f64,
    /// The rungs at each of [`CRFS`].
    points: Vec<Vec<Point>>,
    reference: Reference,
}

/// Reelmill's encode in relation to the peer's.
pub(super) struct Match {
    /// CPU seconds, as a multiple of the peer's.
    pub cpu: f64,
    /// Bits of all rungs together, as a multiple of what the peer needs for the same VMAF.
    pub bits: f64,
    /// The smallest difference in VMAF of a rung. Below zero, equal quality was not reached.
    pub margin: f64,
}

impl Match {
    /// Whether no rung is worse than the peer's.
    pub fn is_equal(&self) -> bool {
        self.margin >= -VMAF_TOLERANCE
    }
}

impl PeerCurves {
    /// Encodes the clip with the peer's commands at each of [`CRFS`].
    pub async fn encode(runner: &Runner<'_>, source: &SourceInfo, peer: Encoder) -> anyhow::Result<Self> {
        let reference = Reference::of(runner, source).await?;
        let mut curves = Self { cpu_seconds: 0.0, points: Vec::new(), reference };
        for crf in CRFS {
            let commands = peers::commands(peer, source, crf, "peer");
            let mut cpu_seconds = Vec::new();
            let mut encoded = peers::encode(runner, &commands).await?;
            cpu_seconds.push(encoded.cpu_seconds);
            for _ in 1..if crf == CRFS[0] { runner.runs } else { 1 } {
                encoded = peers::encode(runner, &commands).await?;
                cpu_seconds.push(encoded.cpu_seconds);
            }
            if crf == CRFS[0] {
                curves.cpu_seconds = median(cpu_seconds);
            }
            let crfs = vec![f64::from(crf); encoded.files.len()];
            let points = curves.reference.points(runner, &encoded, &crfs).await?;
            curves.points.push(points);
        }
        Ok(curves)
    }

    fn compare(&self, cpu_seconds: f64, points: &[Point]) -> Match {
        let (mut bytes, mut peer_bytes) = (0.0, 0.0);
        let mut margin = f64::INFINITY;
        for (rung, point) in points.iter().enumerate() {
            let curve: Vec<Point> = self.points.iter().map(|points| points[rung]).collect();
            bytes += point.bytes;
            peer_bytes += bytes_at(&curve, point.vmaf);
            margin = margin.min(point.vmaf - self.points[0][rung].vmaf);
        }
        Match { cpu: cpu_seconds / self.cpu_seconds, bits: bytes / peer_bytes, margin }
    }
}

/// Encodes of Reelmill's plan, and the curve of each rung that they yield.
struct PlanCurves<'a> {
    runner: &'a Runner<'a>,
    reference: &'a Reference,
    plan: Plan,
    /// Prefix of the output files.
    name: &'a str,
    /// The points of each rung, by CRF.
    points: Vec<BTreeMap<u32, Point>>,
}

impl PlanCurves<'_> {
    /// Encodes each rung at its CRF; returns the CPU seconds and the rungs' points.
    async fn encode(&mut self, crfs: &[u32]) -> anyhow::Result<(f64, Vec<Point>)> {
        let rungs = self.plan.video.iter_mut().flat_map(|video| &mut video.rungs);
        for (rung, &crf) in rungs.zip(crfs) {
            rung.encoding.crf = crf;
        }
        let encoded = worker::encode(self.runner, &self.plan, self.name).await?;
        let exact: Vec<f64> = crfs.iter().copied().map(f64::from).collect();
        let points = self.reference.points(self.runner, &encoded, &exact).await?;
        for ((curve, crf), &point) in self.points.iter_mut().zip(crfs).zip(&points) {
            curve.insert(*crf, point);
        }
        Ok((encoded.cpu_seconds, points))
    }
}

/// Finds the CRFs at which the plan reaches the peer's VMAF, and compares the two.
pub(super) async fn match_quality(
    runner: &Runner<'_>,
    peer: &PeerCurves,
    plan: Plan,
    name: &str,
) -> anyhow::Result<Match> {
    let rungs = peer.points.first().map_or(0, Vec::len);
    let points = vec![BTreeMap::new(); rungs];
    let mut curves = PlanCurves { runner, reference: &peer.reference, plan, name, points };
    for crf in CRFS {
        curves.encode(&vec![crf; rungs]).await?;
    }
    let (mut best, mut tried): (Option<Match>, Vec<Vec<u32>>) = (None, Vec::new());
    while tried.len() < MAX_ATTEMPTS && best.as_ref().is_none_or(|best| !best.is_equal()) {
        let targets = peer.points[0].iter().map(|point| point.vmaf);
        let crfs = curves.points.iter().zip(targets).map(|(curve, vmaf)| crf_for(curve, vmaf)).collect();
        if tried.contains(&crfs) {
            // Not reachable, for example because of a bit rate cap.
            break;
        }
        let (cpu_seconds, points) = curves.encode(&crfs).await?;
        best = Some(peer.compare(cpu_seconds, &points));
        tried.push(crfs);
    }
    let mut best = best.context("nothing was encoded")?;
    let mut cpu = vec![best.cpu];
    for _ in 1..runner.runs {
        cpu.push(worker::encode(runner, &curves.plan, name).await?.cpu_seconds / peer.cpu_seconds);
    }
    best.cpu = median(cpu);
    Ok(best)
}

#[cfg(test)]
mod tests {
    use reelmill_media::{geometry::Size, rate::Rate};

    use super::{Match, PeerCurves, Point, Reference};

    fn point(crf: f64, vmaf: f64, bytes: f64) -> Point {
        Point { crf, vmaf, bytes }
    }

    #[test]
    fn compare_relates_bits_to_the_peers_at_the_same_vmaf() {
        let peer = PeerCurves {
            cpu_seconds: 10.0,
            points: vec![vec![point(23.0, 80.0, 100.0)], vec![point(20.0, 90.0, 400.0)]],
            reference: Reference {
                size: Size { width: 2, height: 2 },
                rate: Rate::new(30, 1).expect("a rate"),
            },
        };
        let Match { cpu, bits, margin } = peer.compare(5.0, &[point(21.0, 85.0, 300.0)]);
        assert_eq!((cpu, margin), (0.5, 5.0));
        assert!((bits - 1.5).abs() < 1e-9, "the peer needs 200, halfway between 100 and 400: {bits}");
    }
}
