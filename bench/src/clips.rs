//! The clips that are encoded: generated ones of three kinds, and real ones where `REELMILL_MEDIA` names a folder.

use std::path::{Path, PathBuf};

use crate::{options::Options, system::run};

/// Content of three kinds, at 1080p30, of the bit rates that real videos have, so that no cap is in the way: what grows,
/// with grain; a moving camera over edges and flat areas, with grain; and a screen full of marks that is scrolled.
const KINDS: [(&str, &str); 3] = [
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
/// Longer ones would be cut into chunks; how those fare is measured with the whole job.
const LONGEST: u32 = 30;
const USUAL: u32 = 10;

/// A file to encode.
pub struct Clip {
    /// What figures call it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The clips of a run, in `folder`.
pub async fn clips(folder: &Path, options: &Options) -> anyhow::Result<Vec<Clip>> {
    let seconds = options.seconds.unwrap_or(USUAL).min(LONGEST);
    let wanted = |name: &str| options.clips.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let mut clips = Vec::new();
    for (name, picture) in KINDS.iter().filter(|(name, _)| wanted(name)) {
        let path = folder.join(format!("{name}.mp4"));
        generate(picture, seconds, &["-preset", "veryfast", "-crf", "18"], &path).await?;
        clips.push(Clip { name: (*name).to_owned(), path });
    }
    for path in real()? {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if wanted(&name) {
            let cut = folder.join(format!("real-{name}.mp4"));
            let (from, to, length) =
                (path.display().to_string(), cut.display().to_string(), seconds.to_string());
            let args = ["-v", "error", "-y", "-i", &from, "-t", &length, "-c", "copy", "-map", "0:v:0"];
            let all = [&args[..], &["-map", "0:a:0?", &to]].concat();
            run("ffmpeg", &all, folder).await?;
            clips.push(Clip { name, path: cut });
        }
    }
    Ok(clips)
}

/// The real ones, by name.
fn real() -> anyhow::Result<Vec<PathBuf>> {
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

/// A generated picture with a sound, as H.264 and AAC.
pub async fn generate(picture: &str, seconds: u32, encoder: &[&str], path: &Path) -> anyhow::Result<()> {
    let length = seconds.to_string();
    let sound = "anoisesrc=color=pink:amplitude=0.3:sample_rate=48000";
    let to = path.display().to_string();
    let input =
        ["-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", &length];
    let codec = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "60", "-c:a", "aac", "-ac", "2"];
    let folder = path.parent().unwrap_or(Path::new("."));
    run("ffmpeg", &[&input[..], &codec, encoder, &[&to]].concat(), folder).await
}
