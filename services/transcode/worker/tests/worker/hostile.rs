//! Files that were made to do harm: each ends, within bounds, done or with a reason.

use crate::job::transcode;
use crate::support::{processes_in, real_media};
use futures::StreamExt;
use reelmill_media::Reason;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_file_ends() {
    let Some(media) = real_media() else { return };
    let files = files_below(&media.join("hostile"));
    assert!(files.len() > 50, "{}", files.len());
    let ended = futures::stream::iter(files)
        .map(|file| async move {
            let limit = Duration::from_secs(120);
            let run = tokio::time::timeout(limit, transcode(&file)).await.expect("bounded");
            assert_eq!(processes_in(run.scratch()), 0, "{}", file.display());
            match &run.result {
                Ok(_) => {
                    assert!(!run.done().board.recorded().is_empty(), "{}", file.display());
                    None
                }
                Err(failure) => {
                    let reason = failure.reason;
                    assert!(!reason.retryable(), "{}: {reason} is the file's own fault", file.display());
                    Some(reason)
                }
            }
        })
        .buffer_unordered(2)
        .collect::<Vec<Option<Reason>>>()
        .await;
    assert!(ended.contains(&Some(Reason::FileNotVideo)) && ended.contains(&Some(Reason::FileTruncated)));
}
