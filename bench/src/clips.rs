//! The source clips: three generated ones, and real ones if `REELMILL_MEDIA` names a folder.

use std::path::{Path, PathBuf};

use crate::{ffmpeg, options::Options};

/// Name and lavfi source of each generated clip: a zoom into a fractal, with grain; a moving camera over edges and flat
/// areas, with grain; a scrolled screen full of small marks. 1080p30, at bit rates of real videos, so that the plan's
/// caps rarely apply.
const GENERATED: [(&str, &str); 3] = [
    (
        "zoom",
        "mandelbrot=size=320x180:rate=30:maxiter=200:end_pts=900,scale=1920:1080:flags=bicubic,noise=alls=3:allf=t",
    ),
    (
        "pan",
        "testsrc2=size=960x540:rate=30,scale=2560:1440:flags=bicubic,\
         crop=1920:1080:320+300*sin(n/120):180+170*cos(n/150),noise=alls=3:allf=t",
    ),
    (
        "scroll",
        "cellauto=size=240x136:rate=3:rule=110:random_seed=1,fps=30,scale=1920:1080:flags=bicubic,setsar=1",
    ),
];
/// Longer clips would be split into chunks, which the `job` group measures.
const MAX_SECONDS: u32 = 30;
const DEFAULT_SECONDS: u32 = 10;

/// A source clip.
pub struct Clip {
    /// Its name in figures.
    pub name: String,
    pub path: PathBuf,
}

/// Creates the clips of a run in `folder`.
pub async fn prepare(folder: &Path, options: &Options) -> anyhow::Result<Vec<Clip>> {
    let seconds = options.seconds.unwrap_or(DEFAULT_SECONDS).min(MAX_SECONDS);
    let is_selected = |name: &str| options.clips.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let mut clips = Vec::new();
    for (name, video) in GENERATED.iter().filter(|(name, _)| is_selected(name)) {
        let path = folder.join(format!("{name}.mp4"));
        generate(video, seconds, &["-preset", "veryfast", "-crf", "18"], &path).await?;
        clips.push(Clip { name: (*name).to_owned(), path });
    }
    for path in real_files()? {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if is_selected(&name) {
            let cut = folder.join(format!("real-{name}.mp4"));
            let (from, to, length) =
                (path.display().to_string(), cut.display().to_string(), seconds.to_string());
            let args = ["-v", "error", "-y", "-i", &from, "-t", &length, "-c", "copy", "-map", "0:v:0"];
            let all = [&args[..], &["-map", "0:a:0?", &to]].concat();
            ffmpeg::run(&all, folder, false).await?;
            clips.push(Clip { name, path: cut });
        }
    }
    Ok(clips)
}

/// The real files, sorted by name.
pub fn real_files() -> anyhow::Result<Vec<PathBuf>> {
    let Some(media) = std::env::var_os("REELMILL_MEDIA") else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(PathBuf::from(media).join("bench"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mp4") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Generates an H.264 file with `video` as its lavfi source, and pink noise in AAC.
pub async fn generate(video: &str, seconds: u32, encoder: &[&str], path: &Path) -> anyhow::Result<()> {
    let length = seconds.to_string();
    let audio = "anoisesrc=color=pink:amplitude=0.3:sample_rate=48000";
    let to = path.display().to_string();
    let input = ["-v", "error", "-y", "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, "-t", &length];
    let codec = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "60", "-c:a", "aac", "-ac", "2"];
    let folder = path.parent().unwrap_or(Path::new("."));
    ffmpeg::run(&[&input[..], &codec, encoder, &[&to]].concat(), folder, false).await
}
