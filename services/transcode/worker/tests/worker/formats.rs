//! Transcodes real files of every kind, compares the outputs with what ffmpeg itself reports of each source, and lists the
//! results in `docs/FORMATS.md`. `REELMILL_WRITE_FORMATS=1` rewrites the page.

use crate::real_files;
use crate::support::{
    FileServer, Job, Reference, Run, count_processes_in, engine, options, real_media, wait_until,
};
use futures::StreamExt;
use reelmill_media::plan::plan;
use reelmill_media::probe::VideoRange;
use reelmill_media::{FailureCause, FailureKind};
use reelmill_worker::reason;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Time limit for a file.
const TRANSCODE_TIMEOUT: Duration = Duration::from_secs(300);
/// Files that are transcoded at the same time.
const CONCURRENT_FILES: usize = 2;
/// Duration in seconds above which a file gets a single rung, and the short side of that rung.
const LONG_SECONDS: f64 = 60.0;
const LONG_RUNG: u32 = 240;
/// Mean difference of two frames at the same time, of 255: what encoding and scaling may change.
const MAX_FRAME_DIFFERENCE: f64 = 12.0;
/// Tolerance of an audio track's end, seconds: a frame of AAC before it and one after.
const AUDIO_TOLERANCE: f64 = 0.06;
/// Difference of the ends of two tracks from which they must end together, seconds: what a container states about them
/// differs from what is decoded by a few packets.
const STATED_END_TOLERANCE: f64 = 0.1;

/// Its picture changes its size, so that it has bars in the middle, which ffmpeg does not add.
const CHANGES_SHAPE: &str = "luke-cha+fate-suite/extradata-reload-multi-stsd.mp4";

const HOSTILE: &str = "Hostile files";

/// Result of a file.
struct Row {
    file: String,
    source: String,
    seconds: String,
    outcome: String,
    /// Differences from what ffmpeg reports of the source.
    deviations: Vec<String>,
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// Transcodes all files of a folder.
async fn rows(media: &Path, kind: &'static str) -> Vec<Row> {
    let folder = media.join(kind);
    let files = files_below(&folder);
    assert!(!files.is_empty(), "{kind}");
    let rows = futures::stream::iter(files).map(|file| {
        let name = file.strip_prefix(&folder).expect("below").to_string_lossy().into_owned();
        async move {
            let run = tokio::time::timeout(TRANSCODE_TIMEOUT, transcode(&file)).await;
            let run = run.unwrap_or_else(|_| panic!("{name}: not within {TRANSCODE_TIMEOUT:?}"));
            wait_until(Duration::from_secs(10), &name, || count_processes_in(run.scratch()) == 0).await;
            tokio::task::spawn_blocking(move || row(name, &file, &run, kind)).await.expect("row")
        }
    });
    let mut rows: Vec<Row> = rows.buffer_unordered(CONCURRENT_FILES).collect().await;
    rows.sort_by(|a, b| a.file.cmp(&b.file));
    rows
}

/// Transcodes a file with the default options; a long one to a single low rung, which is enough to compare it.
async fn transcode(file: &Path) -> Run {
    let address = FileServer::start().await.add(file);
    match Job::new(&engine(), address, &options(&[])).await {
        Ok(mut job) => {
            if job.source.duration.is_some_and(|seconds| seconds > LONG_SECONDS) {
                job.plan = plan(&job.source, &options(&[LONG_RUNG]));
            }
            Run { result: job.run().await, job: Some(job), refused_scratch: None }
        }
        Err((failure, scratch)) => Run { result: Err(failure), job: None, refused_scratch: Some(scratch) },
    }
}

fn row(file: String, path: &Path, run: &Run, kind: &str) -> Row {
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
            assert!(!renditions.is_empty(), "{} is READY without a playable rendition", row.file);
            row.seconds = format!("{:.2}", playing_time(job));
            row.outcome = renditions.join(", ");
            let mut warnings: Vec<_> = done.warnings.iter().map(|warning| warning.kind).collect();
            warnings.dedup();
            for &warning in &warnings {
                write!(row.outcome, "; {}", reason(warning).as_str_name()).expect("text");
            }
            if matches!(kind, "valid" | "heavy") {
                row.deviations = deviations(path, job, warnings.contains(&FailureKind::PartlyDamaged));
            }
            if kind == "valid" {
                real_files::assert_expected(&row.file, path, job);
            }
        }
        (Ok(_), None) => unreachable!("a completed transcode has a job"),
        (Err(failure), _) => {
            let reason = reason(failure.kind).as_str_name();
            assert!(
                failure.kind.cause() == FailureCause::File,
                "{}: {reason} is caused by the file",
                row.file
            );
            row.outcome = format!("refused: {reason}");
        }
    }
    row
}

