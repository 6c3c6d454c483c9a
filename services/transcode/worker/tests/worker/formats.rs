//! Real files of every kind: what becomes of each is held against what ffmpeg itself shows of it, and listed in
//! `docs/FORMATS.md`. `REELMILL_WRITE_FORMATS=1` writes the page anew.

use crate::job::{Job, Run, options};
use crate::reference::Reference;
use crate::support::{Store, engine, processes_in, real_media, wait_until};
use futures::StreamExt;
use reelmill_media::FailureKind;
use reelmill_media::plan::plan;
use reelmill_media::probe::VideoRange;
use reelmill_worker::reason;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// No file takes longer.
const LIMIT: Duration = Duration::from_secs(300);
/// Seconds of a long one, and the short side of the rung that is made of it.
const LONG: f64 = 60.0;
const LOW: u32 = 240;
/// Mean difference of two pictures of the same moment, of 255: what encoding and scaling may change.
const SAME_PICTURE: f64 = 12.0;
/// Seconds by which sound may end apart: a frame of AAC before it and one after.
const SAME_SOUND: f64 = 0.06;

const HOSTILE: &str = "Hostile files";

/// What became of a file.
struct Row {
    file: String,
    source: String,
    seconds: String,
    outcome: String,
    /// In what it differs from what ffmpeg shows.
    deviations: Vec<String>,
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// Transcodes all files of a folder, two at a time.
async fn rows(media: &Path, kind: &'static str) -> Vec<Row> {
    let folder = media.join(kind);
    let files = files_below(&folder);
    assert!(!files.is_empty(), "{kind}");
    let rows = futures::stream::iter(files).map(|file| {
        let name = file.strip_prefix(&folder).expect("below").to_string_lossy().into_owned();
        async move {
            let run = tokio::time::timeout(LIMIT, transcode(&file)).await;
            let run = run.unwrap_or_else(|_| panic!("{name} never ends"));
            wait_until(Duration::from_secs(10), &name, || processes_in(run.scratch()) == 0).await;
            let must_be_right = matches!(kind, "valid" | "heavy");
            tokio::task::spawn_blocking(move || row(name, &file, &run, must_be_right)).await.expect("a row")
        }
    });
    let mut rows: Vec<Row> = rows.buffer_unordered(2).collect().await;
    rows.sort_by(|a, b| a.file.cmp(&b.file));
    rows
}

/// Transcodes a file as by default; a long one to a low rung alone, which shows as well that it is right.
async fn transcode(file: &Path) -> Run {
    let address = Store::start().await.add(file);
    match Job::new(&engine(), address, &options(&[])).await {
        Ok(mut job) => {
            if job.source.duration.is_some_and(|seconds| seconds > LONG) {
                job.plan = plan(&job.source, &options(&[LOW]));
            }
            Run { result: job.run().await, job: Some(job), scratch: None }
        }
        Err((failure, scratch)) => Run { result: Err(failure), job: None, scratch: Some(scratch) },
    }
}

fn row(file: String, path: &Path, run: &Run, must_be_right: bool) -> Row {
    let mut row = Row {
        file,
        source: String::new(),
        seconds: String::new(),
        outcome: String::new(),
        deviations: Vec::new(),
    };
    if let Some(job) = &run.job {
        row.source = source(job);
    }
    match (&run.result, &run.job) {
        (Ok(done), Some(job)) => {
            let renditions = renditions(job);
            assert!(!renditions.is_empty(), "{} is READY without anything to play", row.file);
            row.seconds = format!("{:.2}", playing_time(job));
            row.outcome = renditions.join(", ");
            let mut warnings: Vec<_> = done.warnings.iter().map(|warning| warning.kind).collect();
            warnings.dedup();
            for &warning in &warnings {
                write!(row.outcome, "; {}", reason(warning).as_str_name()).expect("text");
            }
            if must_be_right {
                row.deviations = deviations(path, job, warnings.contains(&FailureKind::PartlyDamaged));
            }
        }
        (Ok(_), None) => unreachable!("a success has a job"),
        (Err(failure), _) => {
            let reason = reason(failure.kind).as_str_name();
            assert!(!failure.kind.retryable(), "{}: {reason} is the file's own fault", row.file);
            row.outcome = format!("refused: {reason}");
        }
    }
    row
}

/// What the probe found.
fn source(job: &Job) -> String {
    let container = job.source.container.split(',').next().unwrap_or_default();
    let picture = job.source.video.as_ref().map(|video| {
        let range = match video.range {
            VideoRange::Sdr => "",
            VideoRange::Pq => " PQ",
            VideoRange::Hlg => " HLG",
        };
        let interlaced = if video.interlaced { " interlaced" } else { "" };
        format!("{} {}x{}{interlaced}{range}", video.codec, video.stored.width, video.stored.height)
    });
    let sound = job.source.audio.iter().map(|audio| format!("{} {}ch", audio.codec, audio.channels));
    let parts: Vec<String> = [container.to_owned()].into_iter().chain(picture).chain(sound).collect();
    parts.join(", ")
}

/// What can be played.
fn renditions(job: &Job) -> Vec<String> {
    let audio = job.plan.audio.iter().map(|audio| audio.id.clone());
    let tracks = job.rungs().into_iter().map(str::to_owned).chain(audio);
    let text = job.plan.subtitles.iter().map(|text| text.id.clone());
    let text = text.filter(|text| job.file(|output| output.rendition == *text).is_some());
    tracks.filter(|id| !job.track(id).segments.is_empty()).chain(text).collect()
}

fn playing_time(job: &Job) -> f64 {
    let id = job.rungs().first().map_or_else(|| job.plan.audio[0].id.clone(), |&rung| rung.to_owned());
    job.track(&id).segments.iter().map(|segment| segment.seconds).sum()
}

/// How a job's outputs differ from what ffmpeg shows of the source. What decoders make of damaged pictures is never twice
/// the same.
fn deviations(path: &Path, job: &Job, is_damaged: bool) -> Vec<String> {
    let mut found = Vec::new();
    if let (Some(video), Some(video_plan)) = (&job.source.video, &job.plan.video) {
        let reference = Reference::of(path, video.index);
        let rung = &video_plan.rungs[0];
        let rate = rung.rate(video_plan.rate).fps();
        let ours = f64::from(job.frames(&rung.id)) / rate;
        let frame = reference.frame_seconds().max(1.0 / rate);
        if (ours - reference.end).abs() > frame * 1.01 {
            found.push(format!("{ours:.3} s of picture instead of {:.3} s", reference.end));
        }
        let (shown, wanted) = (rung.size, reference.aspect);
        let aspect = f64::from(shown.width) / f64::from(shown.height);
        // Both sides are even.
        let rounding = wanted * (2.0 / f64::from(shown.width) + 2.0 / f64::from(shown.height));
        if (aspect - wanted).abs() > rounding {
            found.push(format!("an aspect of {aspect:.3} instead of {wanted:.3}"));
        }
        if video.range == VideoRange::Sdr && !is_damaged {
            let file = job.progressive(&rung.id);
            for (place, difference) in reference.differences(path, &file, rate).into_iter().enumerate() {
                if difference > SAME_PICTURE {
                    found.push(format!("picture {place} differs by {difference:.1}"));
                }
            }
        }
    }
    for (place, audio) in job.plan.audio.iter().enumerate() {
        let wanted = Reference::of(path, audio.index).end;
        let ours: f64 = job.track(&audio.id).segments.iter().map(|segment| segment.seconds).sum();
        if (ours - wanted).abs() > SAME_SOUND {
            found.push(format!("{ours:.3} s of sound {place} instead of {wanted:.3} s"));
        }
    }
    found
}

fn table(title: &str, about: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "\n## {title}\n\n{about}\n\n| file | what it is | seconds | what became of it |\n|---|---|---|---|\n"
    );
    for Row { file, source, seconds, outcome, .. } in rows {
        let file = file.replace('|', "\\|");
        writeln!(text, "| `{file}` | {source} | {seconds} | {outcome} |").expect("text");
    }
    text
}

