//! Writes a job's playlists to the object store, each only when it has changed.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher as _},
};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_media::playlists::{
    Presentation, dash, hls,
    thumbnails::{self, Sheet},
};
use reelmill_platform::objects::Objects;

use crate::{
    db::JobRow,
    domain::{DASH_MANIFEST, HLS_MASTER_PLAYLIST, THUMBNAILS_INDEX, job_folder},
    error::TranscodeError,
};

/// Objects of one job written concurrently.
const CONCURRENT_WRITES: usize = 4;
/// `Cache-Control` of files that do not change any more.
const FINAL_CACHE_CONTROL: &str = "public, max-age=3600";
const HLS_CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";
const DASH_CONTENT_TYPE: &str = "application/dash+xml";
const WEBVTT_CONTENT_TYPE: &str = "text/vtt";

/// What this process wrote last of a job: a hash of the text and its `Cache-Control`, by file name.
#[derive(Default)]
pub(super) struct WrittenFiles(HashMap<String, u64>);

/// A text file in a job's folder.
struct TextFile {
    name: String,
    text: String,
    content_type: &'static str,
    cache_control: Option<&'static str>,
}

impl TextFile {
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.text, self.cache_control).hash(&mut hasher);
        hasher.finish()
    }
}

/// Writer of playlists.
#[derive(Clone)]
pub(super) struct PlaylistWriter {
    pub(super) objects: Objects,
}

impl PlaylistWriter {
    /// Writes the HLS playlists; the master playlist last, because it refers to the others, and not before the video is
    /// playable.
    pub(super) async fn write_hls(
        &self,
        job: &JobRow,
        written: &mut WrittenFiles,
        presentation: &Presentation,
        is_playable: bool,
    ) -> Result<(), TranscodeError> {
        let cache_control = presentation.complete.then_some(FINAL_CACHE_CONTROL);
        let file = |name: String, text: String| TextFile {
            name,
            text,
            content_type: HLS_CONTENT_TYPE,
            cache_control,
        };
        let media = presentation.tracks.iter().flat_map(|track| {
            let iframes = hls::iframes(track).map(|text| file(track.iframe_playlist(), text));
            std::iter::once(file(track.playlist(), hls::media(track))).chain(iframes)
        });
        self.write_changed(job, written, media.collect()).await?;
        if is_playable {
            let master = file(HLS_MASTER_PLAYLIST.to_owned(), hls::master(presentation));
            self.write_changed(job, written, vec![master]).await?;
        }
        Ok(())
    }

    /// Writes the final playlists: HLS, DASH, and the index of the thumbnails if there are any.
    pub(super) async fn write_final(
        &self,
        job: &JobRow,
        written: &mut WrittenFiles,
        presentation: &Presentation,
        sheets: &[Sheet],
    ) -> Result<(), TranscodeError> {
        self.write_hls(job, written, presentation, true).await?;
        let mut files = vec![TextFile {
            name: DASH_MANIFEST.to_owned(),
            text: dash::manifest(presentation),
            content_type: DASH_CONTENT_TYPE,
            cache_control: Some(FINAL_CACHE_CONTROL),
        }];
        if !sheets.is_empty() {
            files.push(TextFile {
                name: THUMBNAILS_INDEX.to_owned(),
                text: thumbnails::webvtt(sheets),
                content_type: WEBVTT_CONTENT_TYPE,
                cache_control: Some(FINAL_CACHE_CONTROL),
            });
        }
        self.write_changed(job, written, files).await
    }

    async fn write_changed(
        &self,
        job: &JobRow,
        written: &mut WrittenFiles,
        files: Vec<TextFile>,
    ) -> Result<(), TranscodeError> {
        let is_changed = |file: &TextFile| written.0.get(&file.name) != Some(&file.hash());
        let changed: Vec<_> = files.into_iter().filter(is_changed).collect();
        let folder = &job_folder(&job.output_prefix, &job.id);
        let mut writes = stream::iter(changed)
            .map(|file| async move {
                let (key, bytes) = (format!("{folder}{}", file.name), Bytes::from(file.text.clone()));
                let write = self.objects.put_cached(&key, bytes, file.content_type, file.cache_control).await;
                write.map(|()| file)
            })
            .buffer_unordered(CONCURRENT_WRITES);
        // Remembered one by one: an interrupted publication continues from there.
        while let Some(file) = writes.try_next().await? {
            let hash = file.hash();
            written.0.insert(file.name, hash);
        }
        Ok(())
    }
}
