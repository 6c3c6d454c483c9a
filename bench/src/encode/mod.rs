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
<<<<<<< HEAD
    for clip in clips(folder.path(), options).await? {
        let bench =
            Bench { folder: folder.path(), clip: &clip, verbose: options.verbose, runs: options.runs(1) };
        let source = bench.probe().await?;
        let shown = source.video.as_ref().context("no picture")?.display_size();
        if shown.short() < 720 {
            say(&format!("{}: skipped, for it has less than 720 lines", clip.name))?;
=======
    for clip in clips::prepare(folder.path(), options).await? {
        let runner =
            Runner { folder: folder.path(), clip: &clip, verbose: options.verbose, runs: options.runs(1) };
        let source = worker::probe(&clip.path).await?;
        let size = source.video.as_ref().context("no video track")?.shown();
        if size.short() < MIN_LINES {
            print_line(&format!("{}: skipped, because it has less than {MIN_LINES} lines", clip.name))?;
>>>>>>> w-web
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
<<<<<<< HEAD

impl Bench<'_> {
    /// The default plan against a process a rung with PeerTube's options: the same preset of x264 on both sides. What
    /// each makes of it is judged too.
    async fn peertube(
        &self,
        figures: &mut Figures,
        source: &reelmill_media::probe::Source,
        ratios: &mut Ratios,
    ) -> anyhow::Result<()> {
        let plan = ours::plan(source, Preset::Fast, &[])?;
        let facts = self.facts(&plan)?;
        let commands = peers::commands(Way::PeerTube, &facts, 23, "peertube");
        let (mut pairs, mut made) = (Vec::new(), None);
        for _ in 0..self.runs {
            let theirs = self.peer(&commands).await?;
            let ours = self.ours(&plan, "fast").await?;
            pairs.push((ours.cpu, theirs.cpu));
            made = Some((ours, theirs));
        }
        let (ours, theirs) = made.context("no run")?;
        let (bits, vmaf) = equal::as_they_are(self, &facts, &ours, &theirs).await?;
        let ratio = median(pairs.iter().map(|(ours, theirs)| ours / theirs).collect());
        let name = &self.clip.name;
        let cpu = median(pairs.iter().map(|pair| pair.0).collect());
        figures.note(&format!("{name}: CPU, the default plan"), cpu, "s", None)?;
        let cpu = median(pairs.iter().map(|pair| pair.1).collect());
        figures.note(&format!("{name}: CPU, PeerTube's commands"), cpu, "s", None)?;
        figures.note(&format!("{name}: over PeerTube's"), ratio, "x", None)?;
        figures.note(&format!("{name}: bits over PeerTube's"), bits, "x", None)?;
        figures.note(&format!("{name}: VMAF more than PeerTube's, mean of the rungs"), vmaf, "", None)?;
        ratios.peertube.push(ratio);
        ratios.peertube_bits.push(bits);
        ratios.peertube_vmaf.push(vmaf);
        Ok(())
    }

    /// The default preset at MediaCMS's VMAF; and where that needs more bits, the quickest preset that does not.
    async fn mediacms(
        &self,
        figures: &mut Figures,
        source: &reelmill_media::probe::Source,
        ratios: &mut Ratios,
    ) -> anyhow::Result<()> {
        let presets = [(Preset::Fast, "fast"), (Preset::Balanced, "balanced"), (Preset::Small, "small")];
        let facts = self.facts(&ours::plan(source, Preset::Fast, &[])?)?;
        let theirs = equal::Theirs::of(self, &facts, Way::MediaCms).await?;
        for (preset, id) in presets {
            let plan = ours::plan(source, preset, &[])?;
            let found = match_quality(self, &theirs, plan, id).await?;
            self.note_match(figures, &format!("MediaCMS's ({id})"), &found)?;
            if !found.is_equal() {
                ratios.unequal += 1.0;
                continue;
            }
            if preset == Preset::Fast {
                ratios.mediacms.push(found.cpu);
                ratios.mediacms_bits.push(found.bits);
            }
            if found.bits <= 1.0 {
                ratios.mediacms_no_more_bits.push(found.cpu);
                break;
            }
        }
        Ok(())
    }

    /// 720p and 480p alone, at the quality that x264's defaults come to.
    async fn naive(
        &self,
        figures: &mut Figures,
        source: &reelmill_media::probe::Source,
        ratios: &mut Ratios,
    ) -> anyhow::Result<()> {
        let plan = ours::plan(source, Preset::Fast, &[720, 480])?;
        let theirs = equal::Theirs::of(self, &self.facts(&plan)?, Way::Naive).await?;
        let found = match_quality(self, &theirs, plan, "two").await?;
        self.note_match(figures, "the naive way's", &found)?;
        if found.is_equal() {
            ratios.naive.push(found.cpu);
            ratios.naive_bits.push(found.bits);
        } else {
            ratios.unequal += 1.0;
        }
        Ok(())
    }

    fn note_match(&self, figures: &mut Figures, whose: &str, found: &Match) -> anyhow::Result<()> {
        let name = &self.clip.name;
        figures.note(&format!("{name}: CPU over {whose} at its VMAF"), found.cpu, "x", None)?;
        figures.note(&format!("{name}: bits over {whose} at the same VMAF"), found.bits, "x", None)?;
        figures.note(&format!("{name}: least VMAF of a rung over {whose}"), found.margin, "", None)
    }

    async fn probe(&self) -> anyhow::Result<reelmill_media::probe::Source> {
        ours::probe(&self.clip.path).await
    }

    async fn ours(&self, plan: &Plan, name: &str) -> anyhow::Result<Made> {
        ours::make(self, plan, name).await
    }

    /// Runs a peer's commands one after the other; all but the sprite's make a rung.
    async fn peer(&self, commands: &peers::Commands) -> anyhow::Result<Made> {
        let before = process::children_cpu_seconds()?;
        for args in commands.rungs.iter().chain(&commands.others) {
            self.ffmpeg(args).await?;
        }
        let cpu = process::children_cpu_seconds()? - before;
        Ok(Made { cpu, files: commands.files.clone() })
    }

    async fn ffmpeg(&self, args: &[String]) -> anyhow::Result<()> {
        if self.verbose {
            say(&format!("  ffmpeg {}", args.join(" ")))?;
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        crate::system::run("ffmpeg", &args, self.folder).await
    }

    fn facts(&self, plan: &Plan) -> anyhow::Result<peers::Facts> {
        let video_plan = plan.video.as_ref().context("no picture")?;
        let size = std::fs::metadata(&self.clip.path)?.len();
        let seconds = plan.duration().context("no playing time")?;
        let shown = plan.source.video.as_ref().context("no picture")?.display_size();
        Ok(peers::Facts {
            input: self.clip.path.display().to_string(),
            bit_rate: size as f64 * 8.0 / seconds,
            rate: video_plan.rate,
            ratio: f64::from(shown.width) / f64::from(shown.height),
            has_sound: !plan.audio.is_empty(),
            sizes: video_plan.rungs.iter().map(|rung| rung.size).collect(),
        })
    }
}
=======
>>>>>>> w-web
