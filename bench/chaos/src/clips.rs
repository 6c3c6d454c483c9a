//! The videos that are uploaded: generated, and small real ones.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::process::Command;

/// Largest real file that is used, bytes.
const MAX_REAL_SIZE: u64 = 1_500_000;
/// Real files that are used at most.
const MAX_REAL: usize = 4;

/// A file to upload.
#[derive(Debug, Clone)]
pub struct Clip {
    pub name: String,
    pub path: PathBuf,
    /// How often it is chosen, relative to others.
    pub weight: u32,
}

/// Generated clips: name, size, rate, seconds, whether it has sound, weight.
const GENERATED: [(&str, &str, u32, u32, bool, u32); 4] = [
    ("short", "320x180", 25, 2, true, 8),
    ("plain", "640x360", 30, 6, true, 5),
    ("large", "1280x720", 30, 6, true, 2),
    // More than a dozen chunks.
    ("long", "256x144", 25, 240, true, 1),
];

/// The clip without a picture.
const SOUND: &str = "sound";
/// The clip that is no video: the file is the fault, and the end of its job is FAILED.
pub const FAULTY: &str = "faulty";

/// Names of all clips. With `REELMILL_MEDIA` some of the small files there are clips, too: which ones depends on the seed.
pub fn names(seed: u64) -> Result<Vec<String>> {
    let generated = GENERATED.iter().map(|(name, ..)| *name).chain([SOUND, FAULTY]);
    let mut names: Vec<String> = generated.map(str::to_owned).collect();
    names.extend(real(seed)?.into_iter().map(|clip| clip.name));
    Ok(names)
}

/// Makes the clips with these names in a folder, or all if there are no names.
pub async fn make(folder: &Path, seed: u64, names: &[String]) -> Result<Vec<Clip>> {
    let is_wanted = |clip: &str| names.is_empty() || names.iter().any(|name| name == clip);
    let mut clips = Vec::new();
    for (name, size, rate, seconds, has_sound, weight) in GENERATED {
        if !is_wanted(name) {
            continue;
        }
        let path = folder.join(format!("{name}.mp4"));
        let video = format!("testsrc2=size={size}:rate={rate}:duration={seconds}");
        let mut args = vec!["-f", "lavfi", "-i", &video];
        let audio = format!("sine=frequency=330:duration={seconds}");
        if has_sound {
            args.extend(["-f", "lavfi", "-i", &audio, "-c:a", "aac"]);
        }
        args.extend(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50"]);
        ffmpeg(&args, &path).await?;
        clips.push(Clip { name: name.to_owned(), path, weight });
    }
    if is_wanted(SOUND) {
        let path = folder.join("sound.m4a");
        ffmpeg(&["-f", "lavfi", "-i", "sine=frequency=220:duration=5", "-c:a", "aac"], &path).await?;
        clips.push(Clip { name: SOUND.to_owned(), path, weight: 2 });
    }
    if is_wanted(FAULTY) {
        let path = folder.join("faulty.mp4");
        let mut bytes = vec![0_u8; 100_000];
        StdRng::seed_from_u64(1).fill(&mut bytes[..]);
        std::fs::write(&path, bytes)?;
        clips.push(Clip { name: FAULTY.to_owned(), path, weight: 1 });
    }
    clips.extend(real(seed)?.into_iter().filter(|clip| is_wanted(&clip.name)));
    Ok(clips)
}

async fn ffmpeg(args: &[&str], path: &Path) -> Result<()> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]).args(args).arg(path).stdin(Stdio::null()).kill_on_drop(true);
    let status = command.status().await?;
    ensure!(status.success(), "ffmpeg could not make {}", path.display());
    Ok(())
}

/// Small files in the folder `REELMILL_MEDIA`.
fn real(seed: u64) -> Result<Vec<Clip>> {
    let Some(folder) = std::env::var_os("REELMILL_MEDIA") else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("REELMILL_MEDIA: {}", folder.display()))? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let is_video = path
                .extension()
                .is_some_and(|end| ["mp4", "mkv", "webm", "mov"].iter().any(|known| end == *known));
            if is_video && (50_000..MAX_REAL_SIZE).contains(&entry.metadata()?.len()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.shuffle(&mut StdRng::seed_from_u64(seed));
    let clips = found.into_iter().take(MAX_REAL).map(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Clip { name, path, weight: 1 }
    });
    Ok(clips.collect())
}
