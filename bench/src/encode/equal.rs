//! Comparing at equal quality.
//!
//! The peer encodes at its own CRF, 23, and at 20. Ours encodes at 23 and 20 too, which gives each rung's CRF at which
//! it has the peer's VMAF; rounded down, so that the rung is at least as good, and encoded so once more. That encode's
//! CPU seconds stand against the peer's at CRF 23. As it is a little better, its bits stand against those that the peer
//! needs for the same VMAF, between its two points.

use std::collections::BTreeMap;

use anyhow::Context as _;
use reelmill_media::{geometry::Size, plan::Plan, rate::Rate};

use super::{
    Bench, Made,
    peers::{self, Facts, Way},
    quality::{picture_bytes, vmaf},
};
use crate::figures::{median, say};

const CRFS: [u32; 2] = [23, 20];
/// How far a CRF may be from 23, either way.
const CRF_RANGE: std::ops::RangeInclusive<f64> = 14.0..=32.0;
/// A rung that comes out worse by more than this is encoded again, at a lower CRF.
const TOLERANCE: f64 = 0.1;
const TRIES: usize = 6;
/// VMAF that differs by no more does not differ.
const SAME: f64 = 0.05;

/// One rung, encoded.
#[derive(Clone, Copy, Debug)]
struct Point {
    crf: f64,
    vmaf: f64,
    bytes: f64,
}

/// A peer's rungs.
pub(super) struct Theirs {
    cpu: f64,
    /// The rungs at each CRF, in the CRFs' order.
    points: Vec<Vec<Point>>,
    judge: Judge,
}

/// How VMAF is looked at: the size that pictures are shown at, and their rate.
struct Judge {
    size: Size,
    rate: Rate,
}

/// Ours over a peer's at its VMAF.
pub(super) struct Match {
    /// CPU seconds, ours over theirs.
    pub cpu: f64,
    /// Bits of all rungs together, ours over theirs at our VMAF.
    pub bits: f64,
    /// The least VMAF that one of our rungs has more than theirs; below zero, equal quality was not reached.
    pub margin: f64,
}

impl Match {
    /// Whether no rung is worse than the peer's.
    pub fn is_equal(&self) -> bool {
        self.margin >= -TOLERANCE
    }
}

impl Theirs {
    /// Encodes as the peer does, and lower.
    pub async fn of(bench: &Bench<'_>, facts: &Facts, way: Way) -> anyhow::Result<Self> {
        let mut theirs = Self { cpu: 0.0, points: Vec::new(), judge: Judge::of(bench, facts).await? };
        for crf in CRFS {
            let commands = peers::commands(way, facts, crf, "peer");
            let mut cpu = Vec::new();
            let mut made = bench.peer(&commands).await?;
            cpu.push(made.cpu);
            for _ in 1..if crf == CRFS[0] { bench.runs } else { 1 } {
                made = bench.peer(&commands).await?;
                cpu.push(made.cpu);
            }
            if crf == CRFS[0] {
                theirs.cpu = median(cpu);
            }
            let crfs = vec![f64::from(crf); made.files.len()];
            let points = theirs.judge.points(bench, &made, &crfs).await?;
            theirs.points.push(points);
        }
        Ok(theirs)
    }
}

impl Judge {
    async fn of(bench: &Bench<'_>, facts: &Facts) -> anyhow::Result<Self> {
        let size = *facts.sizes.first().context("no rungs")?;
        // VMAF is made for pictures shown at the source's size, which need not be a rung.
        let size = bench.probe().await?.video.map_or(size, |video| video.display_size());
        Ok(Self { size, rate: facts.rate })
    }

    async fn points(&self, bench: &Bench<'_>, made: &Made, crfs: &[f64]) -> anyhow::Result<Vec<Point>> {
        let mut points = Vec::new();
        for (file, &crf) in made.files.iter().zip(crfs) {
            let vmaf = vmaf(bench, file, self.size, self.rate).await?;
            let bytes = picture_bytes(bench, file).await?;
            if bench.verbose {
                say(&format!("  {file}: CRF {crf}, VMAF {vmaf:.2}, {bytes} bytes"))?;
            }
            points.push(Point { crf, vmaf, bytes });
        }
        Ok(points)
    }
}

