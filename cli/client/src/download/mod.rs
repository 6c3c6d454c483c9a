//! The command `download`: saves one rendition of a video as MP4.

mod content_range;
mod transfer;

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
};

use reelmill_proto::{transcode::Rendition, upload::video::State};

use self::transfer::{Transfer, download_uris};
use crate::{
    args::DownloadArgs, console::Console, error::ClientError, reason::ClientReason, rendition::is_rung,
    server::Server, video,
};

/// Runs `download`. The bytes go to a `.part` file beside the output file, which a later run resumes.
pub async fn run(server: &Server, console: Console, args: DownloadArgs) -> Result<(), ClientError> {
    let name = &args.video;
    let rendition = select_rendition(server, name, args.rendition.as_deref()).await?;
    let id = name.trim_start_matches("videos/");
    let path = args.output.unwrap_or_else(|| PathBuf::from(format!("{id}-{}.mp4", rendition.rendition_id)));
    if path.is_dir() {
        let message = format!("{}: is a folder; give the name of a file", path.display());
        return Err(ClientError::local(ClientReason::FileIsFolder, message));
    }
    let part_path = with_suffix(&path, ".part");
    let title = path.file_name().unwrap_or_default().to_string_lossy();
    let transfer = Transfer::new(server, console, name, &rendition.rendition_id, &title)?;
    transfer.download_to(&part_path).await?;
    tokio::fs::rename(&part_path, &path)
        .await
        .map_err(|error| ClientError::unwritable_file(&path, &error))?;
    console.result("reelmill.transcode.v1.Rendition", &rendition, &format!("{}", path.display()))
}

/// The requested rendition, or the tallest rung, or the first audio rendition if there are no rungs.
async fn select_rendition(
    server: &Server,
    name: &str,
    requested: Option<&str>,
) -> Result<Rendition, ClientError> {
    // First, since it fails with VIDEO_NOT_READY if there are no renditions yet.
    let uris = download_uris(server, name).await?;
    let video = video::get(server, name).await?;
    if video.state() == State::Processing {
        let message =
            format!("{name} is still being encoded: `reelmill watch {name}` waits until it is READY");
        return Err(ClientError::local(ClientReason::VideoNotReady, message));
    }
    let mut renditions = video.renditions;
    renditions.retain(|rendition| uris.contains_key(&rendition.rendition_id));
    renditions.sort_by_key(|rendition| Reverse((is_rung(rendition), rendition.height)));
    let ids: Vec<&str> = renditions.iter().map(|rendition| rendition.rendition_id.as_str()).collect();
    let available = ids.join(", ");
    let selected = renditions
        .into_iter()
        .find(|rendition| requested.is_none_or(|requested| requested == rendition.rendition_id));
    selected.ok_or_else(|| {
        let requested = requested.unwrap_or("to download");
        let message = format!("{name} has no rendition {requested}; available: {available}");
        ClientError::local(ClientReason::RenditionNotFound, message)
    })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_suffix_keeps_folder_and_extension() {
        assert_eq!(with_suffix(Path::new("d/a.mp4"), ".part"), Path::new("d/a.mp4.part"));
    }
}