/// As `5.1`: what a decoder takes, and how it reads broken files, changes from one to the next.
fn ffmpeg_version() -> String {
    let output = Command::new("ffmpeg").arg("-version").output().expect("ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    version.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_real_files() {
    let Some(media) = real_media() else { return };
    let valid = rows(&media, "valid").await;
    let heavy = rows(&media, "heavy").await;
    let policy = rows(&media, "policy").await;
    let hostile = rows(&media, "hostile").await;
    let page = page(&[("valid", &valid), ("heavy", &heavy), ("policy", &policy), ("hostile", &hostile)]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/FORMATS.md");
    if std::env::var_os("REELMILL_WRITE_FORMATS").is_some() {
        std::fs::write(&path, &page).expect("write");
    }

    let refused = valid.iter().chain(&heavy).filter(|row| row.outcome.starts_with("refused"));
    let refused: Vec<_> = refused.map(|row| (row.file.as_str(), row.outcome.as_str())).collect();
    assert_eq!(refused, [], "valid files");
    let differing: Vec<_> = valid
        .iter()
        .chain(&heavy)
        .filter(|row| !row.deviations.is_empty())
        .map(|row| format!("{}: {}", row.file, row.deviations.join("; ")))
        .collect();
    assert!(differing.is_empty(), "not what ffmpeg shows:\n{}", differing.join("\n"));
    for reason in ["FILE_NOT_VIDEO", "FILE_TRUNCATED"] {
        assert!(hostile.iter().any(|row| row.outcome.ends_with(reason)), "{reason}");
    }

    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if written.lines().any(|line| line == ffmpeg_line()) {
        assert_eq!(lasting(&page), lasting(&written), "docs/FORMATS.md is not up to date");
    }
}

/// The page's lines as far as they are the same from run to run: how much of a broken file is decoded is not.
fn lasting(page: &str) -> Vec<&str> {
    let mut is_hostile = false;
    page.lines()
        .map(|line| {
            if let Some(title) = line.strip_prefix("## ") {
                is_hostile = title == HOSTILE;
            }
            if is_hostile { line.split(" | ").next().unwrap_or(line) } else { line }
        })
        .collect()
}

fn ffmpeg_line() -> String {
    format!("The tables are those of ffmpeg {}.", ffmpeg_version())
}

fn page(kinds: &[(&str, &[Row])]) -> String {
    let mut page = format!("{}\n{}\n", INTRODUCTION, ffmpeg_line());
    for (kind, rows) in kinds {
        let (title, about) = match *kind {
            "valid" => ("Valid files", "All become READY, and are what ffmpeg shows of them."),
            "heavy" => ("Heavy files", "Small files that are much work."),
            "policy" => (
                "Well-formed files that may be refused",
                "Codecs without a decoder, encrypted streams, nothing but an index.",
            ),
            _ => (
                HOSTILE,
                "Broken, crafted and absurd ones: each ends within bounds, refused with a reason or with what can be played of it.",
            ),
        };
        page.push_str(&table(title, about, rows));
    }
    page
}

const INTRODUCTION: &str = "\
# Formats

What becomes of real files of every kind. The page is written by a test, `services/transcode/worker/tests/worker/formats.rs`
with `REELMILL_WRITE_FORMATS=1`, from the files in the folder that `REELMILL_MEDIA` names; without the variable the test
holds the page against what it finds.

Every valid and every heavy file must become READY, and what is made of it must be what ffmpeg alone shows: the picture
as long to within a frame (where ffmpeg knows nothing of the last one's length in an MP4, the container's word counts), of
the same aspect, the same at its beginning and in its middle (upright, in its colours; HDR aside, which is tone-mapped, and damaged
files), and every track of sound as long to within 60 ms. Files of more than a minute are made with one low rung here, all
others with the whole ladder. The second column is what the probe found, the fourth what can be
played, then warnings; reasons are explained in [ERRORS.md](ERRORS.md).
";