/// Container and streams as the probe reports them.
fn source(job: &Job) -> String {
    let container = job.source.container.split(',').next().unwrap_or_default();
    let video = job.source.video.as_ref().map(|video| {
        let range = match video.range {
            VideoRange::Sdr => "",
            VideoRange::Pq => " PQ",
            VideoRange::Hlg => " HLG",
        };
        let interlaced = if video.interlaced { " interlaced" } else { "" };
        format!("{} {}x{}{interlaced}{range}", video.codec, video.stored.width, video.stored.height)
    });
    let audio = job.source.audio.iter().map(|audio| format!("{} {}ch", audio.codec, audio.channels));
    let parts: Vec<String> = [container.to_owned()].into_iter().chain(video).chain(audio).collect();
    parts.join(", ")
}

/// Ids of the playable renditions.
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

/// Differences between a job's outputs and what ffmpeg reports of the source. Frames of damaged sources are not compared:
/// what decoders produce of them varies from run to run.
fn deviations(path: &Path, job: &Job, is_damaged: bool) -> Vec<String> {
    let mut found = Vec::new();
    let video = job.source.video.as_ref().map(|video| Reference::of(path, video.index).end);
    let ends: Vec<_> = job.plan.audio.iter().map(|audio| Reference::of(path, audio.index).end).collect();
    let last = video.into_iter().chain(ends.iter().copied()).fold(0.0, f64::max);
    // All tracks end together, unless the difference is a frame or a packet, or a part of the file is missing. Containers that
    // do not state the end of each track are not there yet.
    let is_indexed = ["mov", "matroska"].iter().any(|name| job.source.container.starts_with(name));
    let states_ends = is_indexed
        && job.source.duration.is_some()
        && !job.source.is_cut_off
        && job.source.video.as_ref().is_none_or(|video| video.end.is_some());
    let expected_end =
        |end: f64, tolerance: f64| if states_ends && last - end > tolerance { last } else { end };
    if let (Some(video), Some(video_plan)) = (&job.source.video, &job.plan.video) {
        let reference = Reference::of(path, video.index);
        let rung = &video_plan.rungs[0];
        let rate = rung.rate(video_plan.rate).fps();
        let actual = f64::from(job.frames(&rung.id)) / rate;
        let frame = reference.frame_seconds().max(1.0 / rate);
        let end = expected_end(reference.end, frame.max(STATED_END_TOLERANCE));
        // A held picture has an even number of frames if some rungs have half the rate.
        let held = frame.max(2.0 / video_plan.rate.fps());
        // The last frame is shown to the end that the container states.
        let stated = job.source.duration.filter(|_| video.held_from.is_some()).unwrap_or(last);
        let is_held = [last, stated].iter().any(|end| (actual - end).abs() <= held * 1.01);
        if (actual - end).abs() > frame * 1.01 && !is_held {
            found.push(format!("{actual:.3} s of video instead of {end:.3} s"));
        }
        let (size, expected) = (rung.size, reference.aspect);
        let aspect = f64::from(size.width) / f64::from(size.height);
        // Width and height are rounded to even numbers.
        let rounding = expected * (2.0 / f64::from(size.width) + 2.0 / f64::from(size.height));
        if (aspect - expected).abs() > rounding {
            found.push(format!("an aspect ratio of {aspect:.3} instead of {expected:.3}"));
        }
        let changes_shape = path.ends_with(CHANGES_SHAPE);
        if video.range == VideoRange::Sdr && !is_damaged && !changes_shape {
            let file = job.progressive(&rung.id);
            for (frame, difference) in
                ["first", "middle"].into_iter().zip(reference.differences(path, &file, rate))
            {
                if difference > MAX_FRAME_DIFFERENCE {
                    found.push(format!("the {frame} frame differs by {difference:.1}"));
                }
            }
        }
    }
    for (index, audio) in job.plan.audio.iter().enumerate() {
        let expected = expected_end(ends[index], STATED_END_TOLERANCE);
        let actual: f64 = job.track(&audio.id).segments.iter().map(|segment| segment.seconds).sum();
        // Silence follows to the end that the container states.
        let stated = job.source.duration.filter(|_| job.plan.silence_until(index).is_some());
        let is_stated = stated.is_some_and(|stated| (actual - stated).abs() < AUDIO_TOLERANCE);
        let is_close = |end: f64| (actual - end).abs() <= AUDIO_TOLERANCE;
        if !is_stated && !is_close(expected) && !is_close(last) {
            found.push(format!("{actual:.3} s of audio track {index} instead of {expected:.3} s"));
        }
    }
    found
}

