//! Files that were made to do harm: each ends, within bounds, done or with a reason.

use crate::support::{Store, processes_in, real_media, transcode};
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
    let store = Store::start().await;
    let files = files_below(&media.join("hostile"));
    assert!(files.len() > 50, "{}", files.len());
    let ended = futures::stream::iter(files)
        .map(|file| {
            let store = store.clone();
            async move {
                let limit = Duration::from_secs(120);
                let run = tokio::time::timeout(limit, transcode(&store, &file)).await.expect("bounded");
                assert_eq!(processes_in(run.scratch.path()), 0, "{}", file.display());
                match run.result {
                    Ok(done) => {
                        let top = &done.outcome.rungs[0];
                        assert!(top.frames > 0 && top.size_bytes > 0, "{}", file.display());
                        None
                    }
                    Err(failure) => {
                        let reason = failure.reason;
                        assert!(!reason.retryable(), "{}: {reason} is the file's own fault", file.display());
                        Some(reason)
                    }
                }
            }
        })
        .buffer_unordered(2)
        .collect::<Vec<Option<Reason>>>()
        .await;
    assert!(ended.contains(&Some(Reason::FileNotVideo)) && ended.contains(&Some(Reason::FileTruncated)));
}