/// Bits of ours over a peer's, and by how much VMAF ours is better on the rungs' average, each as it is.
pub(super) async fn as_they_are(
    bench: &Bench<'_>,
    facts: &Facts,
    ours: &Made,
    theirs: &Made,
) -> anyhow::Result<(f64, f64)> {
    let judge = Judge::of(bench, facts).await?;
    let crfs = vec![23.0; facts.sizes.len()];
    let ours = judge.points(bench, ours, &crfs).await?;
    let theirs = judge.points(bench, theirs, &crfs).await?;
    let sum = |points: &[Point], value: fn(&Point) -> f64| points.iter().map(value).sum::<f64>();
    let bits = sum(&ours, |point| point.bytes) / sum(&theirs, |point| point.bytes);
    let vmaf = (sum(&ours, |point| point.vmaf) - sum(&theirs, |point| point.vmaf)) / ours.len() as f64;
    Ok((bits, vmaf))
}

/// Finds the CRFs at which ours is as good, and compares.
pub(super) async fn match_quality(
    bench: &Bench<'_>,
    theirs: &Theirs,
    mut plan: Plan,
    name: &str,
) -> anyhow::Result<Match> {
    let rungs = theirs.points.first().map_or(0, Vec::len);
    let mut known: Vec<BTreeMap<u32, Point>> = vec![BTreeMap::new(); rungs];
    for crf in CRFS {
        encode_at(bench, theirs, &mut plan, &vec![crf; rungs], &mut known, name).await?;
    }
    let (mut found, mut seen): (Option<Match>, Vec<Vec<u32>>) = (None, Vec::new());
    while seen.len() < TRIES && found.as_ref().is_none_or(|found| !found.is_equal()) {
        let wanted = theirs.points[0].iter().map(|point| point.vmaf);
        let crfs = known.iter().zip(wanted).map(|(known, vmaf)| crf_for(known, vmaf)).collect();
        if seen.contains(&crfs) {
            // It can't be reached, as where a bit rate's cap is in the way.
            break;
        }
        let (cpu, points) = encode_at(bench, theirs, &mut plan, &crfs, &mut known, name).await?;
        found = Some(compare(theirs, cpu, &points));
        seen.push(crfs);
    }
    let mut found = found.context("nothing was encoded")?;
    let mut cpu = vec![found.cpu];
    for _ in 1..bench.runs {
        cpu.push(bench.ours(&plan, name).await?.cpu / theirs.cpu);
    }
    found.cpu = median(cpu);
    Ok(found)
}

/// Encodes each rung at its CRF; what comes out is known from then on.
async fn encode_at(
    bench: &Bench<'_>,
    theirs: &Theirs,
    plan: &mut Plan,
    crfs: &[u32],
    known: &mut [BTreeMap<u32, Point>],
    name: &str,
) -> anyhow::Result<(f64, Vec<Point>)> {
    set_crfs(plan, crfs);
    let made = bench.ours(plan, name).await?;
    let exact: Vec<f64> = crfs.iter().copied().map(f64::from).collect();
    let points = theirs.judge.points(bench, &made, &exact).await?;
    for ((rung, crf), &point) in known.iter_mut().zip(crfs).zip(&points) {
        rung.insert(*crf, point);
    }
    Ok((made.cpu, points))
}

fn set_crfs(plan: &mut Plan, crfs: &[u32]) {
    let rungs = plan.video.iter_mut().flat_map(|video_plan| &mut video_plan.rungs);
    for (rung, &crf) in rungs.zip(crfs) {
        rung.encoding.crf = crf;
    }
}

fn compare(theirs: &Theirs, cpu: f64, points: &[Point]) -> Match {
    let mut bytes = (0.0, 0.0);
    let mut margin = f64::INFINITY;
    for (rung, point) in points.iter().enumerate() {
        let curve: Vec<Point> = theirs.points.iter().map(|points| points[rung]).collect();
        bytes.0 += point.bytes;
        bytes.1 += bytes_at(&curve, point.vmaf);
        margin = margin.min(point.vmaf - theirs.points[0][rung].vmaf);
    }
    Match { cpu: cpu / theirs.cpu, bits: bytes.0 / bytes.1, margin }
}