fn table(title: &str, about: &str, rows: &[Row]) -> String {
    let mut text =
        format!("\n## {title}\n\n{about}\n\n| file | source | seconds | result |\n|---|---|---|---|\n");
    for Row { file, source, seconds, outcome, .. } in rows {
        let file = file.replace('|', "\\|");
        writeln!(text, "| `{file}` | {source} | {seconds} | {outcome} |").expect("text");
    }
    text
}

/// Major and minor version, such as `5.1`: which files a decoder accepts, and how it reads broken ones, depends on it.
fn ffmpeg_version() -> String {
    let output = Command::new("ffmpeg").arg("-version").output().expect("ffmpeg");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    version.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

#[tokio::test(flavor = "multi_thread")]
async fn transcode_real_files_matches_ffmpeg_and_formats_page() {
    let Some(media) = real_media() else { return };
    let valid = rows(&media, "valid").await;
    let heavy = rows(&media, "heavy").await;
    let policy = rows(&media, "policy").await;
    let hostile = rows(&media, "hostile").await;
    let missing: Vec<_> =
        real_files::names().filter(|name| !valid.iter().any(|row| row.file == *name)).collect();
    assert!(missing.is_empty(), "files with expectations are missing: {missing:?}");
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
    assert!(differing.is_empty(), "different from what ffmpeg reports:\n{}", differing.join("\n"));
    for reason in ["FILE_NOT_VIDEO", "FILE_TRUNCATED"] {
        assert!(hostile.iter().any(|row| row.outcome.ends_with(reason)), "{reason}");
    }

    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if written.lines().any(|line| line == ffmpeg_line()) {
        assert_eq!(stable_lines(&page), stable_lines(&written), "docs/FORMATS.md is not up to date");
    }
}

/// Lines of the page without what varies from run to run: how much of a broken file is decoded.
fn stable_lines(page: &str) -> Vec<&str> {
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
    format!("The tables were written with ffmpeg {}.", ffmpeg_version())
}

fn page(kinds: &[(&str, &[Row])]) -> String {
    let mut page = format!("{}\n{}\n", INTRODUCTION, ffmpeg_line());
    for (kind, rows) in kinds {
        let (title, about) = match *kind {
            "valid" => {
                ("Valid files", "All become READY, and the outputs match what ffmpeg reports of the sources.")
            }
            "heavy" => ("Heavy files", "Small files that take much work."),
            "policy" => (
                "Well-formed files that may be refused",
                "Codecs without a decoder, encrypted streams, files with an index only.",
            ),
            _ => (
                HOSTILE,
                "Broken and crafted files: each ends within the limits, either refused with a reason or with its playable part.",
            ),
        };
        page.push_str(&table(title, about, rows));
    }
    page
}

const INTRODUCTION: &str = "\
# Formats

Results of transcoding real files of every kind. A test, `services/transcode/worker/tests/worker/formats.rs`, reads the
files from the folder that `REELMILL_MEDIA` names and compares its results with this page. With
`REELMILL_WRITE_FORMATS=1` it rewrites the page.

Every valid and every heavy file must become READY, and its outputs must match what ffmpeg reports of the source:

- all tracks end together, with the longest one: the last frame is shown until then, and sound is followed by silence. Not if
  less than a frame or a tenth of a second is missing, if the file is cut off, or if its container does not state the end of
  each track (only MP4, QuickTime and most Matroska files do);
- the duration of the video to within a frame (the container's duration counts where ffmpeg does not report that of the
  last frame of an MP4);
- the display aspect ratio;
- the first frame and the middle one, in orientation and colours (except for HDR, which is tone-mapped, and damaged files);
- the duration of each audio track to within 60 ms.

Files of more than a minute are transcoded to a single low rung here, all others to the whole ladder. The column `source`
is the probe's result. The column `result` lists the playable renditions, then warnings. Reasons are explained in
[ERRORS.md](ERRORS.md).
";