/// The whole CRF nearest to what gives that VMAF, on its better side: between the nearest points on both sides, else a
/// few steps on from the nearest one, as a line through two points may be nearly flat where a cap is in the way.
fn crf_for(known: &BTreeMap<u32, Point>, vmaf: f64) -> u32 {
    const VMAF_PER_STEP: f64 = 1.5;
    const STEPS: f64 = 4.0;
    let by_vmaf = |a: &&Point, b: &&Point| a.vmaf.total_cmp(&b.vmaf);
    let below = known.values().filter(|point| point.vmaf < vmaf).max_by(by_vmaf);
    let above = known.values().filter(|point| point.vmaf >= vmaf).min_by(by_vmaf);
    let on = |from: &Point| from.crf - ((vmaf - from.vmaf) / VMAF_PER_STEP).clamp(-STEPS, STEPS);
    let crf = match (below, above) {
        (Some(below), Some(above)) => {
            above.crf + (below.crf - above.crf) * (above.vmaf - vmaf) / (above.vmaf - below.vmaf)
        }
        (Some(point), None) => (on(point) - 1.0).ceil(),
        (None, Some(point)) => on(point).max(point.crf + 1.0),
        (None, None) => *CRF_RANGE.start(),
    };
    crf.clamp(*CRF_RANGE.start(), *CRF_RANGE.end()).floor() as u32
}

/// Bytes for that VMAF: their logarithm is nearly a straight line.
fn bytes_at(points: &[Point], vmaf: f64) -> f64 {
    along(points, vmaf, |point| point.bytes.ln()).exp()
}

/// The straight line through the two points nearest to a VMAF, there. Where the two are as good as one another, the
/// cheaper one; and where more bytes are not better, for a cap on the bit rate is in the way, the better one.
fn along(points: &[Point], vmaf: f64, value: impl Fn(&Point) -> f64) -> f64 {
    let mut nearest: Vec<&Point> = points.iter().collect();
    nearest.sort_by(|a, b| (a.vmaf - vmaf).abs().total_cmp(&(b.vmaf - vmaf).abs()));
    let [a, b, ..] = nearest[..] else { return nearest.first().map_or(f64::NAN, |only| value(only)) };
    let better = a.vmaf - b.vmaf;
    if better.abs() <= SAME {
        return value(if a.bytes <= b.bytes { a } else { b });
    }
    if better * (a.bytes - b.bytes) <= 0.0 {
        return value(if better > 0.0 { a } else { b });
    }
    value(a) + (value(b) - value(a)) * (vmaf - a.vmaf) / -better
}

#[cfg(test)]
mod tests {
    use super::{Judge, Match, Point, Size, Theirs, bytes_at, compare, crf_for};
    use reelmill_media::rate::Rate;

    fn point(crf: f64, vmaf: f64, bytes: f64) -> Point {
        Point { crf, vmaf, bytes }
    }

    #[test]
    fn a_crf_is_found_between_and_beyond_points_on_the_better_side() {
        let known = [(23, point(23.0, 80.0, 100.0)), (20, point(20.0, 86.0, 140.0))].into();
        assert_eq!(crf_for(&known, 86.0), 20);
        assert_eq!(crf_for(&known, 83.0), 21, "21.5, rounded down");
        assert_eq!(crf_for(&known, 89.0), 17, "beyond the best point, a step more than it seems to need");
        assert_eq!(crf_for(&known, 77.0), 25);
        assert_eq!(crf_for(&known, 10.0), 27, "not far at once");
    }

    #[test]
    fn bits_are_compared_at_our_own_vmaf() {
        let theirs = Theirs {
            cpu: 10.0,
            points: vec![vec![point(23.0, 80.0, 100.0)], vec![point(20.0, 90.0, 400.0)]],
            judge: Judge { size: Size { width: 2, height: 2 }, rate: Rate::new(30, 1).expect("a rate") },
        };
        let Match { cpu, bits, margin } = compare(&theirs, 5.0, &[point(21.0, 85.0, 300.0)]);
        assert_eq!((cpu, margin), (0.5, 5.0));
        assert!((bits - 1.5).abs() < 1e-9, "halfway between 100 and 400 lies 200: {bits}");
    }

    #[test]
    fn a_flat_curve_gives_the_cheaper_point_and_a_capped_one_the_better() {
        let flat = [point(23.0, 99.0, 100.0), point(20.0, 99.0, 150.0)];
        assert!((bytes_at(&flat, 95.0) - 100.0).abs() < 1e-9);
        let capped = [(23, point(23.0, 85.0, 100.0)), (20, point(20.0, 82.0, 101.0))].into();
        assert_eq!(crf_for(&capped, 83.0), 21, "between the two, whichever is the better one");
    }
}
